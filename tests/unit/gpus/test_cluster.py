"""What a cluster's nodes, pods and scheduler say of GPUs: tables of the API's objects, and properties of the count."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sciencebox.gpus import cluster
from sciencebox.gpus.cluster import Claim, Node, Supply, Wish
from sciencebox.gpus.cluster_wording import impossible, why_waiting
from sciencebox.gpus.device import Health

from tests.fakes.kubelet import A100, node

GIB = 1024**3
AT = 1_790_000_000.0


def pod(name: str = "jupyter-ada", **more: Any) -> dict[str, Any]:
    """A session's pod that waits for one GPU."""
    limits = more.pop("limits", {"nvidia.com/gpu": "1", "cpu": "2"})
    annotations = {"hub.jupyter.org/username": name.removeprefix("jupyter-"), **more.pop("annotations", {})}
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": "2026-09-21T14:13:20Z",
            "annotations": annotations,
            **more.pop("metadata", {}),
        },
        "spec": {"containers": [{"resources": {"limits": limits}}], **more.pop("spec", {})},
        "status": {"phase": "Pending", **more},
    }


@pytest.mark.parametrize(
    ("described", "supplies"),
    [
        (node("a", 4), [Supply("nvidia.com/gpu", A100, 4, 80 * GIB, None, A100)]),
        (node("a", 0), []),
        (
            node("a", resources={"nvidia.com/mig-1g.10gb": 7}, labels={"nvidia.com/mig-1g.10gb.memory": "9728"}),
            [Supply("nvidia.com/mig-1g.10gb", A100, 7, 9728 * 2**20, "1g.10gb", A100)],
        ),
        (
            node("a", resources={"nvidia.com/gpu.shared": 8}),
            [Supply("nvidia.com/gpu.shared", f"{A100} shared", 8, 80 * GIB, None, A100)],
        ),
        (
            node("a", product="", resources={"nvidia.com/gpu": 1}),
            [Supply("nvidia.com/gpu", "Unknown GPU", 1, 80 * GIB)],
        ),
    ],
)
def test_what_a_node_offers_is_read_from_its_resources_and_labels(described: Any, supplies: list[Supply]) -> None:
    assert list(cluster.read_node(described, ()).supplies) == supplies


def test_what_a_pod_holds_is_held_while_its_nodes_device_plugin_starts_anew() -> None:
    there = node("a", 2)
    there["status"]["allocatable"] = {**there["status"]["allocatable"], "nvidia.com/gpu": "0"}
    claim = Claim("jupyter-ada", "ada", "nvidia.com/gpu", 1, None, AT, node="a", since=AT)
    found, holdings = cluster.devices([cluster.read_node(there, ())], [claim])
    assert [(holding.user, holding.since) for holding in holdings] == [("ada", AT)]
    assert [(c.kind, c.free, c.total) for c in cluster.availability(found, holdings)] == [(A100, 0, 1)]


def test_whole_cards_and_mig_instances_of_one_node_are_two_kinds() -> None:
    read = cluster.read_node(node("a", resources={"nvidia.com/gpu": 1, "nvidia.com/mig-3g.40gb": 2}), ())
    assert [supply.kind for supply in read.supplies] == [A100, f"{A100} MIG 3g.40gb"]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"spec": {"unschedulable": True}}, cluster.CORDONED),
        ({"spec": {"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]}}, ""),
        (
            {"spec": {"taints": [{"key": "for/physics", "effect": "NoSchedule"}]}},
            "its node is set aside for other work",
        ),
        ({"spec": {"taints": [{"key": "for/physics", "effect": "PreferNoSchedule"}]}}, ""),
    ],
)
def test_why_no_session_starts_on_a_node(change: dict[str, Any], fault: str) -> None:
    read = cluster.read_node({**node("a"), **change}, {"nvidia.com/gpu"})
    assert read.fault.startswith(fault) if fault else not read.fault
    assert read.answers


@pytest.mark.parametrize("status", ["False", "Unknown"])
def test_a_node_that_does_not_answer_offers_nothing_now_and_keeps_what_runs(status: str) -> None:
    lost = node("a", 2)
    lost["status"]["conditions"][0]["status"] = status
    read = cluster.read_node(lost, ())
    claim = Claim("jupyter-ada", "ada", "nvidia.com/gpu", 1, None, AT, node="a", since=AT)
    found, holdings = cluster.devices([read], [claim])
    assert not read.answers
    assert [holding.user for holding in holdings] == ["ada"]
    assert {device.health for device in found.devices} == {Health.SUSPECT}
    assert cluster.availability(found, holdings)[0].free == 0


@pytest.mark.parametrize(
    ("given_pod", "claim"),
    [
        (pod(limits={"cpu": "2"}), None),
        (pod(phase="Succeeded"), None),
        (pod(phase="Failed"), None),
        (pod(), Claim("jupyter-ada", "ada", "nvidia.com/gpu", 1, None, AT)),
        (
            pod(
                annotations={"sciencebox.org/gpu": A100, "sciencebox.org/longest-seconds": "3600"},
                spec={"nodeName": "a"},
                conditions=[{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-09-21T14:13:30Z"}],
            ),
            Claim("jupyter-ada", "ada", "nvidia.com/gpu", 1, A100, AT, 0, "a", AT + 10, AT + 3610),
        ),
        (
            pod(conditions=[{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}], spec={"priority": 7}),
            Claim("jupyter-ada", "ada", "nvidia.com/gpu", 1, None, AT, 7),
        ),
    ],
)
def test_what_a_pod_holds_or_waits_for(given_pod: dict[str, Any], claim: Claim | None) -> None:
    assert cluster.read_claim(given_pod) == claim


def test_a_pod_of_somebody_else_holds_gpus_and_is_no_session() -> None:
    training = pod("train-0", spec={"nodeName": "a"})
    del training["metadata"]["annotations"]
    claim = cluster.read_claim(training)
    assert claim is not None
    assert (claim.user, claim.ours) == ("train-0", False)


def test_the_name_of_a_held_gpu_does_not_say_whose_it_is() -> None:
    claim = cluster.read_claim(pod(metadata={"uid": "5f3a9c12-7d4e-4a8b-9a55-0c1f"}, spec={"nodeName": "a"}))
    assert claim is not None
    _, holdings = cluster.devices([cluster.read_node(node("a"), ())], [claim])
    assert [(holding.uuid, holding.session) for holding in holdings] == [("a/5f3a9c12/0", "jupyter-ada")]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("4", 4),
        ("7910m", 7.91),
        ("64Gi", 64 * GIB),
        ("32000000Ki", 32_000_000 * 1024),
        (8, 8),
        ("2Pi", 2 * 1024**5),
        ("1E", 1e18),
        ("128e9", 128e9),
        ("500u", 0.0005),
    ],
)
def test_quantities_are_numbers(text: str, number: float) -> None:
    assert cluster.quantity(text) == pytest.approx(number)


def test_what_is_no_quantity_is_refused() -> None:
    with pytest.raises(ValueError, match="no quantity"):
        cluster.quantity("many")


# The count


claims = st.lists(
    st.builds(
        lambda n, node_name, count: Claim(
            f"s{n}", f"u{n}", "nvidia.com/gpu", count, None, AT + n, node=node_name, since=AT + n
        ),
        st.integers(0, 30),
        st.sampled_from(["a", "b", "gone"]),
        st.integers(1, 3),
    ),
    max_size=6,
    unique_by=lambda claim: claim.session,
)


@given(claims, st.integers(1, 8), st.integers(1, 8))
def test_every_gpu_is_counted_once_and_what_a_bound_pod_asked_for_is_held(
    found: list[Claim], on_a: int, on_b: int
) -> None:
    nodes = [Node(name, 8, GIB, (Supply("nvidia.com/gpu", "T4", count),)) for name, count in (("a", on_a), ("b", on_b))]
    inventory, holdings = cluster.devices(nodes, found)
    (count,) = cluster.availability(inventory, holdings)
    asked = {name: sum(claim.count for claim in found if claim.node == name) for name in ("a", "b")}
    assert len({device.uuid for device in inventory.devices}) == len(inventory.devices)
    assert {holding.uuid for holding in holdings} <= {device.uuid for device in inventory.devices}
    assert len(holdings) == asked["a"] + asked["b"]
    assert count.free == max(0, on_a - asked["a"]) + max(0, on_b - asked["b"])


@given(claims)
def test_a_held_gpu_keeps_its_name_while_others_come_and_go(found: list[Claim]) -> None:
    nodes = [Node("a", 8, GIB, (Supply("nvidia.com/gpu", "T4", 8),))]
    _, all_of_them = cluster.devices(nodes, found)
    for left_out in found:
        _, without = cluster.devices(nodes, [claim for claim in found if claim != left_out])
        assert {h.uuid for h in without} == {h.uuid for h in all_of_them if h.session != left_out.session}


# Who waits


def waiting(
    user: str, arrived: float, kind: str | None = None, priority: int = 0, resource: str = "nvidia.com/gpu"
) -> Claim:
    return Claim(f"s-{user}", user, resource, 1, kind, AT + arrived, priority)


def test_priority_goes_before_arrival_and_only_rivals_are_ahead() -> None:
    ada, bob, eva, max_ = (
        waiting("ada", 1, "A100"),
        waiting("bob", 2, "T4"),
        waiting("eva", 3),
        waiting("max", 9, priority=5),
    )
    mig = waiting("zoe", 0, "A100 MIG 1g.10gb", resource="nvidia.com/mig-1g.10gb")
    order = cluster.queue([eva, bob, ada, mig, max_])
    assert [claim.user for claim in order] == ["max", "zoe", "ada", "bob", "eva"]
    lines = cluster.lines([holds("kim", "A100"), holds("leo", "T4"), holds("amy", None)], order)
    assert lines["s-bob"] == (1, cluster.Line(("max", "bob", "eva"), ("amy", "leo")))
    assert lines["s-eva"] == (3, cluster.Line(("max", "ada", "bob", "eva"), ("amy", "kim", "leo")))
    assert lines["s-zoe"] == (0, cluster.Line(("zoe",), ()))


def holds(user: str, kind: str | None) -> Claim:
    return Claim(f"s-{user}", user, "nvidia.com/gpu", 1, kind, AT, node="a", since=AT)


@given(st.lists(st.tuples(st.sampled_from([None, "A100", "T4"]), st.sampled_from(["nvidia.com/gpu", "other"]))))
def test_everybody_stands_where_those_are_counted_who_may_take_the_same_before(wanted: list[tuple[str, str]]) -> None:
    order = [waiting(f"u{n}", n, kind, resource=resource) for n, (kind, resource) in enumerate(wanted)]
    lines = cluster.lines(order, order)
    assert lines.keys() == {claim.session for claim in order}
    for n, mine in enumerate(order):
        place, line = lines[mine.session]
        assert place == sum(claim.competes_with(mine) for claim in order[:n])
        assert line.waiting[place] == mine.user
        assert len(line.waiting) == sum(claim.competes_with(mine) for claim in order)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("", ""),
        (
            "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. no new claims to deallocate, preemption: 0/1 "
            "nodes are available: 1 No preemption victims found for incoming pod.",
            "The cluster's one node has no free GPU of this kind.",
        ),
        (
            "0/5 nodes are available: 1 Insufficient cpu, 2 Insufficient nvidia.com/gpu, 1 node(s) had untolerated "
            "taint {node.kubernetes.io/unreachable: }, 1 node(s) didn't match Pod's node affinity/selector. "
            "preemption: 0/5",
            "Of the cluster's 5 nodes, 1 has too few free cores, 2 have no free GPU of this kind, 1 has stopped "
            "answering, 1 has other GPUs than you asked for.",
        ),
        (
            "0/2 nodes are available: 2 node(s) had untolerated taint {team: physics}. preemption: 0/2 nodes",
            "Of the cluster's 2 nodes, 2 have been set aside for other work.",
        ),
        (
            "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: 0/3",
            "Your home volume is not provided yet.",
        ),
        (
            'running PreBind plugin "VolumeBinding": binding volumes: context deadline exceeded',
            "Your home volume could not be provided in time; it is tried again.",
        ),
        (
            '0/1 nodes are available: persistentvolumeclaim "claim-ada" bound to non-existent persistentvolume "pv-1". '
            "preemption: 0/1",
            "The volume of the claim claim-ada, which your session needs, is gone; tell the administrator.",
        ),
        (
            "0/1 nodes are available: 1 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access "
            "mode already in-use by another pod. preemption: 0/1",
            "The cluster's one node has your home still in use.",
        ),
        (
            "Scheduling is blocked due to non-empty scheduling gates",
            "The cluster holds the session back until its turn comes.",
        ),
        (
            'persistentvolumeclaim "claim-ada" not found',
            "The volume claim claim-ada, which your session needs, does not exist.",
        ),
        ("no nodes available to schedule pods", "The cluster has no node."),
        (
            "0/2 nodes are available: 2 something new. preemption: none",
            "Of the cluster's 2 nodes, 2 have this against it: something new.",
        ),
    ],
)
def test_the_scheduler_in_plain_words(said: str, sentence: str) -> None:
    assert why_waiting(said) == sentence


NODES = [
    Node("a", 16, 64 * GIB, (Supply("nvidia.com/gpu", "A100", 2, 80 * GIB),)),
    Node("b", 8, 32 * GIB, (Supply("nvidia.com/gpu", "T4", 4, 16 * GIB),)),
]


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        (Wish(8, 32 * GIB), ""),
        (Wish(16, 64 * GIB, "nvidia.com/gpu", 2, "A100"), ""),
        (
            Wish(32, GIB),
            "No node can give 32 cores and 1 GiB to one session; the largest has 16 and 64 GiB. Choose less.",
        ),
        (
            Wish(16, 64 * GIB, "nvidia.com/gpu", 1, "T4"),
            "No node with 1 x T4 can give 16 cores and 64 GiB to one session; the largest has 8 and 32 GiB. "
            "Choose less.",
        ),
        (
            Wish(1, GIB, "nvidia.com/gpu", 3, "A100"),
            "3 x A100 were asked for, and no node has more than 2 of them: a session runs on one node.",
        ),
        (Wish(1, GIB, "nvidia.com/gpu", 1, "H100"), "No node has H100; the cluster has A100, T4."),
        (
            Wish(1, GIB, "nvidia.com/gpu", 1, None, 100 * GIB),
            "No node has a GPU with 100 GiB or more; the cluster has A100, T4.",
        ),
    ],
)
def test_what_no_node_could_ever_give_is_told_at_once(wish: Wish, sentence: str) -> None:
    assert impossible(wish, NODES) == sentence
