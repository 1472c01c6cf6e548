"""The page of this server's GPUs: what each is, how it is, who has it, who waits; kept up to date while it is open.

Pages are rendered here, from what the desk knows. An open page is told of changes by server-sent events, and only if
they change what its reader sees.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, authenticated

from sciencebox.gpus import wording
from sciencebox.gpus.device import Health
from sciencebox.gpus.marks import Mark, MarksError, find
from sciencebox.gpus.processes import BY_SESSION
from sciencebox.hub.base import CallHandler, DeskHandler, Reader

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator, Mapping, Sequence

    from sciencebox.gpus.broker import Place
    from sciencebox.gpus.device import Device
    from sciencebox.gpus.pool import Holding
    from sciencebox.sessions.snapshot import Snapshot

LONGEST_REASON = 200
TOGETHER_S = 0.5  # changes that come together are told together
LETTERS_A_SECOND = 500_000  # that a page is sent at most: a cluster has thousands of cards, and changes all the time
_MARKS = "admin:servers"  # the scope that it takes
_HEALTH = {"drain": Health.DRAINED, "quarantine": Health.QUARANTINED}
MOST_RENDERED = 100  # views that are kept
SILENCE_S = 25.0  # after which something is said, so that nobody between takes the connection for dead
LONGEST_STREAM_S = 600.0  # after which the browser connects anew, and it is checked who it is
MOST_STREAMS = 20  # that one user follows; a page that nobody looks at follows nothing


@dataclass(frozen=True)
class Card:
    """A line of the GPUs page. `state` is free, used, divided or out; `about` says by whom or why, `since` when."""

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
    actions: tuple[tuple[str, str], ...] = ()  # what an administrator may do: words, and method with address


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
    began = [holding.since for holding in holdings if holding.since is not None]
    return Card(
        index=str(device.index),
        kind=device.kind,
        memory=wording.gib(device.memory_bytes) if device.memory_bytes else "unknown",
        pci=device.pci_id or "",
        uuid=device.uuid,
        state=state,
        about=about,
        since=min(began, default=None) if holdings else device.health_since,
        until=max((h.until for h in holdings if h.until is not None), default=None),
        simulated=device.simulated,
        actions=_actions(device) if reader.admin and snapshot.may_mark and not device.share else (),
    )


def _actions(device: Device) -> tuple[tuple[str, str], ...]:
    if device.health is Health.QUARANTINED and device.marked:
        return (("Release", "DELETE quarantine"),)
    if device.drained:
        return (("Put back", "DELETE drain"),)
    return (("Take out", "PUT drain"), ("Quarantine", "PUT quarantine"))


def _state(device: Device, holdings: Sequence[Holding], unfit: Mapping[str, str], reader: Reader) -> tuple[str, str]:
    if holdings:
        names = sorted({_name(h.user, reader) for h in holdings if reader.may_see(h.user)})
        by = f"In use by {', '.join(names)}" if names else "In use"
        # Its session goes on; who looks after the server should know all the same.
        return "used", by if device.health is Health.HEALTHY else f"{by}; {device.health_reason or device.health.value}"
    if device.is_divided and device.health is Health.HEALTHY:
        return "divided", f"Divided into {device.shares} shares" if device.shares else "Divided into MIG instances"
    reason = wording.unhealthy(device) if device.is_divided else unfit.get(device.uuid, "")
    if reason:
        reason = reason.removeprefix("is ")
        return "out", reason[:1].upper() + reason[1:]
    return "free", "Free"


@dataclass(frozen=True)
class View:
    """What one reader sees. Readers who see the same are sent the same; `reason` is why no GPU can be had."""

    cards: tuple[Card, ...]
    line: tuple[Line, ...]
    reason: str
    none: str
    about: str  # for administrators: driver, and how cards are attached
    note: str  # what to know of the figures


def view(snapshot: Snapshot, places: Sequence[Place], reader: Reader) -> View:
    """The page of this reader now."""
    driver = f"Driver {snapshot.inventory.driver_version}." if snapshot.inventory.driver_version else ""
    attached = f"Attached by: {snapshot.attach_mode}. {snapshot.attach_reason}"
    unknown = [
        f"What each share of GPU {device.index} does is not known: {device.unknown[BY_SESSION]}."
        for device in snapshot.inventory.devices
        if BY_SESSION in device.unknown
    ]
    return View(
        cards=tuple(cards(snapshot, reader)),
        line=tuple(line(places, reader)),
        reason=snapshot.offer.reason,
        none=snapshot.inventory.reason,
        about=" ".join(filter(None, (driver, attached, *unknown))) if reader.admin else "",
        note=" ".join(filter(None, (snapshot.note, snapshot.count_note))),
    )


class _GpusHandler(DeskHandler):
    def view(self) -> View:
        """What the reader sees now."""
        return view(self.desk.snapshot(), self.desk.queue(), self.reader)


class GpusHandler(_GpusHandler):
    """Every GPU of the server: what it is, how it is, who has it."""

    @authenticated
    async def get(self) -> None:
        """The page."""
        await self.desk.refresh()
        self.set_header("Cache-Control", "private, no-cache")
        self.finish(await self.render_template("gpus.html", view=self.view()))


class GpuEventsHandler(_GpusHandler):
    """What changes on the open page, as server-sent events.

    `cards` is its changing part as HTML, made once for all who see the same; `loads` is what the devices do, as JSON,
    made once for everybody.
    """

    def initialize(self) -> None:
        """Nothing was told yet."""
        self._changed = asyncio.Event()

    async def head(self) -> None:
        """Whether there is something to hear. Who is signed out is told so, not led to a page."""
        if not self.current_user:
            raise HTTPError(403, "You are signed out.")
        if self.live.streams[self.current_user.name] >= MOST_STREAMS:
            raise HTTPError(429, "This page is open too often; close it elsewhere.")

    async def get(self) -> None:
        """Tell until the page is closed."""
        await self.head()
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-cache")
        with self._counted(), suppress(StreamClosedError, asyncio.TimeoutError):
            await self.desk.refresh()
            async with asyncio.timeout(LONGEST_STREAM_S):
                await self._tell()

    def on_connection_close(self) -> None:
        """Whoever is told nothing new is noticed to be gone, too."""
        self._changed.set()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        streams, name = self.live.streams, self.current_user.name
        streams[name] += 1
        try:
            yield
        finally:
            streams[name] -= 1
            if not streams[name]:
                del streams[name]

    async def _tell(self) -> None:
        told: tuple[View | None, str] = (None, "")
        changed = self._changed
        with self.desk.changed.listen(changed), self.live.looked.listen(changed):
            while True:
                seen, loads = self.view(), self.live.loads()
                cards = "" if seen == told[0] else _event("cards", await self._render(seen))
                news = cards + ("" if loads == told[1] else _event("loads", loads))
                self.write(news or ":\n\n")
                await self.flush()
                told = seen, loads
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(changed.wait(), SILENCE_S)
                await asyncio.sleep(max(TOGETHER_S, len(news) / LETTERS_A_SECOND))
                changed.clear()

    async def _render(self, seen: View) -> str:
        rendered = self.live.rendered
        if seen not in rendered:
            if len(rendered) >= MOST_RENDERED:
                rendered.clear()
            rendered[seen] = str(await self.render_template("gpu_cards.html", view=seen))
        return rendered[seen]


def _event(name: str, data: str) -> str:
    """In the format of the HTML standard, section "Server-sent events"."""
    return "".join((f"event: {name}\n", *(f"data: {line}\n" for line in data.splitlines()), "\n"))


class MarkHandler(CallHandler):
    """A GPU that an administrator lets nobody have (PUT, with a `reason`), or takes that back (DELETE).

    The last part of the address is `drain`, out of service, or `quarantine`, where it does not work well.
    """

    @property
    def _admin(self) -> str:
        # By scope, so that a token that an administrator made for something else does not suffice.
        if not self.current_user or _MARKS not in self.expanded_scopes:
            raise HTTPError(403, "Only an administrator takes GPUs out of service.")
        return str(self.current_user.name)

    async def put(self, uuid: str, what: str) -> None:
        """Nobody gets it from now on."""
        admin = self._admin
        reason = str((self.get_json_body() or {}).get("reason", "")).strip()
        if not reason or len(reason) > LONGEST_REASON:
            raise HTTPError(400, f"Say why in up to {LONGEST_REASON} letters (`reason`); users read it.")
        if find(self.desk.inventory, uuid) is None:
            raise HTTPError(404, "This server has no such GPU.")
        await self._do(self.desk.mark(Mark(uuid, reason, admin, time.time(), _HEALTH[what])))
        self.log.info("The GPU %s is %s by the word of %s: %s", uuid, _HEALTH[what].value, admin, reason)
        self.set_status(204)

    async def delete(self, uuid: str, what: str) -> None:
        """It may be had again, unless its own signs are bad."""
        admin = self._admin
        await self._do(self.desk.unmark(uuid, _HEALTH[what], admin))
        self.log.info("The GPU %s is no longer %s by the word of %s", uuid, _HEALTH[what].value, admin)
        self.set_status(204)

    async def _do(self, change: Awaitable[None]) -> None:
        try:
            await change
        except MarksError as error:
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
