"""What Kueue says of sessions that wait in its queue. Pure: objects as its APIs have them in, values and words out.

Kueue holds a pod with its queue's label back by a scheduling gate until the queue's quota has room for it, and keeps a
Workload for it. Workloads say why they wait; in which place, only the visibility API does (https://kueue.sigs.k8s.io,
written for Kueue 0.17, API versions v1beta1 and v1beta2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
GATES = "kueue.x-k8s.io/"
UNREAD = "Kueue does not answer, so it is not known why the session is held back."
UNSEEN = "Kueue has not looked at this session yet."
PLACE_UNKNOWN = "Kueue does not tell the places in its queue now; the order that is shown is that of arrival."
_TELL = "Tell the administrator."
_MORE = r"insufficient unused quota for (\S+) in flavor \S+, (\S+) more needed"
_NEVER = r"insufficient quota for (\S+) in flavor .*maximum capacity \(([^)]*)\)"
# The message of a Workload's condition QuotaReserved, and what that means for a user; the first that is found.
_REASONS = (
    (r"Pending the preemption of", "Less important work is being ended to make room for your session."),
    (_MORE, "The queue's quota of {0} is used up; {1} more must become free."),
    (_NEVER, "The queue's quota of {0} is {1} in all. Cancel, and ask for less."),
    (r"resource (\S+) unavailable in ClusterQueue", f"The queue has no quota of {{0}}. {_TELL}"),
    (r"(?:Local|Cluster)Queue \S+ (?:doesn't exist|not found)", f"Kueue does not have the queue. {_TELL}"),
    (r"(?:Local|Cluster)Queue \S+ is stopped", "The queue is stopped by the administrator."),
    (r"(?:Local|Cluster)Queue \S+ is inactive", f"The queue is not in use. {_TELL}"),
    (r"namespace doesn't match", f"The queue is not for this service. {_TELL}"),
    (r"flavor \S+ doesn't match node affinity", f"The queue has no such GPU. Choose another one, or: {_TELL}"),
    (r"untolerated taint", f"The queue's nodes are set aside for other work. {_TELL}"),
    (r"no longer fits after processing another", "Others come first; the quota of the queue is used up."),
)
_RESOURCES = {"nvidia.com/gpu": "GPUs", "cpu": "cores"}  # others go by the names that they have


@dataclass(frozen=True)
class Place:
    """A place in the queue, from 0, by what Kueue tries first; `elsewhere` is how many of other queues come before."""

    number: int
    elsewhere: int = 0


def of_queue(name: str, waiting: int) -> str:
    """What the form says of the queue."""
    now = {0: "nobody waits", 1: "1 session waits"}.get(waiting, f"{waiting} sessions wait")
    return f"GPUs are given out by the quota of the queue {name} of Kueue, where {now} now."


def is_held(spec: Mapping[str, Any]) -> bool:
    """Whether a pod is held back by its queue."""
    return any(gate["name"].startswith(GATES) for gate in spec.get("schedulingGates") or ())


def keep(workload: dict[str, Any]) -> dict[str, Any] | None:
    """What is kept of a Workload; None where it is not that of a pod."""
    metadata, spec = workload["metadata"], workload["spec"]
    if not pod_of(workload):
        return None
    return {
        "metadata": {key: metadata.get(key) for key in ("name", "namespace", "resourceVersion", "ownerReferences")},
        "spec": {"active": spec.get("active", True)},
        "status": {"conditions": workload.get("status", {}).get("conditions") or []},
    }


def pod_of(workload: Mapping[str, Any]) -> str:
    """The uid of the pod for which a Workload stands; empty where that is no pod."""
    owners = workload["metadata"].get("ownerReferences") or ()
    return next((str(owner["uid"]) for owner in owners if owner.get("kind") == "Pod"), "")


def read_places(answer: Mapping[str, Any]) -> dict[str, Place]:
    """By the pod's uid, its place, of the visibility API's list of a LocalQueue. Raises KeyError and TypeError."""
    found = {}
    for each in answer["items"]:
        here, there = each["positionInLocalQueue"], each["positionInClusterQueue"]
        if uid := pod_of(each):
            found[uid] = Place(here, max(there - here, 0))
    return found


def why_held(workload: Mapping[str, Any] | None, place: Place | None, fault: str) -> str:
    """Why a session's pod is held back, in words. `fault` is why places are not known, empty where they are."""
    parts = [UNSEEN if workload is None else _reason(workload)]
    if place and place.elsewhere:
        who = "one of another queue comes" if place.elsewhere == 1 else f"{place.elsewhere} of other queues come"
        parts.append(f"Of those who share its quota, {who} first.")
    if fault:
        parts.append(PLACE_UNKNOWN)
    return " ".join(parts)


def why_stopped(conditions: Iterable[Mapping[str, Any]]) -> str:
    """Why Kueue ended a pod, as the end of a sentence, by the pod's conditions; empty where it did not."""
    said = next((one for one in conditions if one["type"] == "TerminationTarget" and one["status"] == "True"), None)
    if said is None:
        return ""
    if "reempted" in said.get("message", ""):
        return "its queue gave its quota to something more important"
    return "its queue took its quota back"


def _reason(workload: Mapping[str, Any]) -> str:
    if not workload["spec"]["active"]:
        return f"Kueue has given this session up. {_TELL}"
    conditions = {each["type"]: each for each in workload["status"]["conditions"]}
    reserved = conditions.get("QuotaReserved", {})
    if reserved.get("status") == "True":
        return "The queue has room for your session, and it is about to start."
    message = reserved.get("message", "")
    for pattern, sentence in _REASONS:
        if match := re.search(pattern, message):
            return sentence.format(*(_RESOURCES.get(word, word) for word in match.groups()))
    return f"Kueue: {message}" if message else UNSEEN
