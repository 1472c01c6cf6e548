"""How far a session's pod is and what became of it, in words: pods as the API has them."""

from __future__ import annotations

from typing import Any

import pytest
from sciencebox.sessions.pod_state import explain_api_error, stage, why_ended
from sciencebox.sessions.progress import Step


def pod(node: str | None = "a", **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "jupyter-ada"}, "spec": {"nodeName": node}, "status": {"phase": "Pending", **status}}


def container(ready: bool = False, **state: Any) -> list[dict[str, Any]]:
    return [{"name": "notebook", "ready": ready, "state": state}]


@pytest.mark.parametrize(
    ("seen", "step"),
    [
        (pod(None), Step.GPU),
        (pod(), Step.CREATING),
        (pod(containerStatuses=container(waiting={"reason": "ContainerCreating"})), Step.CREATING),
        (pod(phase="Running", containerStatuses=container(running={})), Step.STARTING),
        (pod(phase="Running", podIP="10.0.0.7", containerStatuses=container(True, running={})), Step.READY),
    ],
)
def test_the_steps_of_a_start(seen: dict[str, Any], step: Step) -> None:
    found = stage(seen)
    assert (found.step, found.failure) == (step, "")


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (pod(containerStatuses=container(waiting={"reason": "ImagePullBackOff"})), "cannot be fetched by the node"),
        (pod(containerStatuses=container(waiting={"reason": "InvalidImageName"})), "a name that cannot be one"),
        (pod(initContainerStatuses=container(waiting={"reason": "CrashLoopBackOff"})), "ended while it was starting"),
        (pod(phase="Failed", reason="OutOfnvidia.com/gpu"), "fewer GPUs than it had told"),
        (pod(phase="Failed", reason="UnexpectedAdmissionError"), "could not give it what it had promised"),
    ],
)
def test_what_will_never_become_a_session_fails_at_once(seen: dict[str, Any], words: str) -> None:
    assert words in stage(seen).failure


def test_an_image_that_could_not_be_fetched_once_is_tried_again() -> None:
    found = stage(pod(containerStatuses=container(waiting={"reason": "ErrImagePull"})))
    assert (found.about, found.failure) == ("The node cannot fetch the software image; it tries again.", "")


def test_a_pod_that_its_queue_holds_back_says_what_the_queue_says() -> None:
    held = pod(None, conditions=[{"type": "PodScheduled", "status": "False", "message": "non-empty scheduling gates"}])
    assert stage(held, held="The queue is full.").about == "The cluster holds the session back until its turn comes."
    held["spec"]["schedulingGates"] = [{"name": "kueue.x-k8s.io/admission"}]
    assert stage(held, held="The queue is full.").about == "The queue is full."


def test_a_pod_for_which_others_are_ended_is_about_to_get_its_node() -> None:
    assert "to make room for your session" in stage(pod(None, nominatedNodeName="a")).about


def ended(phase: str, **how: Any) -> dict[str, Any]:
    return pod(phase=phase, containerStatuses=container(terminated=how))


def disrupted(reason: str) -> dict[str, Any]:
    return pod(phase="Failed", conditions=[{"type": "DisruptionTarget", "status": "True", "reason": reason}])


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (None, "its pod is gone"),
        (pod(phase="Running"), "its pod was deleted"),
        (disrupted("PreemptionByScheduler"), "the cluster gave its place to something more important"),
        (disrupted("EvictionByEvictionAPI"), "its node is being emptied by the administrator"),
        (disrupted("DeletionByTaintManager"), "its node stopped answering or was taken out of service"),
        (
            pod(conditions=[{"type": "TerminationTarget", "status": "True", "message": "Preempted to accommodate"}]),
            "its queue gave its quota to something more important",
        ),
        (pod(phase="Failed", reason="Evicted"), "its node ran short of memory or disk"),
        (
            pod(phase="Failed", containerStatuses=container(terminated={"exitCode": 3})),
            "its server stopped with code 3",
        ),
        (
            pod(phase="Succeeded", containerStatuses=container(terminated={"exitCode": 0})),
            "its server was stopped from inside",
        ),
    ],
)
def test_why_a_session_is_over(last: dict[str, Any] | None, words: str) -> None:
    assert why_ended(last) == words


@pytest.mark.parametrize(
    ("status", "text", "words"),
    [
        (403, 'pods "x" is forbidden: exceeded quota: gpus', "quota of this service"),
        (403, 'pods "x" is forbidden: violates PodSecurity "restricted:latest"', "rules for pods forbid"),
        (403, 'pods is forbidden: User "hub" cannot create', "The hub may not do"),
        (422, "Invalid value", "does not accept"),
        (500, "etcd", "try again in a minute"),
    ],
)
def test_why_the_api_took_nothing(status: int, text: str, words: str) -> None:
    assert words in explain_api_error(status, text)
