"""Telling others in the same event loop that something has changed."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Signal:
    """Whoever listens has an event of his own, which is set at every change; he clears it when he has looked."""

    def __init__(self) -> None:
        self._events: set[asyncio.Event] = set()

    @contextmanager
    def listen(self, event: asyncio.Event | None = None) -> Iterator[asyncio.Event]:
        """An event for as long as it is wanted: a new one, or one that listens elsewhere, too."""
        event = event or asyncio.Event()
        self._events.add(event)
        try:
            yield event
        finally:
            self._events.discard(event)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds, which is looked at after every change."""
        with self.listen() as changed:
            while not holds():
                await changed.wait()
                changed.clear()

    def tell(self) -> None:
        """Something has changed."""
        for event in self._events:
            event.set()
