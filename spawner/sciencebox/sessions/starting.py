"""What the start of a session is made of wherever it runs: its refusals, its limits, and the wait for its server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from jupyterhub.spawner import SpawnException
from tornado.web import HTTPError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sciencebox.sessions.options import OptionsError

ENDED_EARLY = "The session ended while it was starting. Try again, or tell the administrator."

READY_POLL_S = 0.03
READY_REQUEST_S = 5.0
LONGEST_WAIT_S = 90 * 24 * 3600  # the hub's own time limit: a start ends itself, in the queue by the grace time


class StartRefused(SpawnException):
    """A session was not started, for a reason that its user can understand and act on."""

    def __init__(self, message: str, *, reason: str, status_code: int = 503) -> None:
        super().__init__(message, reason=reason, status_code=status_code)
        self.jupyterhub_message = message


class RefusedOptionsError(HTTPError):
    """What was asked for cannot be had; the form and the API show why, by the field's name."""

    def __init__(self, error: OptionsError) -> None:
        super().__init__(400, "%s", error)
        self.error = error
        self.jupyterhub_message = str(error)


async def answers(ip: str, port: int, has_ended: Callable[[], Awaitable[bool]]) -> None:
    """Return as soon as the session's server accepts connections. Raises StartRefused when the session ended.

    The hub's own check backs off up to seconds between tries; this one sees the server within READY_POLL_S, and a
    session that ended is told at once, not when the time limit is reached.
    """
    looks = 0
    while True:
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(ip, port), READY_REQUEST_S)
            writer.close()
            return
        except (OSError, asyncio.TimeoutError):
            looks += 1
        if looks % 20 == 0 and await has_ended():
            raise StartRefused(ENDED_EARLY, reason="ended")
        await asyncio.sleep(READY_POLL_S)
