"""What a cluster's events say of a session's pod that does not start: volumes, their claims, its network. Pure.

A pod's own state says nothing of these: until its volumes are there and its sandbox is made it just is being created.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Event = dict[str, Any]

_TELL = "tell the administrator."
_AGAIN = "it is tried again."
_CLAIM = "the volume claim {}"
# What is told of each reason of an event, by the first pattern that its message has (Kubernetes 1.34: kubelet, and the
# controllers of attached and of persistent volumes).
_SAID: dict[str, tuple[tuple[str, str], ...]] = {
    "FailedMount": (
        (r"(?:secret|configmap) \"(?P<name>[^\"]+)\" not found", f"A volume needs {{name}}, which is missing; {_TELL}"),
        (r"volume \"(?P<volume>[^\"]+)\"", f"The node cannot mount {{volume}}; {_AGAIN}"),
        (r"unmounted volumes=\[(?P<volume>[^\] ]+)", f"The node cannot mount {{volume}}; {_AGAIN}"),
        (r"", f"The node cannot mount a volume of your session; {_AGAIN}"),
    ),
    "FailedAttachVolume": (
        (r"Multi-Attach error for volume \"(?P<volume>[^\"]+)\"", f"Another node still has {{volume}}; {_AGAIN}"),
        (r"volume \"(?P<volume>[^\"]+)\"", f"The node does not get {{volume}}; {_AGAIN}"),
        (r"", f"The node does not get a volume of your session; {_AGAIN}"),
    ),
    "ProvisioningFailed": (
        (
            r"storageclass.*\"(?P<name>[^\"]+)\" not found",
            f"{{claim}} cannot be provided: the cluster has no storage class {{name}}; {_TELL}",
        ),
        (r"", f"The cluster cannot provide {{claim}}; {_AGAIN}"),
    ),
    "FailedBinding": (
        (r"no storage class is set", f"{{claim}} cannot be provided: it names no storage class; {_TELL}"),
        (r"", f"{{claim}} finds no volume; {_TELL}"),
    ),
    "ClaimLost": ((r"", f"{{claim}} has lost its volume; {_TELL}"),),
    "ClaimMisbound": ((r"", f"{{claim}} has another's volume; {_TELL}"),),
    "FailedCreatePodSandBox": ((r"", f"The node cannot set up the session's network; {_AGAIN}"),),
    "NetworkNotReady": ((r"", f"The node's network is not ready; {_AGAIN}"),),
}
_SAID["FailedMapVolume"] = _SAID["FailedMount"]
# Field selector of events: all but what every pod causes. There is no "one of these".
WATCHED = ",".join(
    f"reason!={reason}"
    for reason in ("Scheduled", "FailedScheduling", "Pulling", "Pulled", "Created", "Started", "Killing", "BackOff")
)


def keep(event: Event) -> Event | None:
    """What is kept of an event: those of which something is told, without the rest of them."""
    if event.get("reason") not in _SAID:
        return None
    metadata = event["metadata"]
    return {
        "metadata": {key: metadata[key] for key in ("name", "namespace", "resourceVersion")},
        "involvedObject": event["involvedObject"],
        "reason": event["reason"],
        "message": event.get("message") or "",
        "at": event.get("lastTimestamp") or event.get("eventTime") or metadata.get("creationTimestamp") or "",
    }


def about(pod: Mapping[str, Any], events: Iterable[Event]) -> Event | None:
    """The newest event of those kept that keeps a pod from starting; None where there is none, or it has begun."""
    status = pod.get("status", {})
    if _has_begun(status):
        return None
    uid, claims = pod["metadata"].get("uid"), set(_claims(pod).values())
    found = [each for each in events if _concerns(each["involvedObject"], uid, claims)]
    return max(found, key=lambda each: each["at"], default=None)


def in_words(pod: Mapping[str, Any], event: Event | None) -> str:
    """The same in a sentence for the pod's user; empty for None.

    The event's own message is for the log: it may tell addresses and paths of a site's storage.
    """
    if event is None:
        return ""
    for pattern, sentence in _SAID[event["reason"]]:
        if match := re.search(pattern, event["message"]):
            groups = match.groupdict()
            volume, claim = groups.get("volume", ""), event["involvedObject"].get("name", "")
            words = {"name": groups.get("name"), "volume": _volume(volume, _claims(pod)), "claim": _CLAIM.format(claim)}
            said = sentence.format(**words)
            return said[0].upper() + said[1:]
    return ""


def _concerns(what: Mapping[str, Any], uid: str | None, claims: set[str]) -> bool:
    """A claim is known by its name, for it outlives pods; a pod by its uid, for its name is used again."""
    if what.get("kind") == "PersistentVolumeClaim":
        return what.get("name") in claims
    return what.get("kind") == "Pod" and what.get("uid") == uid


def _has_begun(status: Mapping[str, Any]) -> bool:
    """Whether its volumes and its network are there, which has been so before the first of its containers ran."""
    conditions = status.get("conditions") or ()
    if any(each["type"] == "PodReadyToStartContainers" and each["status"] == "True" for each in conditions):
        return True
    containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    return any(state in each.get("state", {}) for each in containers for state in ("running", "terminated"))


def _claims(pod: Mapping[str, Any]) -> dict[str, str]:
    """By the name of a pod's volume, the claim that it is."""
    volumes = pod["spec"].get("volumes") or ()
    found = {each["name"]: (each.get("persistentVolumeClaim") or {}).get("claimName") for each in volumes}
    return {name: claim for name, claim in found.items() if claim}


def _volume(name: str, claims: Mapping[str, str]) -> str:
    """A volume by its claim where that is known. One that was made for a claim has a name that says nothing."""
    if name in claims:
        return _CLAIM.format(claims[name])
    return "a volume of your session" if name.startswith("pvc-") else f"the volume {name}"
