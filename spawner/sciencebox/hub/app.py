"""The hub: JupyterHub with the desk that grants GPUs, opened before any session is looked at."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from jupyterhub.app import JupyterHub

from sciencebox.hub.accounts import ScienceBoxAuthenticator
from sciencebox.hub.caretaker import SERVICE, Caretaker
from sciencebox.hub.pages import HANDLERS

if TYPE_CHECKING:
    from sciencebox.sessions.desk import Desk


class ScienceBoxHub(JupyterHub):
    """JupyterHub whose spawners share one desk (`user.settings["app"].desk`)."""

    name = "sciencebox-hub"
    desk: Desk

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
        super().init_tornado_settings()
        self.tornado_settings["sciencebox"] = self.desk

    async def init_spawners(self) -> Any:
        """Sessions that are running; then whatever container is left of a session that nobody knows is removed."""
        await self.desk.open()
        count = await super().init_spawners()
        known = {
            spawner.object_name for user in self.users.values() for spawner in user.spawners.values() if spawner.active
        }
        await self.desk.remove_strangers(known)
        return count

    async def start(self) -> None:
        """Answer; then bring back who waited for a GPU before the restart."""
        await super().start()
        caretaker = Caretaker(self.hub.api_url, self._service_map[SERVICE].api_token)
        self._coming_back = asyncio.create_task(caretaker.bring_back(self.desk.room))

    async def cleanup(self) -> None:
        """Stop. Who waits keeps the place for when the hub is back."""
        self.desk.room.close()
        await super().cleanup()
