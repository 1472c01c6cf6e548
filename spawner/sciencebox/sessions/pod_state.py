"""How far a session's pod is, and what became of it, in words for its user. Pure: a pod as the API has it in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sciencebox.gpus.cluster_wording import why_waiting
from sciencebox.gpus.kueue import is_held, why_stopped
from sciencebox.sessions import pod_events
from sciencebox.sessions.progress import Step

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_UNAUTHORIZED, _FORBIDDEN, _INVALID = 401, 403, 422
_TELL = "tell the administrator."
# Reasons for which a container waits that nobody will wait out.
_HOPELESS = {
    "InvalidImageName": f"The software image of sessions has a name that cannot be one; {_TELL}",
    "ErrImageNeverPull": f"The software image of sessions is missing on the node, which may not fetch it; {_TELL}",
    "CreateContainerConfigError": f"The session needs something that the cluster does not have; {_TELL}",
    "CreateContainerError": f"The session's container could not be created; {_TELL}",
    "RunContainerError": f"The session's container could not be started; {_TELL}",
    "ImagePullBackOff": f"The software image of sessions cannot be fetched by the node; {_TELL}",
    "ImageInspectError": f"The software image of sessions is damaged on the node; {_TELL}",
    "SignatureValidationFailed": f"The software image of sessions is not signed as the node wants it; {_TELL}",
    "PostStartHookError": f"What is to be done at the session's start failed; {_TELL}",
    "CrashLoopBackOff": f"The session ended while it was starting; {_TELL}",
}
_ROOM = "The cluster is ending less important work to make room for your session."
_ENDED = "Your last session ended: {}. Your files are as you left them."
_DISRUPTIONS = {  # reasons of the condition DisruptionTarget
    "PreemptionByScheduler": "the cluster gave its place to something more important",
    "DeletionByTaintManager": "its node stopped answering or was taken out of service",
    "EvictionByEvictionAPI": "its node is being emptied by the administrator",
    "DeletionByPodGC": "its node is gone",
    "TerminationByKubelet": "its node ran short of memory or disk, or is shutting down",
}
_REASONS = {  # reasons of the pod itself
    "Evicted": "its node ran short of memory or disk",
    "NodeLost": "its node stopped answering",
    "Shutdown": "its node was shut down",
    "NodeShutdown": "its node was shut down",
    "UnexpectedAdmissionError": "its node could not give it what it had promised, such as a GPU",
    "OutOfnvidia.com/gpu": "its node had fewer GPUs than it had told",
    "DeadlineExceeded": "its time was over",
}


@dataclass(frozen=True)
class Stage:
    """`about` is what it waits for, in a sentence, if anything is known. `failure` is why it will never be more."""

    step: Step
    about: str = ""
    failure: str = ""


def stage(pod: Mapping[str, Any], events: Iterable[pod_events.Event] = (), held: str = "") -> Stage:
    """How far the start of a session is. It is READY when its server's container is.

    `events` are what is said of it, `held` is why its queue holds it back, if it does.
    """
    status, spec = pod.get("status", {}), pod["spec"]
    if status.get("phase") in {"Failed", "Succeeded"} or "deletionTimestamp" in pod["metadata"]:
        return Stage(Step.STARTING, failure=f"The session ended while it was starting: {why_ended(pod)}.")
    trouble = pod_events.in_words(pod, pod_events.about(pod, events))
    if not spec.get("nodeName"):
        return Stage(Step.GPU, held if is_held(spec) else trouble or _without_node(status))
    states = status.get("containerStatuses") or ()
    for container in [*(status.get("initContainerStatuses") or ()), *states]:
        waiting = container.get("state", {}).get("waiting") or {}
        reason, detail = waiting.get("reason", ""), waiting.get("message", "")
        if reason in _HOPELESS:
            return Stage(Step.CREATING, failure=f"{_HOPELESS[reason]} {detail}".strip())
        if reason in {"ErrImagePull", "RegistryUnavailable"}:
            return Stage(Step.CREATING, "The node cannot fetch the software image; it tries again.")
    if status.get("phase") != "Running":
        return Stage(Step.CREATING, trouble)
    ready = status.get("podIP") and states and all(container.get("ready") for container in states)
    return Stage(Step.READY if ready else Step.STARTING)


def _without_node(status: Mapping[str, Any]) -> str:
    """Why the scheduler has given a pod no node yet."""
    return (
        _ROOM if status.get("nominatedNodeName") else why_waiting(_condition(status, "PodScheduled").get("message", ""))
    )


def why_ended(pod: Mapping[str, Any] | None) -> str:
    """Why a session's pod is no more, as the end of a sentence; `pod` is what was last seen of it."""
    if pod is None:
        return "its pod is gone"
    status = pod.get("status", {})
    disruption = _condition(status, "DisruptionTarget")
    if disruption.get("status") == "True" and disruption.get("reason") in _DISRUPTIONS:
        return _DISRUPTIONS[disruption["reason"]]
    by_queue = why_stopped(status.get("conditions") or ())
    return by_queue or _REASONS.get(status.get("reason", "")) or _exit(status) or "its pod was deleted"


def _exit(status: Mapping[str, Any]) -> str:
    """How its server ended, if it did by itself."""
    for container in status.get("containerStatuses") or ():
        ended = container.get("state", {}).get("terminated") or {}
        if ended.get("reason") == "OOMKilled":
            return "it needed more memory than it had asked for"
        if ended.get("exitCode"):
            return f"its server stopped with code {ended['exitCode']}"
    return "its server was stopped from inside" if status.get("phase") == "Succeeded" else ""


def explain_api_error(status: int, text: str) -> str:
    """Why the API server did not take the session's pod or volume, for its user; the log has the rest."""
    if status == _FORBIDDEN and "exceeded quota" in text:
        return "The quota of this service on the cluster is used up; try again when others have stopped."
    if status == _FORBIDDEN and "violates PodSecurity" in text:
        return f"The cluster's rules for pods forbid this session; {_TELL}"
    if status in {_FORBIDDEN, _UNAUTHORIZED}:
        return f"The hub may not do on the cluster what this session needs; {_TELL}"
    if status == _INVALID:
        return f"The cluster does not accept the session's description; {_TELL}"
    return "The cluster could not start the session; try again in a minute."


def told(pod: Mapping[str, Any] | None) -> str:
    """The same as its user reads it afterwards."""
    return _ENDED.format(why_ended(pod))


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return next((one for one in status.get("conditions") or () if one["type"] == kind), {})
