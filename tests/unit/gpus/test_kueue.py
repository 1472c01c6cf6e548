"""What Kueue says of who waits in its queue: its objects in, places and plain sentences out."""

from __future__ import annotations

from typing import Any

import pytest
from sciencebox.gpus import cluster, kueue
from sciencebox.gpus.cluster import Claim
from sciencebox.gpus.kueue import Place, why_held, why_stopped

NOT = "couldn't assign flavors to pod set main: "


def workload(message: str = "", *, uid: str = "1", active: bool = True, reserved: str = "False") -> Any:
    conditions = [{"type": "QuotaReserved", "status": reserved, "reason": "Pending", "message": message}]
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "jupyter-ada", "uid": uid}
    return kueue.keep(
        {
            "metadata": {"name": "pod-ada", "namespace": "hub", "resourceVersion": "1", "ownerReferences": [owner]},
            "spec": {"active": active, "queueName": "gpus", "podSets": []},
            "status": {"conditions": conditions if message or reserved == "True" else []},
        }
    )


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("", "Kueue has not looked at this session yet."),
        (
            f"{NOT}insufficient unused quota for nvidia.com/gpu in flavor default, 1 more needed",
            "The queue's quota of GPUs is used up; 1 more must become free.",
        ),
        (
            f"{NOT}insufficient unused quota for memory in flavor default, 4Gi more needed",
            "The queue's quota of memory is used up; 4Gi more must become free.",
        ),
        (
            f"{NOT}insufficient quota for nvidia.com/gpu in flavor default, previously considered podsets requests (0) "
            "+ current podset request (4) > maximum capacity (2)",
            "The queue's quota of GPUs is 2 in all. Cancel, and ask for less.",
        ),
        (
            f"{NOT}insufficient unused quota for nvidia.com/gpu in flavor default, 1 more needed. Pending the "
            "preemption of 1 workload(s)",
            "Less important work is being ended to make room for your session.",
        ),
        (f"{NOT}resource cpu unavailable in ClusterQueue", "The queue has no quota of cores. Tell the administrator."),
        ("LocalQueue gpus doesn't exist", "Kueue does not have the queue. Tell the administrator."),
        ("ClusterQueue gpus not found", "Kueue does not have the queue. Tell the administrator."),
        ("LocalQueue gpus is stopped", "The queue is stopped by the administrator."),
        ("ClusterQueue gpus is inactive", "The queue is not in use. Tell the administrator."),
        (
            f"{NOT}flavor a100 doesn't match node affinity",
            "The queue has no such GPU. Choose another one, or: Tell the administrator.",
        ),
        ("something new", "Kueue: something new"),
    ],
)
def test_its_reasons_in_plain_words(said: str, words: str) -> None:
    assert why_held(workload(said), None, "") == words


def test_what_else_is_known_of_who_waits() -> None:
    assert why_held(None, None, "") == kueue.UNSEEN
    assert "given this session up" in why_held(workload(active=False), None, "")
    assert "about to start" in why_held(workload(reserved="True"), None, "")
    assert why_held(None, None, "404 Not Found").endswith(kueue.PLACE_UNKNOWN)
    assert why_held(None, Place(0, 1), "").endswith("one of another queue comes first.")
    assert why_held(None, Place(0, 3), "").endswith("3 of other queues come first.")


def test_only_what_is_read_of_the_workloads_of_pods_is_kept() -> None:
    assert set(workload()["spec"]) == {"active"}
    job = {"metadata": {"ownerReferences": [{"kind": "Job", "uid": "1"}]}, "spec": {}}
    assert kueue.keep(job) is None


def pending(uid: str, here: int, there: int) -> dict[str, Any]:
    owner = {"kind": "Pod", "name": f"jupyter-{uid}", "uid": uid}
    return {"metadata": {"ownerReferences": [owner]}, "positionInLocalQueue": here, "positionInClusterQueue": there}


def test_places_are_those_that_kueue_tells() -> None:
    told = {"items": [pending("b", 0, 2), pending("a", 1, 3), {**pending("x", 2, 4), "metadata": {}}]}
    assert kueue.read_places(told) == {"b": Place(0, 2), "a": Place(1, 2)}


def test_who_is_held_back_waits_behind_who_is_not_by_the_places_and_then_by_arrival() -> None:
    def claim(name: str, created: float, *, held: bool = True) -> Claim:
        return Claim(name, name, "nvidia.com/gpu", 1, None, created, uid=name, held=held)

    claims = [claim("a", 1), claim("b", 2), claim("new", 3), claim("old", 0.5), claim("admitted", 9, held=False)]
    order = cluster.queue(claims, {"b": Place(0), "a": Place(1)})
    assert [each.session for each in order] == ["admitted", "b", "a", "old", "new"]
    assert [each.session for each in cluster.queue(claims)] == ["admitted", "old", "a", "b", "new"]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("Preempted to accommodate a workload (UID: 1)", "its queue gave its quota to something more important"),
        ("The ClusterQueue is stopped", "its queue took its quota back"),
    ],
)
def test_why_kueue_ended_a_session(message: str, words: str) -> None:
    assert why_stopped([{"type": "TerminationTarget", "status": "True", "message": message}]) == words
    assert why_stopped([{"type": "Ready", "status": "True"}]) == ""


@pytest.mark.parametrize(("waiting", "words"), [(0, "nobody waits"), (1, "1 session waits"), (2, "2 sessions wait")])
def test_the_form_names_the_queue(waiting: int, words: str) -> None:
    said = f"GPUs are given out by the quota of the queue gpus of Kueue, where {words} now."
    assert kueue.of_queue("gpus", waiting) == said
