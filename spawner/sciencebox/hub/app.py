"""The hub: JupyterHub with the desk that grants GPUs, opened before any session is looked at."""

from __future__ import annotations

import os
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
    from sciencebox.sessions.desk import Desk


class ScienceBoxHub(JupyterHub):
    """JupyterHub whose spawners share one desk (`user.settings["app"].desk`)."""

    name = "sciencebox-hub"
    desk: Desk
    live: Live
    faults: Faults

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
        self.faults = Faults(os.environ.get("SCIENCEBOX_NVML") or LIBRARY, self.desk.mark)
        self.desk.watchers.append(self.faults.see)
        super().init_tornado_settings()
        self.tornado_settings["sciencebox"] = self.desk

    async def init_spawners(self) -> Any:
        """Sessions that are running; then whatever container is left of a session that nobody knows is removed."""
        await self.desk.open()
        self.accountant = Accountant(LeaseStore(self.db_url), self.desk)
        await self.accountant.open()
        self.desk.lately = self.accountant.lately
        self.desk.answered = Metrics(self.desk, REGISTRY).answered
        count = await super().init_spawners()
        known = {
            spawner.object_name for user in self.users.values() for spawner in user.spawners.values() if spawner.active
        }
        await self.desk.remove_strangers(known)
        return count

    async def start(self) -> None:
        """Answer; then bring back who waited for a GPU before the restart, and keep the time of sessions."""
        await super().start()
        caretaker = Caretaker(self.hub.api_url, self._service_map[SERVICE].api_token)
        self._beside = [
            tasks.start(caretaker.bring_back(self.desk.room), "bringing back who waited"),
            tasks.start(self.accountant.run(), "writing down leases"),
            tasks.start(self.faults.run(), "hearing of GPUs that fail"),
            tasks.start(caretaker.keep_time(self._time_is_over_for), "stopping sessions in time"),
        ]

    def _time_is_over_for(self) -> list[str]:
        """Users whose session has held its GPUs for as long as it may."""
        over = {holding.session: holding.user for holding in self.desk.over()}
        return [user for session, user in over.items() if self._runs(user, session)]

    def _runs(self, user: str, session: str) -> bool:
        """Whether it is this hub's session, and not about to stop. Other deployments look after their own."""
        spawner = self.users[user].spawner if user in self.users else None
        return spawner is not None and spawner.ready and spawner.object_name == session

    async def cleanup(self) -> None:
        """Stop. Who waits keeps the place for when the hub is back."""
        self.desk.room.close()
        await super().cleanup()
