"""The hub: JupyterHub with the desk where GPUs are asked for, opened before any session is looked at."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from typing import TYPE_CHECKING, Any

from jupyterhub.app import JupyterHub
from prometheus_client import REGISTRY

from sciencebox.accounting.store import LeaseStore
from sciencebox.gpus.inventory import LIBRARY
from sciencebox.hub.accountant import Accountant
from sciencebox.hub.accounts import ScienceBoxAuthenticator
from sciencebox.hub.caretaker import SERVICE, Caretaker
from sciencebox.hub.live import Live
from sciencebox.hub.metrics import Metrics
from sciencebox.hub.pages import HANDLERS
from sciencebox.sessions import tasks
from sciencebox.sessions.faults import Faults

if TYPE_CHECKING:
    from sciencebox.hub.base import AnyDesk
    from sciencebox.sessions.desk import Desk


STRANGERS_EVERY_S = 20.0
LONGEST_BODY = 2**20  # bytes: forms and calls are small, and are kept in memory, whoever sends them
# As JupyterHub has it for requests: a parameter with one of these in its name, and what follows these paths; also of an
# address that is itself a parameter, as where somebody is to be led on after signing in.
# A name ends where the next one begins, so that a long address, which anybody may send, is read through once.
_IN_A_NAME = r"(?:(?!%3D|%26|%3F)[^=&?\s])*"
_SECRETS = re.compile(
    rf"((?:[?&]|%3F|%26)(?={_IN_A_NAME}?(?:_xsrf|token|auth|key|code|state)){_IN_A_NAME}(?:=|%3D)"
    r"|/api/authorizations/(?:cookie|token)/)(?:(?!%26)[^&\s])+"
)


def without_secrets(record: logging.LogRecord) -> bool:
    """A filter for a log: an address keeps no token. JupyterHub has its like for requests, not for all it says."""
    if isinstance(record.args, tuple) and record.args:
        record.args = tuple(_scrubbed(arg) for arg in record.args)
    elif not record.args:
        record.msg = _scrubbed(record.msg)
    return True


def _scrubbed(said: Any) -> Any:
    return _SECRETS.sub(r"\1[secret]", said) if isinstance(said, str) else said


class DeskHub(JupyterHub):
    """JupyterHub whose spawners share one desk (`user.settings["app"].desk`), with its pages and its accounts."""

    desk: AnyDesk
    live: Live
    accountant: Accountant
    caretaker: Caretaker

    def init_logging(self) -> None:
        """One log for everything that the hub's process says, without secrets."""
        super().init_logging()
        for handler in self.log.handlers:  # not of the logger alone, which sees nothing of what others hand on to it
            handler.addFilter(without_secrets)
        for name in ("sciencebox", "asyncio"):
            logger = logging.getLogger(name)
            logger.parent = self.log
            logger.setLevel(self.log.level)

    def init_handlers(self) -> None:
        """The hub's pages; ours first, for the spawn form takes the place of JupyterHub's."""
        super().init_handlers()
        self.handlers[:0] = self.add_url_prefix(self.hub_prefix, HANDLERS)

    async def init_users(self) -> None:
        """Users of the database, then the accounts that the deployment asked for."""
        await super().init_users()
        if isinstance(self.authenticator, ScienceBoxAuthenticator):
            self.authenticator.make_first_accounts()

    def init_tornado_settings(self) -> None:
        """The hub's web settings, with the desk for the pages."""
        self.live = Live(self.desk)
        super().init_tornado_settings()
        self.tornado_settings["sciencebox"] = self.desk

    async def init_spawners(self) -> Any:
        """Open the desk; then look at sessions that are running."""
        self._opening = asyncio.ensure_future(self.open_desk())
        await self._opening
        return await super().init_spawners()

    async def open_desk(self) -> None:
        """Know what there is and who has it."""
        raise NotImplementedError

    async def open_accounts(self) -> None:
        """Know who had which GPU, and count what is asked for. The desk is open."""
        self.accountant = Accountant(LeaseStore(self.db_url, **self.db_kwargs), self.desk)
        await self.accountant.open()
        self.desk.lately = self.accountant.lately
        self.desk.answered = Metrics(self.desk, REGISTRY).answered

    async def start(self) -> None:
        """Answer; then keep the books, and the time of sessions."""
        await self._opening  # JupyterHub goes on without it where engine or cluster take their time
        await super().start()
        self.http_server.conn_params.max_body_size = LONGEST_BODY
        self.caretaker = Caretaker(self.own_api_url, self._service_map[SERVICE].api_token)
        self._beside: list[asyncio.Task[None]] = [
            tasks.start(self.accountant.run(), "writing down leases"),
            tasks.start(self.caretaker.keep_time(self._time_is_over_for), "stopping sessions in time"),
        ]

    @property
    def own_api_url(self) -> str:
        """Where the hub reaches its own API."""
        return str(self.hub.api_url)

    def faults_of(self, _spawner: Any) -> list[str]:
        """What a session's user should know of its GPUs, in sentences."""
        return []

    def session_of(self, spawner: Any) -> str:
        """The name that a user's session has where it runs."""
        raise NotImplementedError

    def _sessions(self) -> set[str]:
        """The names of those that it knows, be they starting, running or stopping."""
        spawners = (spawner for user in self.users.values() for spawner in user.spawners.values())
        return {self.session_of(spawner) for spawner in spawners if spawner.active}

    async def _keep_tidy(self) -> None:
        """JupyterHub forgets a session whose stop failed, and what is left of it would keep its GPUs."""
        while True:
            await asyncio.sleep(STRANGERS_EVERY_S)
            await self.desk.remove_strangers(self._sessions())

    def _time_is_over_for(self) -> list[str]:
        """Users whose session has held its GPUs for as long as it may."""
        over = {holding.session: holding.user for holding in self.desk.over()}
        return [user for session, user in over.items() if self._runs(user, session)]

    def _runs(self, user: str, session: str) -> bool:
        """Whether it is this hub's session, and not about to stop. Other deployments look after their own."""
        spawner = self.users[user].spawner if user in self.users else None
        return spawner is not None and spawner.ready and self.session_of(spawner) == session


class ScienceBoxHub(DeskHub):
    """The hub of one server: sessions are containers of its engine."""

    name = "sciencebox-hub"
    desk: Desk
    faults: Faults

    def init_tornado_settings(self) -> None:
        """With an ear for cards that fail."""
        self.faults = Faults(os.environ.get("SCIENCEBOX_NVML") or LIBRARY, self.desk.mark)
        self.desk.watchers.append(self.faults.see)
        super().init_tornado_settings()

    async def init_spawners(self) -> Any:
        """Sessions that are running; then whatever container is left of a session that nobody knows is removed."""
        count = await super().init_spawners()
        await self.desk.remove_strangers(self._sessions())
        return count

    async def open_desk(self) -> None:
        """Look at driver and engine."""
        await self.desk.open()
        await self.open_accounts()

    async def start(self) -> None:
        """Then bring back who waited for a GPU before the restart."""
        await super().start()
        self._beside += [
            tasks.start(self._bring_back(), "bringing back who waited"),
            tasks.start(self.faults.run(), "hearing of GPUs that fail"),
            tasks.start(self._keep_tidy(), "removing what is left of sessions"),
        ]

    async def _bring_back(self) -> None:
        """As soon as somebody could be given a GPU; after a start of the server its driver may take its time."""
        await self.desk.changed.until(lambda: self.desk.readable)
        await self.caretaker.bring_back(self.desk.room)

    def faults_of(self, spawner: Any) -> list[str]:
        """What its cards' driver told."""
        return self.faults.told(spawner.container_name)

    def session_of(self, spawner: Any) -> str:
        """Its container."""
        return str(spawner.object_name)

    async def cleanup(self) -> None:
        """Stop. Who waits keeps the place for when the hub is back."""
        self.desk.room.close()
        await super().cleanup()
