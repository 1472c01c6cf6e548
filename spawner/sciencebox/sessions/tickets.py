"""The tickets of those who wait, kept in a file so that a restart of the hub costs nobody the place."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sciencebox.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeptTicket:
    """What is needed to put a session back into the queue: whose it is, what was asked for, since when."""

    session: str
    user: str
    arrived: float
    options: dict[str, Any]  # `user_options`, as JupyterHub's REST API takes them
    groups: list[str]


class TicketFile:
    """All tickets in one file, replaced as a whole. Blocking: to be called in a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[KeptTicket, ...]:
        """What was kept. A file that cannot be understood is put aside, and the queue begins empty."""
        try:
            return tuple(KeptTicket(**entry) for entry in json.loads(self._path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return ()
        except (ValueError, TypeError) as error:
            aside = self._path.with_suffix(".damaged")
            self._path.replace(aside)
            log.error("The queue of before the restart is lost: %s cannot be understood (%s).", aside, error)
            return ()

    def write(self, tickets: Iterable[KeptTicket]) -> None:
        """Keep exactly these. Raises OSError; what was kept before stays then."""
        write_whole(self._path, json.dumps([asdict(ticket) for ticket in tickets]))


class TicketKeeper:
    """Writes the file in a thread, the last state of things only, one write at a time."""

    def __init__(self, file: TicketFile, run: Callable[..., Awaitable[Any]]) -> None:
        """`run` runs a blocking call in a thread."""
        self._file = file
        self._run = run
        self._next: tuple[KeptTicket, ...] | None = None
        self._writing: asyncio.Task[None] | None = None

    def keep(self, tickets: tuple[KeptTicket, ...]) -> None:
        """Have exactly these written. A queue that cannot be written goes on, and is lost with a restart."""
        self._next = tickets
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        while self._next is not None:
            tickets, self._next = self._next, None
            try:
                await self._run(self._file.write, tickets)
            except OSError as error:
                log.error("The queue cannot be kept over a restart of the hub: %s", error)
