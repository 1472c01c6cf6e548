"""What the hub does with sessions on its own behalf, through JupyterHub's REST API like any other client.

It brings those who waited for a GPU back into the queue after a restart of the hub, and stops sessions whose time is
over.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

from jupyterhub.utils import url_escape_path, url_path_join
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sciencebox.sessions.tickets import KeptTicket
    from sciencebox.sessions.waiting import WaitingRoom

SERVICE = "sciencebox"  # the name under which JupyterHub knows it
SCOPES = ["servers"]
LOOK_EVERY_S = 5.0
TRIES = 3
_FAILED = 500  # HTTP status from which on it is not the request that is wrong
ANSWER_S = 60.0  # JupyterHub answers a start within seconds, unless it is busy

log = logging.getLogger(__name__)


class Caretaker:
    """A client of the hub's own API."""

    def __init__(self, api_url: str, token: str) -> None:
        self._api_url = api_url
        self._token = token

    async def start(self, user: str, options: dict[str, Any]) -> None:
        """Start a user's session; returns when it runs, or when the hub goes on with it in the background."""
        await self._call("POST", user, json.dumps(options))

    async def stop(self, user: str) -> None:
        """Stop a user's session; returns when it is gone, or when the hub goes on with it in the background."""
        await self._call("DELETE", user, None)

    async def keep_time(self, over: Callable[[], Iterable[str]]) -> None:
        """Stop the sessions of the users that `over` names, for as long as the hub runs."""
        while True:
            await asyncio.gather(*map(self._stop_in_time, over()))  # at once: those of a class end together
            await asyncio.sleep(LOOK_EVERY_S)

    async def _stop_in_time(self, user: str) -> None:
        log.info("The session of %s is stopped: its time is over.", user)
        try:
            await self.stop(user)
        except (HTTPClientError, OSError) as error:
            log.warning("The session of %s could not be stopped: %s", user, error)

    async def bring_back(self, room: WaitingRoom) -> None:
        """Put everybody back into the queue who waited before the restart; who cannot be is given up."""
        await asyncio.gather(*(self._bring_back(room, kept) for kept in room.expected))

    async def _bring_back(self, room: WaitingRoom, kept: KeptTicket) -> None:
        if not await self.start_again(kept.user, kept.options, lambda: kept in room.expected):
            room.give_up(kept.session)

    async def start_again(self, user: str, options: dict[str, Any], is_expected: Callable[[], bool]) -> bool:
        """Start the session of somebody who waited before a restart; whether that was possible.

        What has to be read for it may be unreadable for a moment: who is expected then still is asked for again.
        """
        for _ in range(TRIES):
            try:
                await self.start(user, options)
                return True
            except (HTTPClientError, OSError) as error:
                log.warning("The start of %s does not go on: %s", user, error)
                if not is_expected() or getattr(error, "code", _FAILED) < _FAILED:
                    break
            await asyncio.sleep(LOOK_EVERY_S)
        return False

    async def _call(self, method: str, user: str, body: str | None) -> None:
        address = url_path_join(self._api_url, "users", url_escape_path(user), "server")
        headers = {"Authorization": f"token {self._token}", "Content-Type": "application/json"}
        request = HTTPRequest(address, method, headers, body, request_timeout=ANSWER_S)
        await AsyncHTTPClient(force_instance=True, max_clients=1000).fetch(request)
