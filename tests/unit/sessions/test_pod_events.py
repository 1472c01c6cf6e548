"""Why a pod that has a node, or waits for its volumes, does not start: events as the API has them, in words."""

from __future__ import annotations

from typing import Any

import pytest
from sciencebox.sessions import pod_events
from sciencebox.sessions.pod_state import stage
from sciencebox.sessions.progress import Step

HOME = {"name": "home", "persistentVolumeClaim": {"claimName": "claim-ada"}}


def pod(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "jupyter-ada", "uid": "1"},
        "spec": {"nodeName": "a", "volumes": [HOME, {"name": "shared-memory", "emptyDir": {}}]},
        "status": {"phase": "Pending", **status},
    }


def event(reason: str, message: str, at: int = 0, *, kind: str = "Pod", name: str = "", uid: str = "1") -> Any:
    what = {"kind": kind, "name": name or "jupyter-ada", "uid": uid}
    metadata = {"name": f"e{at}", "namespace": "hub", "resourceVersion": "1", "managedFields": []}
    told = {"reason": reason, "message": message, "lastTimestamp": f"2026-11-26T10:00:{at:02}Z"}
    return pod_events.keep({"metadata": metadata, "involvedObject": what, "count": 3, **told})


def of_claim(reason: str, message: str, name: str = "claim-ada") -> Any:
    return event(reason, message, kind="PersistentVolumeClaim", name=name, uid="2")


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (
            event("FailedMount", 'MountVolume.SetUp failed for volume "pvc-5f" : mount failed: exit status 32'),
            "The node cannot mount a volume of your session; it is tried again.",
        ),
        (
            event("FailedMount", "Unable to attach or mount volumes: unmounted volumes=[home], unattached volumes=[]"),
            "The node cannot mount the volume claim claim-ada; it is tried again.",
        ),
        (
            event("FailedMount", 'MountVolume.SetUp failed for volume "nfs-home" : rpc error: 10.1.2.3:/export'),
            "The node cannot mount the volume nfs-home; it is tried again.",
        ),
        (
            event("FailedMount", 'MountVolume.SetUp failed for volume "keys" : secret "site-keys" not found'),
            "A volume needs site-keys, which is missing; tell the administrator.",
        ),
        (
            event("FailedMapVolume", "no idea"),
            "The node cannot mount a volume of your session; it is tried again.",
        ),
        (
            event("FailedAttachVolume", 'Multi-Attach error for volume "pvc-5f" Volume is already used by pod(s) x'),
            "Another node still has a volume of your session; it is tried again.",
        ),
        (
            event("FailedAttachVolume", 'AttachVolume.Attach failed for volume "pvc-5f" : timed out'),
            "The node does not get a volume of your session; it is tried again.",
        ),
        (
            of_claim("ProvisioningFailed", 'storageclass.storage.k8s.io "fast" not found'),
            "The volume claim claim-ada cannot be provided: the cluster has no storage class fast; "
            "tell the administrator.",
        ),
        (
            of_claim("ProvisioningFailed", "failed to provision volume: quota"),
            "The cluster cannot provide the volume claim claim-ada; it is tried again.",
        ),
        (
            of_claim("FailedBinding", "no persistent volumes available for this claim and no storage class is set"),
            "The volume claim claim-ada cannot be provided: it names no storage class; tell the administrator.",
        ),
        (
            of_claim("ClaimLost", "Bound claim has lost its PersistentVolume"),
            "The volume claim claim-ada has lost its volume; tell the administrator.",
        ),
        (
            event("FailedCreatePodSandBox", "plugin type=calico failed"),
            "The node cannot set up the session's network; it is tried again.",
        ),
    ],
)
def test_what_keeps_a_pod_from_starting(told: Any, words: str) -> None:
    found = stage(pod(), [told])
    assert (found.step, found.about, found.failure) == (Step.CREATING, words, "")


def test_where_no_node_was_chosen_the_claims_trouble_is_more_than_the_scheduler_knows() -> None:
    said = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: 0/1"
    waits = pod(conditions=[{"type": "PodScheduled", "status": "False", "message": said}])
    del waits["spec"]["nodeName"]
    assert stage(waits).about == "Your home volume is not provided yet."
    told = of_claim("ProvisioningFailed", 'storageclass.storage.k8s.io "fast" not found')
    assert "no storage class fast" in stage(waits, [told]).about


def test_the_newest_counts_and_what_is_anothers_or_of_an_earlier_pod_does_not() -> None:
    first, last = event("FailedMount", "", 1), event("FailedCreatePodSandBox", "", 2)
    assert "network" in stage(pod(), [last, first]).about
    others = [event("FailedMount", "", uid="0"), of_claim("ClaimLost", "", name="claim-bob")]
    assert stage(pod(), others).about == ""


@pytest.mark.parametrize(
    "begun",
    [
        {"conditions": [{"type": "PodReadyToStartContainers", "status": "True"}]},
        {"initContainerStatuses": [{"name": "init", "state": {"running": {}}}]},
    ],
)
def test_trouble_that_is_over_is_not_told(begun: dict[str, Any]) -> None:
    assert stage(pod(**begun), [event("FailedMount", "")]).about == ""


def test_of_events_nothing_is_kept_that_nobody_reads() -> None:
    assert event("Pulled", "an image") is None
    kept = event("FailedMount", "x", 1)
    assert sorted(kept) == ["at", "involvedObject", "message", "metadata", "reason"]
    assert "managedFields" not in kept["metadata"]
