"""What a cluster offers, whom it admits and where somebody stands, with a copy of the cluster that does not change."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from kubernetes_asyncio.client import ApiException
from sciencebox import settings as settings_file
from sciencebox.accounting.leases import Lease
from sciencebox.gpus.broker import Refusal
from sciencebox.gpus.cluster_wording import NO_PROMETHEUS, OTHERS_FREE, OTHERS_UNKNOWN, SILENT, TOLD
from sciencebox.gpus.device import Load
from sciencebox.gpus.kueue import UNREAD, Place
from sciencebox.sessions.cluster_desk import Admission, ClusterDesk
from sciencebox.sessions.extensions import ExtensionError, Extensions
from sciencebox.sessions.identity import Uids
from sciencebox.sessions.options import OptionsError, SessionOptions, parse_options
from sciencebox.sessions.pod import OPTIONS_ANNOTATION
from sciencebox.sessions.prometheus import Prometheus
from sciencebox.sessions.signal import Signal

from tests.fakes import prometheus
from tests.fakes.kubelet import A100, node
from tests.fakes.prometheus import series

if TYPE_CHECKING:
    from collections.abc import Iterable

GIB = 1024**3
T4 = "Tesla-T4"


class StillWatch:
    """A live copy in which nothing happens but what a test does."""

    def __init__(self, nodes: Iterable[dict[str, Any]], pods: Iterable[dict[str, Any]] = ()) -> None:
        self.changed = Signal()
        self.version = 1
        self.fault = ""
        self.gone: dict[str, Any] = {}
        self.others: dict[str, Any] = {}
        self.others_fault = ""
        self.events: list[dict[str, Any]] = []
        self.nodes = {one["metadata"]["name"]: one for one in nodes}
        self.pods = {f"hub/{one['metadata']['name']}": one for one in pods}
        self.heard = lambda: None
        for number, one in enumerate([*self.nodes.values(), *self.pods.values()]):
            one["metadata"]["resourceVersion"] = str(number)


def pod(user: str, at: int, on: str | None = None, count: int = 1, kind: str = "") -> dict[str, Any]:
    annotations = {"hub.jupyter.org/username": user, OPTIONS_ANNOTATION: "gpu=any"}
    if kind:
        annotations["sciencebox.org/gpu"] = kind
    when = f"2026-11-26T10:00:{at:02}Z"
    bound = {"type": "PodScheduled", "status": str(bool(on)), "lastTransitionTime": when}
    limits = {"nvidia.com/gpu": str(count)}
    return {
        "metadata": {"name": f"jupyter-{user}", "creationTimestamp": when, "annotations": annotations},
        "spec": {"containers": [{"resources": {"limits": limits}}], **({"nodeName": on} if on else {})},
        "status": {"phase": "Running" if on else "Pending", "conditions": [bound]},
    }


def desk(
    watch: StillWatch, settings: str = "", extensions: Extensions | None = None, uids: Path = Path("none")
) -> ClusterDesk:
    return ClusterDesk(settings_file.parse(settings, "test"), watch, "hub", Uids(uids), extensions)  # type: ignore[arg-type]


NODES = (node("a", 2), node("b", 4, product=T4, memory_mib=15360))


def test_the_form_counts_by_kind_and_offers_no_more_than_a_node_has() -> None:
    offer = desk(StillWatch(NODES, [pod("ada", 1, "a"), pod("bob", 2, "b", 3, T4)])).offer()
    assert [(c.kind, c.free, c.total, c.holders) for c in offer.gpu_choices] == [
        ("any", 2, 6, ("ada", "bob")),
        (A100, 1, 2, ("ada",)),
        (T4, 1, 4, ("bob",)),
    ]
    assert offer.most_gpus(A100) == 2
    assert offer.most_gpus("any") == 4
    with pytest.raises(OptionsError, match=f"the largest node has 2 x {A100}"):
        parse_options({"gpu": A100, "gpu_count": 3}, offer)


def test_gpus_of_which_none_works_now_are_not_to_be_had_and_are_held_all_the_same() -> None:
    there = node("a", 2)
    there["status"]["allocatable"] = {**there["status"]["allocatable"], "nvidia.com/gpu": "0"}
    asked = desk(StillWatch([there], [pod("ada", 1, "a")]))
    assert asked.lease("jupyter-ada") is not None
    with pytest.raises(OptionsError, match="None of these works at the moment"):
        parse_options({"gpu": A100}, asked.offer())


def test_who_asks_for_any_gpu_does_not_get_a_part_of_one() -> None:
    mig = node("m", resources={"nvidia.com/mig-1g.10gb": 7})
    offer = desk(StillWatch([mig])).offer()
    assert offer.any_gpu is None
    assert [choice.kind for choice in offer.gpu_choices] == [f"{A100} MIG 1g.10gb"]
    both = desk(StillWatch([mig, node("a", 2)])).offer()
    assert both.any_gpu is not None
    assert both.any_gpu.total == 2


def test_a_cluster_without_gpus_says_so_and_still_starts_sessions() -> None:
    offer = desk(StillWatch([node("a", 0)])).offer()
    assert offer.reason == "No GPU was found on this cluster."
    assert parse_options({}, offer).gpu_count == 0


async def test_a_cluster_that_does_not_answer_gives_out_nothing_but_what_needs_no_gpu() -> None:
    watch = StillWatch(NODES)
    watch.fault = "Connection refused"
    there = desk(watch)
    assert there.offer().reason.startswith("The cluster does not answer")
    refused = await there.admit("ada", SessionOptions("", 1, GIB, "any", 1), ())
    assert isinstance(refused, Refusal)
    assert refused.code == "unreadable"
    assert isinstance(await there.admit("ada", SessionOptions("", 1, GIB), ()), Admission)


async def test_what_fits_no_node_is_refused_before_it_waits() -> None:
    refused = await desk(StillWatch(NODES)).admit("ada", SessionOptions("", 2, 128 * GIB, T4, 1), ())
    assert isinstance(refused, Refusal)
    assert refused.message.startswith(f"No node with 1 x {T4} can give 2 cores and 128 GiB")


async def test_a_quota_bounds_a_session_and_then_refuses_it() -> None:
    there = desk(StillWatch(NODES), "limits: {gpu_hours_week: 10}")
    used: list[Lease] = []

    async def lately(_user: str) -> list[Lease]:
        return used

    there.lately = lately
    asked = SessionOptions("", 2, GIB, "any", 2)
    admitted = await there.admit("ada", asked, ())
    assert isinstance(admitted, Admission)
    assert admitted.longest_s == pytest.approx(5 * 3600)  # two GPUs use two hours an hour
    now = time.time()
    used.append(Lease("ada", "s", "a/s/0", A100, now - 11 * 3600, now, ended=True))
    refused = await there.admit("ada", asked, ())
    assert isinstance(refused, Refusal)
    assert refused.code == "quota"


def test_who_waits_reads_the_place_among_rivals_and_why() -> None:
    watch = StillWatch(
        NODES,
        [
            pod("ada", 1, "a", 2, A100),
            pod("bob", 2, "b", 4, T4),
            pod("eva", 3, kind=A100),
            pod("max", 4, kind=T4),
            pod("zoe", 5, kind=A100),
        ],
    )
    assert desk(watch).standing("jupyter-zoe", "zoe", "No node has a free GPU.") == {
        "title": "You are number 2 of 2 in the queue",
        "ahead": "Ahead of you: eva.",
        "in_use": "The GPUs are in use by ada.",
        "start": None,
        "basis": "No node has a free GPU.",
    }
    assert desk(watch).standing("jupyter-ada", "ada") is None
    hidden = desk(watch, "gpus: {show_holders: false}").standing("jupyter-zoe", "zoe")
    assert hidden is not None
    assert "eva" not in str(hidden)
    assert [place.ticket.request.user for place in desk(watch).queue()] == ["eva", "max", "zoe"]
    watch.fault = "Connection refused"
    lost = desk(watch).standing("jupyter-zoe", "zoe", "No node has a free GPU.")
    assert lost is not None
    assert str(lost["basis"]).startswith("The cluster does not answer")


def test_who_waits_in_a_queue_of_kueue_stands_where_kueue_says() -> None:
    watch = StillWatch(NODES, [pod("ada", 1, "a", 2), pod("eva", 3), pod("zoe", 5)])
    for user in ("eva", "zoe"):
        there = watch.pods[f"hub/jupyter-{user}"]
        there["metadata"]["uid"] = user
        there["spec"]["schedulingGates"] = [{"name": "kueue.x-k8s.io/admission"}]
    asked = desk(watch, "kubernetes: {kueue: gpus}")
    assert asked.kueue is not None
    assert [place.ticket.request.user for place in asked.queue()] == ["eva", "zoe"]
    asked.kueue.places = {"zoe": Place(0, elsewhere=2), "eva": Place(1)}
    watch.version += 1
    assert [place.ticket.request.user for place in asked.queue()] == ["zoe", "eva"]
    standing = asked.standing("jupyter-eva", "eva")
    assert standing is not None
    assert (standing["title"], standing["ahead"]) == ("You are number 2 of 2 in the queue", "Ahead of you: zoe.")
    zoe = watch.pods["hub/jupyter-zoe"]
    assert asked.why_held(zoe) == UNREAD
    asked.kueue._workloads.fault = ""
    assert "2 of other queues come first" in asked.why_held(zoe)
    assert asked.offer().queue.endswith("where 2 sessions wait now.")
    assert desk(watch).offer().queue == ""


def test_what_changed_is_read_again_and_only_that() -> None:
    watch = StillWatch(NODES)
    there = desk(watch)
    assert there.snapshot().waiting == 0
    watch.pods["hub/jupyter-ada"] = {**pod("ada", 1)}
    watch.pods["hub/jupyter-ada"]["metadata"]["resourceVersion"] = "9"
    assert there.snapshot().waiting == 0  # nobody told of a change
    watch.version += 1
    assert there.snapshot().waiting == 1


def test_a_session_is_over_when_it_has_held_its_gpus_for_as_long_as_it_may() -> None:
    held = pod("ada", 1, "a")
    held["metadata"]["annotations"]["sciencebox.org/longest-seconds"] = "60"
    there = desk(StillWatch(NODES, [held, pod("bob", 2, "a")]))
    assert {holding.user for holding in there.over()} == {"ada"}
    assert there.asked() == {"ada": "gpu=any", "bob": "gpu=any"}


async def test_what_prometheus_tells_is_on_the_cards_and_an_idle_session_is_known() -> None:
    watch = StillWatch(NODES, [pod("ada", 1, "a", 2), pod("bob", 2, "b")])
    with prometheus.running() as little:
        there = desk(watch, f"kubernetes: {{prometheus: '{little.url}/'}}\nidle: {{gpu_minutes: 120}}")
        assert there.prometheus is not None
        little.told = [
            *series("jupyter-ada", "GPU-1", util=0, memory=1024, energy=5_000_000),
            *series("jupyter-ada", "GPU-2", util=2, memory=0, energy=7_000_000),
            *series("jupyter-bob", "GPU-3", util=88),
            *series("jupyter-ada", "GPU-9", util=99, namespace="physics"),
        ]
        await there.see_loads(there.prometheus)
        assert len(little.asked) == 1  # one question for everybody
        loads = {device.uuid: device.load for device in there.snapshot().inventory.devices}
        assert loads["a/jupyter-ada/0"] == Load(0.0, GIB, energy_j=5000.0)
        assert loads["b/jupyter-bob/0"] == Load(0.88)
        assert loads["b/gpu/3"] == Load()
        assert there.snapshot().note == TOLD
        now = time.time()
        assert there.idle.ends("jupyter-ada", now + 7000) == pytest.approx(now + 7200, abs=5)
        assert there.idle.ends("jupyter-bob", now + 7000) is None
        assert there.gpu_idle("jupyter-bob") == {"idle_s": 0.0, "limit_s": 7200.0}

        little.status = 503
        await there.see_loads(there.prometheus)
        assert {device.load for device in there.inventory.devices} == {Load()}
        assert there.snapshot().note == SILENT
        assert there.idle.ends("jupyter-ada", now + 7000) is None
        assert there.gpu_idle("jupyter-ada") == {"idle_s": 0.0, "limit_s": 7200.0}  # not judged by who looks at it


@pytest.mark.parametrize(
    "page", ["<html>Sign in</html>", "[]", '{"status": "success", "data": {"resultType": "matrix"}}']
)
async def test_what_is_no_prometheus_tells_nothing_and_ends_nothing(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with prometheus.running() as little:
        monkeypatch.setattr(little, "page", page)
        asked = Prometheus(little.url, "hub")
        await asked.look()
        assert (asked.loads, "no answer of a Prometheus" in asked.fault) == ({}, True)
    await asked.look()
    assert "Cannot connect" in asked.fault


def test_without_a_prometheus_the_page_says_so_and_no_gpu_is_idle() -> None:
    there = desk(StillWatch(NODES, [pod("ada", 1, "a")]))
    assert (there.snapshot().note, there.snapshot().count_note) == (NO_PROMETHEUS, OTHERS_FREE)
    assert there.gpu_idle("jupyter-ada") is None  # so its user's activity counts


async def test_a_session_is_extended_where_nobody_waits_for_its_kind_and_a_new_hub_knows(tmp_path: Path) -> None:
    held = pod("ada", 1, "a", kind=A100)
    held["metadata"]["annotations"]["sciencebox.org/longest-seconds"] = "3600"
    settings = "limits: {session_hours: 1, extension_hours: 2}"
    watch = StillWatch(NODES, [held, pod("eva", 3, kind=T4)])
    there = desk(watch, settings, Extensions(tmp_path / "extensions.json"))
    lease = there.lease("jupyter-ada")
    assert lease is not None
    assert lease.since is not None
    assert await there.extend("jupyter-ada", "ada", ()) == lease.since + 3 * 3600
    later = there.lease("jupyter-ada")
    assert later is not None
    assert later.until == lease.since + 3 * 3600
    with pytest.raises(ExtensionError, match="as much time as it may have"):
        await there.extend("jupyter-ada", "ada", ())

    kept = Extensions(tmp_path / "extensions.json")
    kept.read()
    watch.pods["hub/jupyter-max"] = {**pod("max", 4, kind=A100)}
    watch.pods["hub/jupyter-max"]["metadata"]["resourceVersion"] = "9"
    again = desk(watch, settings, kept)
    assert again.lease("jupyter-ada") == later
    with pytest.raises(ExtensionError, match="Others wait"):
        await again.extend("jupyter-ada", "ada", ())


def test_what_other_namespaces_hold_is_taken_and_nobody_is_told_whose_it_is() -> None:
    watch = StillWatch(NODES, [pod("ada", 1, "a")])
    other = {**pod("ada", 2, "a"), "spec": pod("ada", 2, "a")["spec"]}
    other["metadata"].update(namespace="physics", uid="5f3a", resourceVersion="9")
    watch.others["physics/jupyter-ada"] = other
    there = desk(watch, "kubernetes: {count_others: true}")
    (any_gpu, a100, _) = there.offer().gpu_choices
    assert (any_gpu.free, a100.free, a100.holders) == (4, 0, ("ada", "other work on this cluster"))
    assert [holding.user for holding in there.ledger if holding.ours] == ["ada"]
    assert "physics" not in str(there.snapshot())
    assert there.snapshot().count_note == ""
    watch.others_fault = "403 Forbidden"
    assert there.snapshot().count_note == OTHERS_UNKNOWN


def test_a_uid_is_never_anybody_elses_though_the_database_gives_a_number_again(tmp_path: Path) -> None:
    file = tmp_path / "identities.sqlite"
    asked = desk(StillWatch(NODES), uids=file)
    assert asked.uids_of({"ada": 1, "bob": 2}) == {"ada": 20_001, "bob": 20_002}
    assert asked.uids_of({"eva": 2}) == {"eva": 20_003}  # bob was deleted
    assert asked.uids_of({"zoe": 3}) == {"zoe": 20_004}
    assert desk(StillWatch(NODES), uids=file).uids_of({"eva": 2, "bob": 4}) == {"eva": 20_003, "bob": 20_002}


class Deleting:
    """The API as far as it deletes pods; `there` are those that are still there."""

    def __init__(self, watch: StillWatch) -> None:
        self.there = watch.pods

    async def delete_namespaced_pod(self, name: str, namespace: str, body: Any) -> None:
        key = f"{namespace}/{name}"
        if self.there[key]["metadata"]["uid"] != body.preconditions.uid:
            raise ApiException(409, "another pod of this name")
        del self.there[key]


@pytest.mark.parametrize(("fault", "closed"), [("", False), ("it does not answer", False), ("", True)])
async def test_what_is_left_of_a_session_that_the_hub_does_not_know_is_removed(fault: str, closed: bool) -> None:
    foreign = pod("their-training", 4, "a")
    del foreign["metadata"]["annotations"]
    pods = [pod("ada", 1, "a"), pod("bob", 2, "a"), pod("eva", 3), foreign]
    for each in pods:
        each["metadata"]["uid"] = f"uid of {each['metadata']['name']}"
    watch = StillWatch(NODES, pods)
    asked = desk(watch)
    asked._api, asked.closed, watch.fault = Deleting(watch), closed, fault
    await asked.remove_strangers({"jupyter-ada", "jupyter-eva"})
    left = {"hub/jupyter-ada", "hub/jupyter-eva", "hub/jupyter-their-training"}
    assert watch.pods.keys() == (left | {"hub/jupyter-bob"} if fault or closed else left)
