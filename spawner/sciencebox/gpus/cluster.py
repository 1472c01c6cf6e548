"""What a cluster's nodes and pods say of its GPUs. Pure: objects as Kubernetes' API has them in, values out.

The scheduler decides and the pods are the ledger: a GPU is held exactly as long as a pod that asked for it is bound to
a node. GPUs of one kind on a node cannot be told apart from outside, so each is named by the pod that holds it: by its
uid, for everybody sees that name, and the pod's own would say whose it is.
Labels and resources are those of NVIDIA's device plugin and GPU feature discovery.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sciencebox.gpus.broker import Availability
from sciencebox.gpus.device import Device, Health, Inventory, Load
from sciencebox.gpus.kueue import is_held
from sciencebox.gpus.pool import Holding

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from sciencebox.gpus.kueue import Place

DOMAIN = "nvidia.com/"
MIG = "mig-"
SHARED = ".shared"
PRODUCT_LABEL = "nvidia.com/gpu.product"
MEMORY_LABEL = "nvidia.com/gpu.memory"
USER_ANNOTATION = "hub.jupyter.org/username"  # KubeSpawner's
KIND_ANNOTATION = "sciencebox.org/gpu"  # the kind that a session asked for; absent where any will do
LONGEST_ANNOTATION = "sciencebox.org/longest-seconds"
MIB = 1024**2

OTHERS = "other work on this cluster"  # whose names are nobody's business here
_TAG = 8  # letters of a uid that tell the pods of one node apart
_UNTOLD = {"processes": "a cluster does not tell"}
NOT_READY = "its node does not answer"
CORDONED = "its node was taken out of service by the administrator"
_UNITS = {
    **{"n": 1e-9, "u": 1e-6, "m": 1e-3},
    **{unit: 1000.0**n for n, unit in enumerate("kMGTPE", start=1)},
    **{f"{unit}i": 1024.0**n for n, unit in enumerate("KMGTPE", start=1)},
}
_QUANTITY = re.compile(rf"([0-9.]+(?:[eE][0-9]+)?)({'|'.join(_UNITS)})?")


@dataclass(frozen=True)
class Supply:
    """`count` GPUs of one kind on one node, which pods ask for by the name of `resource`.

    There may be none that works now, as while their device plugin starts anew: what pods hold is still theirs.
    `product` is the node's label, by which pods find it; empty where it has none.
    """

    resource: str
    model: str
    count: int
    memory_bytes: int | None = None
    profile: str | None = None
    product: str = ""

    @property
    def kind(self) -> str:
        """What a user chooses by, as `Device.kind`."""
        return f"{self.model} MIG {self.profile}" if self.profile else self.model


@dataclass(frozen=True)
class Node:
    """A node with what it can give to pods. `fault` is why no session starts on it now, as the end of a sentence."""

    name: str
    cores: float
    memory_bytes: int
    supplies: tuple[Supply, ...] = ()
    fault: str = ""
    answers: bool = True


@dataclass(frozen=True)
class Claim:
    """A pod that holds GPUs, or waits for them. `session` is its name; times are in seconds since the epoch.

    `since` is when it was bound to `node`, both None while it waits; `kind` is the kind that it needs, None for any.
    `ours` is whether it is somebody's session, `held` whether its queue holds it back from the scheduler.
    """

    session: str
    user: str
    resource: str
    count: int
    kind: str | None
    created: float
    priority: int = 0
    node: str | None = None
    since: float | None = None
    until: float | None = None
    ours: bool = True
    uid: str = ""
    held: bool = False

    @property
    def tag(self) -> str:
        """What its GPUs are named by."""
        return self.uid[:_TAG] or self.session

    @property
    def wants(self) -> tuple[str, str | None]:
        """What it asks for, however many."""
        return self.resource, self.kind

    def competes_with(self, other: Claim) -> bool:
        """Whether one may take what the other waits for."""
        return self.resource == other.resource and (None in {self.kind, other.kind} or self.kind == other.kind)


@dataclass(frozen=True)
class Wish:
    """What one session needs of a single node. `resource` is None where it needs no GPU, `kind` where any will do."""

    cores: int
    memory_bytes: int
    resource: str | None = None
    count: int = 0
    kind: str | None = None
    min_memory_bytes: int | None = None

    def fits(self, supply: Supply) -> bool:
        """Whether these GPUs are of the right kind and enough."""
        return self.is_for(supply) and supply.count >= self.count

    def is_for(self, supply: Supply) -> bool:
        """Whether these GPUs are of the right kind."""
        if supply.resource != self.resource or self.kind not in {None, supply.kind}:
            return False
        return (supply.memory_bytes or 0) >= (self.min_memory_bytes or 0)


# Reading objects of the API


def read_node(node: Mapping[str, Any], tolerated: Collection[str]) -> Node:
    """A node as the API has it; sessions tolerate taints with the keys `tolerated`."""
    metadata, status = node["metadata"], node.get("status", {})
    allocatable = status.get("allocatable") or status.get("capacity") or {}
    answers = _condition(status, "Ready").get("status", "True") == "True"
    return Node(
        name=metadata["name"],
        cores=quantity(allocatable.get("cpu", "0")),
        memory_bytes=int(quantity(allocatable.get("memory", "0"))),
        supplies=_supplies(status.get("capacity") or {}, allocatable, metadata.get("labels") or {}),
        fault=_fault(node.get("spec", {}), answers, tolerated),
        answers=answers,
    )


def read_claim(pod: Mapping[str, Any]) -> Claim | None:
    """What a pod holds or waits for; None where that is no GPU, or no longer one."""
    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status", {})
    asked = gpus_of(spec)
    if not asked or status.get("phase") in {"Succeeded", "Failed"}:
        return None
    resource, count = asked
    annotations = metadata.get("annotations") or {}
    bound = _condition(status, "PodScheduled")
    node = spec.get("nodeName")
    since = seconds(bound.get("lastTransitionTime") or metadata["creationTimestamp"]) if node else None
    longest = annotations.get(LONGEST_ANNOTATION)
    return Claim(
        session=metadata["name"],
        user=annotations.get(USER_ANNOTATION, metadata["name"]),
        resource=resource,
        count=count,
        kind=annotations.get(KIND_ANNOTATION),
        created=seconds(metadata["creationTimestamp"]),
        priority=spec.get("priority") or 0,
        node=node,
        since=since,
        until=since + float(longest) if since is not None and longest else None,
        ours=USER_ANNOTATION in annotations,
        uid=metadata.get("uid", ""),
        held=is_held(spec),
    )


def read_other(pod: Mapping[str, Any]) -> Claim | None:
    """What a pod of another namespace holds, without a word of whose it is; None where that is no GPU."""
    claim = read_claim(pod)
    if claim is None:
        return None
    return replace(claim, session=f"other/{claim.uid}", user=OTHERS, kind=None, until=None, ours=False)


def gpus_of(spec: Mapping[str, Any]) -> tuple[str, int] | None:
    """The resource and number of GPUs that a pod's containers ask for together."""
    asked: Counter[str] = Counter()
    for container in spec.get("containers", ()):
        for resource, amount in (container.get("resources", {}).get("limits") or {}).items():
            if resource.startswith(DOMAIN):
                asked[resource] += int(quantity(amount))
    return next(((resource, count) for resource, count in asked.items() if count), None)


def quantity(text: str | int) -> float:
    """A quantity of Kubernetes, such as `7910m` or `32Gi`, as a number. Raises ValueError."""
    match = _QUANTITY.fullmatch(str(text))
    if not match:
        raise ValueError(f"{text!r} is no quantity")
    return float(match[1]) * _UNITS.get(match[2], 1)


def seconds(timestamp: str) -> float:
    """A time of the API (RFC 3339) in seconds since the epoch."""
    return datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return next((one for one in status.get("conditions") or () if one["type"] == kind), {})


def _supplies(
    capacity: Mapping[str, str], allocatable: Mapping[str, str], labels: Mapping[str, str]
) -> tuple[Supply, ...]:
    found = []
    for resource in sorted(key for key in {**capacity, **allocatable} if key.startswith(DOMAIN)):
        name = resource.removeprefix(DOMAIN)
        count, all_of_them = (int(quantity(told.get(resource, "0"))) for told in (allocatable, capacity))
        if not (count or all_of_them):
            continue
        profile = name.removeprefix(MIG).removesuffix(SHARED) if name.startswith(MIG) else None
        # Beside whole GPUs, feature discovery describes each MIG profile by labels of its own.
        prefix = f"{DOMAIN}{MIG}{profile}" if profile else f"{DOMAIN}gpu"
        product = labels.get(PRODUCT_LABEL, "")
        model = product or labels.get(f"{prefix}.product", "").split("-MIG-")[0] or "Unknown GPU"
        if name.endswith(SHARED):
            model += " shared"
        memory = labels.get(f"{prefix}.memory", "")
        found.append(Supply(resource, model, count, int(memory) * MIB if memory.isdigit() else None, profile, product))
    return tuple(found)


def _fault(spec: Mapping[str, Any], answers: bool, tolerated: Collection[str]) -> str:
    if not answers:
        return NOT_READY
    if spec.get("unschedulable"):
        return CORDONED
    for taint in spec.get("taints") or ():
        if taint["effect"] in {"NoSchedule", "NoExecute"} and taint["key"] not in tolerated:
            return f"its node is set aside for other work ({taint['key']})"
    return ""


# What they come to


def devices(
    nodes: Iterable[Node], claims: Iterable[Claim], loads: Mapping[str, Sequence[Load]] | None = None
) -> tuple[Inventory, tuple[Holding, ...]]:
    """Every GPU of the cluster, and who holds which. A claim on a node that is gone holds nothing.

    `loads` is by session what each of its GPUs does, as far as that is known.
    """
    held: dict[tuple[str, str], list[Claim]] = {}
    for claim in claims:
        if claim.node:
            held.setdefault((claim.node, claim.resource), []).append(claim)
    found: list[Device] = []
    holdings: list[Holding] = []
    for node in sorted(nodes, key=lambda one: one.name):
        for supply in node.supplies:
            here = sorted(held.get((node.name, supply.resource), ()), key=lambda claim: (claim.since, claim.session))
            names = [(f"{node.name}/{claim.tag}/{n}", claim) for claim in here for n in range(claim.count)]
            holdings += [Holding(uuid, c.user, c.session, c.since, c.until, c.ours) for uuid, c in names]
            part = supply.resource.removeprefix(DOMAIN)
            free = [f"{node.name}/{part}/{n}" for n in range(len(names), supply.count)]
            busy = [load for claim in here for load in _loads(claim, (loads or {}).get(claim.session, ()))]
            for n, uuid in enumerate([*(uuid for uuid, _ in names), *free]):
                found.append(_device(uuid, n, node, supply, busy[n] if n < len(busy) else Load()))
    return Inventory(tuple(found), "" if found else "No node of this cluster has a GPU."), tuple(holdings)


def _loads(claim: Claim, told: Sequence[Load]) -> Sequence[Load]:
    """What each GPU of a claim does; nothing is known where others are told of than it holds."""
    if not claim.ours or len(told) != claim.count:
        return [Load()] * claim.count
    shared = claim.resource.endswith(SHARED)
    return [Load(load.utilisation) for load in told] if shared else told  # the rest is of all who share it


def _device(uuid: str, index: int, node: Node, supply: Supply, load: Load) -> Device:
    return Device(
        uuid,
        index,
        supply.model,
        supply.memory_bytes,
        mig_profile=supply.profile,
        load=load,
        unknown=_UNTOLD,
        health=Health.SUSPECT if node.fault else Health.HEALTHY,
        health_reason=node.fault,
    )


def availability(found: Inventory, holdings: Iterable[Holding]) -> tuple[Availability, ...]:
    """By kind, how many GPUs there are, how many are free, and who has the others."""
    by_uuid = {holding.uuid: holding for holding in holdings}
    kinds: dict[str, list[Device]] = {}
    for device in found.devices:
        kinds.setdefault(device.kind, []).append(device)
    return tuple(
        Availability(
            kind,
            alike[0].memory_bytes,
            free=sum(one.uuid not in by_uuid and one.health is Health.HEALTHY for one in alike),
            total=len(alike),
            holdings=tuple(by_uuid[one.uuid] for one in alike if one.uuid in by_uuid),
        )
        for kind, alike in sorted(kinds.items())
    )


def most_on_a_node(nodes: Iterable[Node]) -> dict[str, int]:
    """By kind, how many GPUs one session can have: those of one node."""
    most: dict[str, int] = {}
    for node in nodes:
        for supply in node.supplies:
            most[supply.kind] = max(most.get(supply.kind, 0), supply.count)
    return most


def supplies_of(kind: str | None, resource: str, nodes: Iterable[Node]) -> tuple[Supply, ...]:
    """Where a choice of the form may be had: the GPUs of a kind, or any that pods ask for by `resource`."""
    found = (supply for node in nodes for supply in node.supplies)
    return tuple(one for one in found if (one.resource == resource if kind is None else one.kind == kind))


# Who waits


def queue(claims: Iterable[Claim], places: Mapping[str, Place] | None = None) -> tuple[Claim, ...]:
    """Everybody who waits, in the order in which the scheduler looks at them: by priority, then by arrival.

    Who is held back comes after them, by the queue's own `places` (by uid), as far as these are known.
    """

    def order(claim: Claim) -> tuple[bool, float, int, float, str]:
        place = (places or {}).get(claim.uid)
        number = place.number if place else math.inf
        return claim.held, number if claim.held else 0, -claim.priority, claim.created, claim.session

    return tuple(sorted((claim for claim in claims if claim.node is None), key=order))


@dataclass(frozen=True)
class Line:
    """Everybody who waits for the same, the next one first, and who holds it; both by user.

    What somebody got who asked for any GPU may be of the kind that is waited for.
    """

    waiting: tuple[str, ...]
    holders: tuple[str, ...]


def lines(claims: Iterable[Claim], waiting: Sequence[Claim]) -> dict[str, tuple[int, Line]]:
    """By session that waits, its line and its place there, from 0. Made once for all, of whom there may be hundreds."""
    held = [claim for claim in claims if claim.node]
    found: dict[str, tuple[int, Line]] = {}
    for first in waiting:
        if first.session in found:
            continue
        rivals = [claim for claim in waiting if claim.competes_with(first)]
        holders = {claim.user for claim in held if claim.competes_with(first)}
        line = Line(tuple(claim.user for claim in rivals), tuple(sorted(holders)))
        found.update({c.session: (n, line) for n, c in enumerate(rivals) if c.wants == first.wants})
    return found
