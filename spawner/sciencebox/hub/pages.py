"""The hub's own pages: the spawn form with links that prefill it, and the GPUs of this server, both kept up to date.

Pages are rendered here, from what the desk knows. An open page asks again for its changing part; the answer is the same
for as long as nothing changed, so that the browser is sent a 304.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyterhub.handlers.base import BaseHandler
from jupyterhub.handlers.pages import SpawnHandler
from jupyterhub.handlers.static import CacheControlStaticFilesHandler
from jupyterhub.utils import url_path_join
from tornado.web import HTTPError, authenticated

from sciencebox import explain
from sciencebox.gpus import wording
from sciencebox.gpus.device import Health
from sciencebox.gpus.drains import Drain, DrainsError, find
from sciencebox.hub.accounts import ScienceBoxAuthenticator
from sciencebox.sessions.form import gpu_facts
from sciencebox.sessions.options import FIELDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from sciencebox.gpus.broker import Place
    from sciencebox.gpus.device import Device
    from sciencebox.gpus.pool import Holding
    from sciencebox.sessions.desk import Desk, Snapshot

LONGEST_REASON = 200
STATIC = Path(__file__).parent / "static"


@dataclass(frozen=True)
class Reader:
    """Who looks at the GPUs page. Names of others are shown where the settings allow it, and to administrators."""

    name: str
    admin: bool
    shows_holders: bool

    def may_see(self, user: str) -> bool:
        """Whether this reader is told that a card is in this user's hands."""
        return self.admin or self.shows_holders or user == self.name


@dataclass(frozen=True)
class Card:
    """A line of the GPUs page. `state` is one of free, used, out; `about` says by whom or why."""

    index: str
    kind: str
    memory: str
    pci: str
    uuid: str
    state: str
    about: str
    since: float | None = None
    until: float | None = None
    simulated: bool = False
    drained: bool = False


def cards(snapshot: Snapshot, reader: Reader) -> list[Card]:
    """Every GPU and MIG instance in words, as this reader may know them."""
    holders: dict[str, list[Holding]] = {}
    for holding in snapshot.holdings:
        holders.setdefault(holding.uuid, []).append(holding)
    return [_card(device, holders.get(device.uuid, []), snapshot, reader) for device in snapshot.inventory.devices]


@dataclass(frozen=True)
class Line:
    """A place in the queue. `since` and `start` are in seconds since the epoch; `start` is None when unknown."""

    position: int
    who: str
    wants: str
    since: float
    start: float | None


def line(places: Sequence[Place], reader: Reader) -> list[Line]:
    """Everybody who waits in words, as this reader may know them."""
    return [
        Line(
            place.position,
            _name(place.ticket.request.user, reader),
            wording.number(place.ticket.request.count, place.ticket.request.kind),
            place.ticket.arrived,
            place.start,
        )
        for place in places
    ]


def _name(user: str, reader: Reader) -> str:
    if user == reader.name:
        return "you"
    return user if reader.may_see(user) else "somebody"


def _card(device: Device, holdings: Sequence[Holding], snapshot: Snapshot, reader: Reader) -> Card:
    state, about = _state(device, holdings, snapshot.unfit, reader)
    return Card(
        index=str(device.index),
        kind=device.kind,
        memory=explain.size(device.memory_bytes) if device.memory_bytes else "unknown",
        pci=device.pci_id or "",
        uuid=device.uuid,
        state=state,
        about=about,
        since=min((h.since for h in holdings if h.since is not None), default=None),
        until=max((h.until for h in holdings if h.until is not None), default=None),
        simulated=device.simulated,
        drained=device.health is Health.DRAINED,
    )


def _state(device: Device, holdings: Sequence[Holding], unfit: Mapping[str, str], reader: Reader) -> tuple[str, str]:
    if holdings:
        names = sorted({_name(h.user, reader) for h in holdings if reader.may_see(h.user)})
        by = f"In use by {', '.join(names)}" if names else "In use"
        # Its session goes on; who looks after the server should know all the same.
        return "used", by if device.health is Health.HEALTHY else f"{by}; {device.health_reason or device.health.value}"
    if device.mig_enabled and not device.mig_profile:
        return "out", "Divided into MIG instances"
    if device.uuid in unfit:
        reason = unfit[device.uuid].removeprefix("is ")
        return "out", reason[:1].upper() + reason[1:]
    return "free", "Free"


class SpawnFormHandler(SpawnHandler):
    """JupyterHub's spawn form, where a link's arguments fill the form in instead of starting a session.

    A link may come from anybody; only a person who presses Start starts something.
    """

    link: Mapping[str, Sequence[str]] = {}

    async def prepare(self) -> None:
        """Refuse what is not text before JupyterHub decodes it; lead to the change of a one-time password first."""
        await super().prepare()
        user, accounts = self.current_user, self.authenticator
        if user and isinstance(accounts, ScienceBoxAuthenticator) and accounts.must_change_password(user.name):
            self.redirect(url_path_join(self.hub.base_url, "change-password"))
            return
        given = (self.request.query_arguments, self.request.body_arguments)
        try:
            for value in (value for arguments in given for values in arguments.values() for value in values):
                value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise HTTPError(400, "The form or link has a value that is not text in UTF-8.") from error

    def append_query_parameters(self, url: str, exclude: Sequence[str] = ("next",)) -> str:
        """Lead on without the link's choices: they were for the form, not for the session."""
        return super().append_query_parameters(url, [*exclude, *FIELDS, "_xsrf"])

    def _get_user_options(self, query_options: dict[str, list[str]]) -> dict[str, list[str]]:
        self.link = {name.removeprefix("opt-"): values for name, values in query_options.items()}
        return {}


class _DeskHandler(BaseHandler):
    @property
    def desk(self) -> Desk:
        desk: Desk = self.settings["sciencebox"]
        return desk

    @property
    def reader(self) -> Reader:
        user = self.current_user
        return Reader(user.name, bool(user.admin), self.desk.settings.gpus.show_holders)


class GpuNumbersHandler(_DeskHandler):
    """What changes in an open spawn form, as JSON."""

    async def get(self) -> None:
        """The numbers of now. Who is signed out is told so, not led to a page."""
        if not self.current_user:
            raise HTTPError(403, "You are signed out.")
        await self.desk.refresh()
        self.set_header("Cache-Control", "private, no-cache")
        self.finish(gpu_facts(self.desk.offer(), self.reader.name))


class GpusHandler(_DeskHandler):
    """Every GPU of the server: what it is, how it is, who has it."""

    @authenticated
    async def get(self) -> None:
        """The page, or with `?part=table` its changing part."""
        await self.desk.refresh()
        snapshot, reader = self.desk.snapshot(), self.reader
        context: dict[str, Any] = {
            "snapshot": snapshot,
            "reader": reader,
            "cards": cards(snapshot, reader),
            "line": line(self.desk.queue(), reader),
        }
        whole = self.get_argument("part", "") != "table"
        self.set_header("Cache-Control", "private, no-cache")
        self.finish(await self.render_template("gpus.html" if whole else "gpu_table.html", **context))


class DrainHandler(_DeskHandler):
    """A GPU that an administrator takes out of service (PUT, with a `reason`) or puts back (DELETE)."""

    @property
    def _admin(self) -> str:
        if not self.current_user or not self.current_user.admin:
            raise HTTPError(403, "Only an administrator takes GPUs out of service.")
        return str(self.current_user.name)

    async def put(self, uuid: str) -> None:
        """Out of service."""
        admin = self._admin
        reason = str((self.get_json_body() or {}).get("reason", "")).strip()
        if not reason or len(reason) > LONGEST_REASON:
            raise HTTPError(400, f"Say why in up to {LONGEST_REASON} letters: `reason` is what users read.")
        if find(self.desk.inventory, uuid) is None:
            raise HTTPError(404, "This server has no such GPU.")
        await self._do(self.desk.drain(uuid, Drain(reason, admin, time.time())))
        self.log.info("%s took the GPU %s out of service: %s", admin, uuid, reason)
        self.set_status(204)

    async def delete(self, uuid: str) -> None:
        """Back into service."""
        admin = self._admin
        await self._do(self.desk.undrain(uuid))
        self.log.info("%s put the GPU %s back into service", admin, uuid)
        self.set_status(204)

    async def _do(self, change: Awaitable[None]) -> None:
        try:
            await change
        except DrainsError as error:
            raise HTTPError(500, "%s", error) from error

    def get_json_body(self) -> dict[str, Any] | None:
        """What was sent. Raises 400 for what is no JSON object."""
        try:
            body = json.loads(self.request.body or b"null")
        except ValueError as error:
            raise HTTPError(400, "The request's body is not JSON.") from error
        if body is not None and not isinstance(body, dict):
            raise HTTPError(400, "The request's body is not a JSON object.")
        return body


HANDLERS: list[tuple[Any, ...]] = [
    (r"/spawn", SpawnFormHandler),
    (r"/spawn/([^/]+)", SpawnFormHandler),
    (r"/sciencebox/numbers", GpuNumbersHandler),
    (r"/sciencebox/gpus", GpusHandler),
    (r"/sciencebox/gpus/([^/]+)/drain", DrainHandler),
    (r"/sciencebox/static/(.*)", CacheControlStaticFilesHandler, {"path": str(STATIC)}),
]
