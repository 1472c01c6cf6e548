"""What a cluster's scheduler says, and what a cluster can never do, in plain sentences for the user. Pure."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from sciencebox.gpus.wording import gib, number

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sciencebox.gpus.cluster import Node, Wish
    from sciencebox.gpus.pool import Holding

STALE = (
    "The cluster does not answer, so it is not known which GPUs are in use and none can be given out now. "
    "Try again in a minute."
)
_NOT_STOPPED = "no session is stopped because its GPU does nothing."
# What to know of the figures on the GPUs page, see `of_loads`.
NO_PROMETHEUS = (
    "What a GPU computes and how warm it is are not known: the settings name no Prometheus that is told. "
    f"So {_NOT_STOPPED}"
)
_UNKNOWN = "What a GPU computes and how warm it is are not known now: Prometheus"
SILENT = f"{_UNKNOWN} does not answer. Until it does, {_NOT_STOPPED}"
UNTOLD = f"{_UNKNOWN} has no figures of NVIDIA's DCGM exporter for sessions. Until it has, {_NOT_STOPPED}"
TOLD = "What the GPUs of sessions do is told by NVIDIA's DCGM exporter through Prometheus; free GPUs have no figures."
OTHERS_FREE = "GPUs that other namespaces of the cluster hold count as free."
OTHERS_UNKNOWN = "Which GPUs other namespaces hold is not known now, so some that are shown as free may be taken."
HELD = "The cluster holds the session back until its turn comes."
_COUNTED = re.compile(r"(\d+) (.+)")
# Of a node: what the scheduler says (Kubernetes 1.34, plugins of the default profile), and what that means for a user.
_CLAUSES = (
    (r"Insufficient nvidia\.com/\S+", "no free GPU of this kind"),
    (r"Insufficient cpu", "too few free cores"),
    (r"Insufficient memory", "too little free memory"),
    (r"Insufficient ephemeral-storage", "too little free disk"),
    (r"Too many pods", "as many pods as may be on it"),
    (r"node\(s\) didn't match Pod's node affinity/selector", "other GPUs than you asked for"),
    (r"node\(s\) were unschedulable", "been taken out of service"),
    (r"node\(s\) had untolerated taint.*(?:unreachable|not-ready).*", "stopped answering"),
    (r"node\(s\) had untolerated taint.*unschedulable.*", "been taken out of service"),
    (r"node\(s\) had untolerated taint.*", "been set aside for other work"),
    (r"node\(s\) had volume node affinity conflict", "no way to your home volume"),
    (r"node\(s\) exceed max volume count", "as many volumes as may be on it"),
    (r"node\(s\) unavailable due to PersistentVolumeClaim with ReadWriteOncePod.*", "your home still in use"),
)
_WHOLE = (
    (r"no nodes available", "The cluster has no node."),
    (r"unbound immediate PersistentVolumeClaims", "Your home volume is not provided yet."),
    (r"binding volumes: ", "Your home volume could not be provided in time; it is tried again."),
    (
        r"persistentvolumeclaim \"([^\"]+)\" bound to non-existent persistentvolume",
        r"The volume of the claim \1, which your session needs, is gone; tell the administrator.",
    ),
    (r"non-empty scheduling gates", HELD),
    (
        r"persistentvolumeclaim \"([^\"]+)\" not found",
        r"The volume claim \1, which your session needs, does not exist.",
    ),
    (
        r"persistentvolumeclaim \"([^\"]+)\" is being deleted",
        r"The volume claim \1, which your session needs, is being deleted.",
    ),
    (r"didn't find available persistent volumes", "The cluster has no volume left for your home."),
    (r"exceeded quota", "The quota of this service on the cluster is used up."),
)


def of_loads(fault: str | None, holdings: Collection[Holding], loads: Mapping[str, object]) -> str:
    """What to know of the figures of GPUs. `fault` is why Prometheus does not tell them, None where there is none."""
    if fault is None:
        return NO_PROMETHEUS
    if fault:
        return SILENT
    sessions = {holding.session for holding in holdings if holding.ours}
    return UNTOLD if sessions and not sessions & loads.keys() else TOLD


def why_waiting(said: str) -> str:
    """The scheduler's reason, as the message of a pod's condition PodScheduled has it; empty where it gave none yet."""
    reason, _, _ = said.partition(" preemption: ")
    for pattern, sentence in _WHOLE:
        if match := re.search(pattern, reason):
            return match.expand(sentence)
    head, separator, clauses = reason.partition(" nodes are available: ")
    if not separator:
        return reason
    nodes = head.rpartition("/")[2]
    tally: Counter[str] = Counter()
    for clause in re.split(r", (?=\d+ )", clauses.split(". ")[0].rstrip(".")):
        match = _COUNTED.fullmatch(clause)
        tally[_node(match[2] if match else clause)] += int(match[1]) if match else 0
    if nodes == "1":
        return f"The cluster's one node has {' and '.join(tally)}."
    parts = [f"{count or nodes} {'has' if count == 1 else 'have'} {words}" for words, count in tally.items()]
    return f"Of the cluster's {nodes} nodes, {', '.join(parts)}."


def _node(clause: str) -> str:
    return next((words for pattern, words in _CLAUSES if re.fullmatch(pattern, clause)), f"this against it: {clause}")


def impossible(wish: Wish, nodes: Sequence[Node]) -> str:
    """Why no node could ever take this session, however empty; empty where one could."""
    if wish.resource is None:
        fitting = list(nodes)
    else:
        fitting = [node for node in nodes if any(wish.fits(supply) for supply in node.supplies)]
        if not fitting:
            return _no_such_gpu(wish, nodes)
    if any(node.cores >= wish.cores and node.memory_bytes >= wish.memory_bytes for node in fitting):
        return ""
    which = f"with {number(wish.count, wish.kind)} " if wish.resource else ""
    largest = max(fitting, key=lambda node: (node.cores, node.memory_bytes), default=None)
    has = f"; the largest has {int(largest.cores)} and {gib(largest.memory_bytes)}" if largest else ""
    return f"No node {which}can give {wish.cores} cores and {gib(wish.memory_bytes)} to one session{has}. Choose less."


def _no_such_gpu(wish: Wish, nodes: Sequence[Node]) -> str:
    alike = [supply for node in nodes for supply in node.supplies if wish.is_for(supply)]
    if alike:
        most = max(supply.count for supply in alike)
        return (
            f"{number(wish.count, wish.kind)} were asked for, and no node has more than {most} of them: "
            "a session runs on one node."
        )
    kinds = sorted({supply.kind for node in nodes for supply in node.supplies})
    if wish.min_memory_bytes:
        return f"No node has a GPU with {gib(wish.min_memory_bytes)} or more; the cluster has {', '.join(kinds)}."
    if not kinds:
        return "No node of this cluster has a GPU."
    return f"No node has {wish.kind or wish.resource}; the cluster has {', '.join(kinds)}."
