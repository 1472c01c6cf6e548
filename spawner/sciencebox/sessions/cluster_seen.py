"""What the live copy of a cluster comes to, made once for everybody who asks until something changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sciencebox.gpus import cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from sciencebox.gpus.broker import Availability
    from sciencebox.gpus.cluster import Claim, Line, Node
    from sciencebox.gpus.device import Inventory
    from sciencebox.gpus.pool import Holding
    from sciencebox.sessions.cluster_watch import ClusterWatch
    from sciencebox.sessions.extensions import Extensions
    from sciencebox.sessions.kueue import Kueue
    from sciencebox.sessions.prometheus import Prometheus


@dataclass(frozen=True)
class Seen:
    """The state of a moment."""

    nodes: tuple[Node, ...]
    claims: tuple[Claim, ...]
    inventory: Inventory
    holdings: tuple[Holding, ...]
    availability: tuple[Availability, ...]
    waiting: tuple[Claim, ...]
    lines: Mapping[str, tuple[int, Line]]  # by session that waits, its line and its place there
    leases: Mapping[str, Holding]  # by session, one of the GPUs that it holds


class Sight:
    """Reads the watch's copy, and of that no object twice. Sessions tolerate taints with the keys `tolerated`."""

    def __init__(
        self,
        watch: ClusterWatch,
        tolerated: Collection[str],
        extensions: Extensions,
        prometheus: Prometheus | None,
        kueue: Kueue | None,
    ) -> None:
        self._watch = watch
        self._tolerated = tolerated
        self._extensions = extensions
        self._prometheus = prometheus
        self._kueue = kueue
        self._nodes: dict[str, tuple[str, Node]] = {}
        self._claims: dict[str, tuple[str, Claim | None]] = {}
        self._others: dict[str, tuple[str, Claim | None]] = {}
        self._seen: tuple[int, Seen] | None = None

    def now(self) -> Seen:
        """The state of now."""
        if self._seen is None or self._seen[0] != self._watch.version:
            self._seen = (self._watch.version, self._read())
        return self._seen[1]

    def forget(self) -> None:
        """What GPUs do, or the end of a session, is otherwise: of that the watch does not know."""
        self._seen = None

    def _read(self) -> Seen:
        nodes = tuple(_kept(self._nodes, self._watch.nodes, lambda raw: cluster.read_node(raw, self._tolerated)))
        ours = _kept(self._claims, self._watch.pods, cluster.read_claim)
        others = _kept(self._others, self._watch.others, cluster.read_other)
        claims = tuple(claim for claim in (*ours, *others) if claim)
        inventory, held = cluster.devices(nodes, claims, self._prometheus.loads if self._prometheus else None)
        holdings = tuple(self._extensions.apply(held))
        waiting = cluster.queue(claims, self._kueue.places if self._kueue else None)
        return Seen(
            nodes,
            claims,
            inventory,
            holdings,
            cluster.availability(inventory, holdings),
            waiting,
            cluster.lines(claims, waiting),
            {holding.session: holding for holding in holdings},
        )


def _kept(
    known: dict[str, tuple[str, Any]], objects: dict[str, dict[str, Any]], read: Callable[[Any], Any]
) -> list[Any]:
    """What `read` makes of each object; read again is only what has changed since it was last asked."""
    found = []
    for key, raw in objects.items():
        version = raw["metadata"]["resourceVersion"]
        before = known.get(key)
        if before is None or before[0] != version:
            before = known[key] = (version, read(raw))
        found.append(before[1])
    for key in known.keys() - objects.keys():
        del known[key]
    return found
