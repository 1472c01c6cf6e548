"""What the handlers of the hub's own pages share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jupyterhub.handlers.base import BaseHandler

if TYPE_CHECKING:
    from sciencebox.hub.accountant import Accountant
    from sciencebox.hub.live import Live
    from sciencebox.sessions.desk import Desk


@dataclass(frozen=True)
class Reader:
    """Who looks at the GPUs page. Names of others are shown where the settings allow it, and to administrators."""

    name: str
    admin: bool
    shows_holders: bool

    def may_see(self, user: str) -> bool:
        """Whether this reader is told that a card is in this user's hands."""
        return self.admin or self.shows_holders or user == self.name


class DeskHandler(BaseHandler):
    """One that knows the desk and its reader."""

    @property
    def desk(self) -> Desk:
        """Where GPUs are granted."""
        desk: Desk = self.settings["sciencebox"]
        return desk

    @property
    def live(self) -> Live:
        """What the GPUs do now."""
        live: Live = self.settings["app"].live
        return live

    @property
    def accountant(self) -> Accountant:
        """Who had which GPU."""
        accountant: Accountant = self.settings["app"].accountant
        return accountant

    @property
    def reader(self) -> Reader:
        """Who is signed in."""
        user = self.current_user
        return Reader(user.name, bool(user.admin), self.desk.settings.gpus.show_holders)
