"""How a session is stopped, what it may know of its end and its GPUs, and how its user puts the end off."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from jupyterhub.apihandlers.users import UserServerAPIHandler
from jupyterhub.scopes import needs_scope
from tornado.web import HTTPError

from sciencebox.accounting.quota import BooksError
from sciencebox.gpus import wording
from sciencebox.hub.base import CallHandler
from sciencebox.sessions.extensions import ExtensionError

if TYPE_CHECKING:
    from jupyterhub.spawner import Spawner
    from jupyterhub.user import User

    from sciencebox.sessions.docker import GPUDockerSpawner
    from sciencebox.sessions.kube import GPUKubeSpawner


# Starts that are being cancelled, each once, however often that is asked for.
_cancelled: dict[Spawner, asyncio.Task[None]] = {}


class ServerHandler(UserServerAPIHandler):
    """JupyterHub's start and stop of a session."""

    @needs_scope("delete:servers")
    async def delete(self, user_name: str, server_name: str = "") -> None:
        """Stop it. 202: that goes on; whoever asks again waits for the same end.

        A start that is cancelled lasts until the engine has let go of it. JupyterHub gives it a second, and leaves a
        session that neither runs nor can be started.
        """
        user = self.find_user(user_name)
        spawner = user.spawners.get(server_name) if user else None
        if spawner and spawner not in _cancelled and _starting(spawner):
            _cancelled[spawner] = asyncio.create_task(self._cancel(user, server_name, spawner))
            _cancelled[spawner].add_done_callback(lambda _: _cancelled.pop(spawner))
        ending = _cancelled.get(spawner)
        if ending is None:
            await super().delete(user_name, server_name)
            return
        try:
            await asyncio.wait_for(asyncio.shield(ending), self.slow_stop_timeout)
            self.set_status(204)
        except asyncio.TimeoutError:
            self.set_status(202)

    async def _cancel(self, user: User, server_name: str, spawner: Spawner) -> None:
        """End its start, however long that takes and whoever still waits for it."""
        self.log.info("The start of %s is cancelled.", spawner._log_name)
        start = spawner._spawn_future
        start.cancel()
        await asyncio.wait([start])
        await (await self.stop_single_user(user, server_name))


def _starting(spawner: Spawner) -> bool:
    return spawner._spawn_future is not None and not spawner._spawn_future.done()


class SessionHandler(CallHandler):
    """The session of whoever asks: a person with the browser's cookies, or the session with its token. It asks, too."""

    @property
    def session(self) -> GPUDockerSpawner | GPUKubeSpawner:
        """Its spawner. Raises 403 and 404."""
        if not self.current_user:
            raise HTTPError(403, "You are signed out.")
        spawner: GPUDockerSpawner | GPUKubeSpawner | None = getattr(self.current_user, "spawner", None)
        if spawner is None or not spawner.ready:
            raise HTTPError(404, "You have no running session.")
        # Of a person's tokens only those that may use the session: one for something else must not prolong it.
        if not self.get_scope_filter("access:servers")(spawner, "server"):
            raise HTTPError(403, "This token is not for your session.")
        return spawner

    async def get(self) -> None:
        """How long it may run, in seconds, as JSON; each is null where there is no such end, or none yet.

        `idle_seconds_left` is there when its GPUs have done nothing for so long that its user should know.
        `more_seconds` is by how much it may be extended. `faults` is what its user should know of its GPUs.
        """
        session = self.session
        now = time.time()
        until, later = session.until, await session.may_extend()
        self.set_header("Cache-Control", "no-store")
        self.finish(
            {
                "seconds_left": _from(now, until),
                "idle_seconds_left": _from(now, session.idle_until),
                "more_seconds": None if until is None else _from(until, later),
                "faults": self.settings["app"].faults_of(session),
            }
        )

    async def post(self) -> None:
        """Extend it as far as it may be."""
        try:
            until = await self.session.extend()
        except ExtensionError as error:
            raise HTTPError(409, "%s", error) from error
        except (BooksError, OSError) as error:
            self.log.error("A session cannot be extended: %s", error)
            raise HTTPError(503, "%s", wording.quota_unreadable()) from error
        self.finish({"seconds_left": _from(time.time(), until)})


def _from(start: float, end: float | None) -> float | None:
    return None if end is None else max(0.0, end - start)
