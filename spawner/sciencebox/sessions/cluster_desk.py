"""The desk of a cluster: what its nodes and pods say of GPUs, for the form, the pages and the sessions that start.

It grants nothing: the cluster's scheduler does. It tells beforehand what can never be had, and afterwards who waits
behind whom. Where the cluster does not answer nothing is given out, and the page says so.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
from kubernetes_asyncio.client import ApiException, V1DeleteOptions, V1Preconditions

from sciencebox.accounting.quota import BooksError
from sciencebox.gpus import cluster, wording
from sciencebox.gpus.broker import Place, Refusal
from sciencebox.gpus.cluster_wording import HELD, OTHERS_FREE, OTHERS_UNKNOWN, STALE, impossible, of_loads
from sciencebox.gpus.device import Health
from sciencebox.gpus.kueue import of_queue
from sciencebox.gpus.marks import MarksError
from sciencebox.gpus.pool import GpuRequest
from sciencebox.gpus.queue import Ticket
from sciencebox.sessions import tasks
from sciencebox.sessions.cluster_seen import Sight
from sciencebox.sessions.identity import FIRST_UID
from sciencebox.sessions.kueue import Kueue
from sciencebox.sessions.leasing import Leasing
from sciencebox.sessions.options import ANY_GPU, Machine, Nodes, make_offer
from sciencebox.sessions.pod import OPTIONS_ANNOTATION, wish
from sciencebox.sessions.policy import policy_for
from sciencebox.sessions.prometheus import EVERY_S, Prometheus
from sciencebox.sessions.snapshot import Snapshot
from sciencebox.sessions.stack import Stacks

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from sciencebox.gpus.cluster import Claim, Node, Supply, Wish
    from sciencebox.gpus.device import Inventory
    from sciencebox.gpus.marks import Mark
    from sciencebox.gpus.pool import Holding
    from sciencebox.sessions.cluster_watch import ClusterWatch
    from sciencebox.sessions.extensions import Extensions
    from sciencebox.sessions.identity import Uids
    from sciencebox.sessions.options import Offer, SessionOptions
    from sciencebox.sessions.signal import Signal
    from sciencebox.settings import Settings

PATIENCE_S = 20.0  # how long a hub waits for the cluster when it starts, or tidies up
CVMFS = Path("/cvmfs")
# z2jh lets every session onto nodes that are set aside for sessions.
FOR_SESSIONS = frozenset({"hub.jupyter.org/dedicated", "hub.jupyter.org_dedicated"})
_GONE = {404, 409}  # of an API server that is asked to delete a pod: there is none, or another one
_BY_SCHEDULER = "The cluster's scheduler gives them out; `kubectl cordon` takes a node out of service."

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Admission:
    """A session may start. `longest_s` is how long it may hold its GPUs."""

    wished: Wish
    supplies: tuple[Supply, ...]
    longest_s: float | None = None


class ClusterDesk(Leasing):
    """One for the hub. Nothing that it is asked causes a request to the cluster, or to Prometheus."""

    together_s = 1.0  # thousands of pods tell of themselves

    def __init__(
        self,
        settings: Settings,
        watch: ClusterWatch,
        namespace: str,
        uids: Uids,
        extensions: Extensions | None = None,
    ) -> None:
        super().__init__(settings, extensions)
        self.uids = uids
        self.watch = watch
        self.namespace = namespace
        asked = settings.kubernetes
        credentials = (asked.prometheus_token_file, asked.prometheus_ca_file)
        self.prometheus = Prometheus(asked.prometheus, namespace, *credentials) if asked.prometheus else None
        queue = asked.kueue
        self.kueue = Kueue(queue, namespace, watch.heard) if queue else None
        self.closed = False  # the hub stops: from now on whoever waits keeps the place
        # On a cluster the stack is what is mounted, in the hub as in sessions.
        mounted = settings.stack.model_copy(update={"source": "client", "mount": CVMFS})
        self.stacks = Stacks(settings.model_copy(update={"stack": mounted}))
        tolerated = FOR_SESSIONS | set(asked.tolerations)
        self._sight = Sight(watch, tolerated, self._extensions, self.prometheus, self.kueue)
        self._offered: tuple[object, Offer] | None = None
        self._api: Any = None
        self._looking = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, api: Any, custom: Any) -> None:
        """Begin to follow the cluster; one that does not answer now is waited for beside everything else.

        `api` and `custom` are a CoreV1Api and a CustomObjectsApi of kubernetes_asyncio.
        """
        self._api = api
        await self.stacks.look()
        await asyncio.to_thread(self._extensions.read)
        others = self.settings.kubernetes.count_others
        try:
            await asyncio.wait_for(self.watch.open(api, self.namespace, others=others), PATIENCE_S)
        except asyncio.TimeoutError:
            log.error("The cluster does not answer: %s", self.watch.fault)
        if self.kueue:
            self.kueue.open(custom, lambda: any(claim.held for claim in self._sight.now().waiting))
        if self.prometheus:
            self._tasks.append(tasks.start(self._follow_loads(self.prometheus), "following what GPUs do"))

    async def close(self) -> None:
        """Stop following."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.kueue:
            await self.kueue.close()
        await self.watch.close()

    async def _follow_loads(self, prometheus: Prometheus) -> None:
        while True:
            await self.see_loads(prometheus)
            await asyncio.sleep(EVERY_S)

    async def see_loads(self, prometheus: Prometheus) -> None:
        """Ask what GPUs do, and tell whoever watches them; what is not told is not known."""
        await prometheus.look()
        self._sight.forget()
        devices, ledger, now = self.inventory.devices, self.ledger, time.time()
        for see in self.watchers:
            see(devices, ledger, now)

    async def refresh(self, max_age_s: float = 0.0) -> tuple[str, ...]:
        """Look at the stack; the cluster is followed anyway."""
        async with self._looking:
            await self.stacks.look()
        return ()

    async def refresh_ledger(self) -> tuple[str, ...]:
        """The cluster is followed anyway."""
        return ()

    @property
    def changed(self) -> Signal:
        """Who has or wants what, for pages."""
        return self.watch.changed

    # What it knows

    @property
    def inventory(self) -> Inventory:
        """Every GPU of the cluster."""
        return self._sight.now().inventory

    @property
    def ledger(self) -> tuple[Holding, ...]:
        """Who holds what."""
        return self._sight.now().holdings

    def holdings(self) -> tuple[Holding, ...]:
        """What sessions hold, and what others do as far as that is counted."""
        return self.ledger

    def lease(self, session: str) -> Holding | None:
        """One of the GPUs that a session holds; found at once, for thousands of sessions are asked about."""
        return self._sight.now().leases.get(session)

    def is_wanted(self, session: str) -> bool:
        """Whether somebody waits for GPUs of the kind that a session asked for."""
        mine = self.claim(session)
        return mine is not None and any(claim.competes_with(mine) for claim in self._sight.now().waiting)

    @property
    def readable(self) -> bool:
        """Whether that is certain."""
        return not self.watch.fault

    def see_use(self, user: str, since: float, until: float, gpus: float = 1.0) -> None:
        """The scheduler has an order of its own."""

    def offer(self, groups: Iterable[str] = ()) -> Offer:
        """What a member of these groups may choose now."""
        known = (self.watch.version, self.watch.fault, self.stacks.views, self.stacks.fault)
        if self._offered is None or self._offered[0] != known:
            self._offered = (known, self._make_offer())
        return self.policed(self._offered[1], groups)

    def _make_offer(self) -> Offer:
        """The same for everybody, but for what policy says of a group."""
        seen = self._sight.now()
        resource = self.settings.kubernetes.gpu_resource
        any_kinds = frozenset(supply.kind for supply in cluster.supplies_of(None, resource, seen.nodes))
        largest = Machine(
            cores=int(max((node.cores for node in seen.nodes), default=0)) or 1,
            memory_bytes=max((node.memory_bytes for node in seen.nodes), default=0),
        )
        offer = make_offer(
            self.settings,
            seen.availability,
            self.stacks.environments,
            stack_fault=self.stacks.fault,
            reason=STALE if self.watch.fault else "",
            machine=largest if seen.nodes else None,
            nodes=Nodes(cluster.most_on_a_node(seen.nodes), any_kinds),
        )
        if self.kueue is None:
            return offer
        return replace(offer, queue=of_queue(self.kueue.queue, sum(claim.held for claim in seen.waiting)))

    def snapshot(self) -> Snapshot:
        """Everything that pages show."""
        seen = self._sight.now()
        asked = self.prometheus
        uncounted = OTHERS_FREE
        if self.settings.kubernetes.count_others:
            uncounted = OTHERS_UNKNOWN if self.watch.others_fault else ""
        ill = {d.uuid: d.health_reason for d in seen.inventory.devices if d.health is not Health.HEALTHY}
        return Snapshot(
            seen.inventory,
            self.offer(),
            seen.holdings,
            ill,
            "Kubernetes",
            _BY_SCHEDULER,
            readable=self.readable,
            waiting=len(seen.waiting),
            note=of_loads(asked.fault if asked else None, seen.holdings, asked.loads if asked else {}),
            count_note=uncounted,
            may_mark=False,
        )

    def queue(self) -> tuple[Place, ...]:
        """Everybody who waits, in the scheduler's order."""
        return tuple(
            Place(Ticket(c.session, GpuRequest(c.user, c.count, c.kind), c.created, c.priority), position, None)
            for position, c in enumerate(self._sight.now().waiting, start=1)
        )

    def standing(self, session: str, user: str, why: str = "") -> dict[str, object] | None:
        """Where a waiting session stands, and `why` it waits, as its page shows it; None where it does not wait."""
        there = self._sight.now().lines.get(session)
        if there is None:
            return None
        place, line = there
        show = self.settings.gpus.show_holders
        return {
            "title": wording.position(place + 1, len(line.waiting)),
            "ahead": wording.ahead(place, line.waiting[:place] if show else None),
            "in_use": wording.in_use(line.holders if show else None, user),
            "start": None,
            "basis": STALE if self.watch.fault else why,
        }

    # What sessions ask

    async def admit(self, user: str, options: SessionOptions, groups: Iterable[str]) -> Admission | Refusal:
        """Whether a session may be put before the scheduler, or why it would wait in vain."""
        seen, resource = self._sight.now(), self.settings.kubernetes.gpu_resource
        supplies: tuple[Supply, ...] = ()
        if options.gpu_count:
            supplies = cluster.supplies_of(None if options.gpu == ANY_GPU else options.gpu, resource, seen.nodes)
            resource = next((supply.resource for supply in supplies), resource)
        wished = wish(options, resource)
        supplies = tuple(supply for supply in supplies if wished.fits(supply))
        refusal = self._hindrance(wished, seen.nodes)
        longest = refusal or await self._longest(user, tuple(groups), wished)
        if isinstance(longest, Refusal):
            self.answered(longest, 0.0)
            return longest
        return Admission(wished, supplies, longest)

    def _hindrance(self, wished: Wish, nodes: Sequence[Node]) -> Refusal | None:
        if self.watch.fault and wished.resource:
            return Refusal("unreadable", STALE)
        never = impossible(wished, nodes) if nodes else ""
        return Refusal("impossible", never) if never else None

    async def _longest(self, user: str, groups: tuple[str, ...], wished: Wish) -> float | Refusal | None:
        """How long it may hold its GPUs, or why it may not have them."""
        longest = policy_for(self.settings, groups).session_s
        try:
            left = await self.budget(user, groups) if wished.resource else None
        except BooksError as error:
            log.error("The GPU hours of %s are not known: %s", user, error)
            return Refusal("unreadable", wording.quota_unreadable())
        if left is None:
            return longest
        most = left.session_s(wished.count)
        return (
            min(most, longest or most) if most else Refusal("quota", wording.quota_used(left.limit_s, left.back_in_s))
        )

    def why_held(self, pod: dict[str, Any]) -> str:
        """Why a pod's queue holds it back, if it does and that is known."""
        return self.kueue.why_held(pod) if self.kueue else HELD

    def uids_of(self, numbers: Mapping[str, int]) -> dict[str, int]:
        """Users' uids. `numbers` are theirs in the hub's database, which may be others' when they are deleted.

        Blocking. Raises IdentityError.
        """
        return self.uids.note({user: FIRST_UID + number for user, number in numbers.items()})

    def claim(self, session: str) -> Claim | None:
        """What a session holds or waits for."""
        return next((claim for claim in self._sight.now().claims if claim.session == session), None)

    def _pods(self) -> Iterable[tuple[dict[str, Any], dict[str, str]]]:
        """Metadata and annotations of the pods of sessions that are there and are not about to go."""
        for pod in list(self.watch.pods.values()):
            metadata = pod["metadata"]
            annotations = metadata.get("annotations") or {}
            if OPTIONS_ANNOTATION in annotations and "deletionTimestamp" not in metadata:
                yield metadata, annotations

    def asked(self) -> dict[str, str]:
        """By user, what the pods of sessions that are there were asked for; see `pod.kept`."""
        return {a[cluster.USER_ANNOTATION]: a[OPTIONS_ANNOTATION] for _, a in self._pods()}

    async def remove_strangers(self, known: Collection[str]) -> None:
        """Delete the pods of sessions that are not `known` to the hub by name, as when the cluster was away for a stop.

        Nobody could ever end them, and they would keep their GPUs.
        """
        for metadata, _ in self._pods():
            if self.closed or self.watch.fault or metadata["name"] in known:
                continue
            why = await self._delete(metadata)
            if why:
                log.error("The pod %s is of no session and cannot be removed: %s", metadata["name"], why)
            else:
                log.warning("Removed the pod %s: the hub knows no session of it.", metadata["name"])

    async def _delete(self, metadata: dict[str, Any]) -> str:
        """Delete this pod, and no other one that has its name by now. Returns why that cannot be done."""
        only_this = V1DeleteOptions(preconditions=V1Preconditions(uid=metadata["uid"]))
        try:
            asked = self._api.delete_namespaced_pod(metadata["name"], self.namespace, body=only_this)
            await asyncio.wait_for(asked, PATIENCE_S)
        except ApiException as error:
            return "" if error.status in _GONE else f"{error.status} {error.reason}"
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            return str(error) or type(error).__name__
        return ""

    def node_answers(self, name: str) -> bool:
        """Whether a node is there and in touch with the cluster."""
        return any(node.name == name and node.answers for node in self._sight.now().nodes)

    def gpu_idle(self, session: str) -> dict[str, float | None] | None:
        """As on one server; None where nothing tells, and a session with a GPU is judged as any other."""
        return super().gpu_idle(session) if self.prometheus else None

    async def extend(self, session: str, user: str, groups: Iterable[str]) -> float:
        """Extend a session as far as it may be, and say until when. Raises ExtensionError and OSError."""
        end = await super().extend(session, user, groups)
        self._sight.forget()
        self._offered = None
        self.changed.tell()
        return end

    async def mark(self, _mark: Mark) -> None:
        """Nodes are taken out of service by the cluster's own means."""
        raise MarksError(_BY_SCHEDULER)

    async def unmark(self, _uuid: str, _health: Health, _by: str) -> None:
        """Nodes are taken out of service by the cluster's own means."""
        raise MarksError(_BY_SCHEDULER)
