"""What the handlers of the hub's own pages share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from jupyterhub.handlers.base import BaseHandler
from tornado.web import HTTPError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable

    from sciencebox.accounting.leases import Lease
    from sciencebox.accounting.quota import Budget
    from sciencebox.gpus.broker import Grant, Place, Refusal
    from sciencebox.gpus.device import Device, Health, Inventory
    from sciencebox.gpus.marks import Mark
    from sciencebox.gpus.pool import Holding
    from sciencebox.hub.accountant import Accountant
    from sciencebox.hub.live import Live
    from sciencebox.sessions.options import Offer
    from sciencebox.sessions.signal import Signal
    from sciencebox.sessions.snapshot import Snapshot
    from sciencebox.sessions.stack import Stacks
    from sciencebox.settings import Settings


class AnyDesk(Protocol):
    """Where sessions ask for GPUs, as far as pages, metrics and accounts know it: one server's desk or a cluster's."""

    settings: Settings
    stacks: Stacks
    answered: Callable[[Grant | Refusal, float], None]
    lately: Callable[[str], Awaitable[list[Lease]]]
    watchers: list[Callable[[Collection[Device], Collection[Holding], float], None]]

    @property
    def together_s(self) -> float:
        """For how long changes are let come together before they are written down."""

    @property
    def changed(self) -> Signal:
        """Tells when somebody has or wants something else."""

    @property
    def inventory(self) -> Inventory:
        """Every GPU."""

    @property
    def ledger(self) -> tuple[Holding, ...]:
        """Who holds what, by what runs."""

    @property
    def readable(self) -> bool:
        """Whether that is certain."""

    async def refresh(self) -> object:
        """Look, unless that was done a moment ago."""

    async def refresh_ledger(self) -> object:
        """Look who holds what."""

    def offer(self, groups: Iterable[str] = ()) -> Offer:
        """What a member of these groups may choose now."""

    def snapshot(self) -> Snapshot:
        """Everything that pages show."""

    def queue(self) -> tuple[Place, ...]:
        """Everybody who waits, the next one first."""

    def over(self) -> tuple[Holding, ...]:
        """What sessions hold that have held it for as long as they may."""

    def see_use(self, user: str, since: float, until: float, gpus: float = 1.0) -> None:
        """Somebody used GPUs, or a part of one, before the hub started."""

    async def budget(self, user: str, groups: Iterable[str]) -> Budget | None:
        """What is left of a quota. Raises BooksError."""

    async def remove_strangers(self, known: Collection[str]) -> None:
        """Remove sessions of ours that are not `known` by name."""

    async def mark(self, mark: Mark) -> None:
        """Let nobody have a GPU. Raises MarksError."""

    async def unmark(self, uuid: str, health: Health, by: str) -> None:
        """Take that back. Raises MarksError."""


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
    def desk(self) -> AnyDesk:
        """Where GPUs are granted."""
        desk: AnyDesk = self.settings["sciencebox"]
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


class CallHandler(DeskHandler):
    """One that programs call, too, with a token: it tells errors as JSON."""

    _accept_token_auth = True

    def write_error(self, status_code: int, **kwargs: object) -> None:
        """What went wrong, in a sentence."""
        error = kwargs["exc_info"][1] if "exc_info" in kwargs else None  # type: ignore[index]
        known = isinstance(error, HTTPError) and error.log_message
        self.set_header("Content-Type", "application/json")
        self.finish({"message": error.log_message % error.args if known else "The hub could not answer."})  # type: ignore[union-attr]
