"""What GPUs do, as a Prometheus tells that is told by NVIDIA's DCGM exporter."""

from __future__ import annotations

from typing import Any

import pytest
from sciencebox.gpus import cluster
from sciencebox.gpus.cluster import Claim, Node, Supply
from sciencebox.gpus.cluster_loads import read_loads
from sciencebox.gpus.cluster_wording import NO_PROMETHEUS, SILENT, TOLD, UNTOLD, of_loads
from sciencebox.gpus.device import Load
from sciencebox.gpus.pool import Holding
from sciencebox.sessions.idle import IdleRule

from tests.fakes.prometheus import answer, series

MIB = 1024**2
RULE = IdleRule(3600.0, 0.05)


def read(*found: dict[str, Any]) -> dict[str, tuple[Load, ...]]:
    return read_loads(answer(list(found)), "hub")


def test_a_pod_s_cards_are_told_in_the_same_order_with_their_own_units() -> None:
    told = read(
        *series("jupyter-ada", "GPU-2", util=50, memory=1024, temperature=61, power=250.5, energy=9_000_000),
        *series("jupyter-ada", "GPU-1", util=0, memory=0),
    )
    assert told == {
        "jupyter-ada": (Load(0.0, 0), Load(0.5, 1024 * MIB, temperature_c=61, power_w=250.5, energy_j=9000.0))
    }


def test_the_exporter_s_own_labels_are_told_from_those_of_its_pod() -> None:
    kept = series("jupyter-ada", "GPU-1", util=10)
    renamed = series("jupyter-bob", "GPU-2", util=20, honoured=False)
    elsewhere = series("jupyter-ada", "GPU-3", util=90, namespace="physics")
    nobody = [{"metric": {"__name__": "DCGM_FI_DEV_GPU_UTIL", "UUID": "GPU-4"}, "value": [0, "70"]}]
    told = read(*kept, *renamed, *elsewhere, *nobody)
    assert told == {"jupyter-ada": (Load(0.1),), "jupyter-bob": (Load(0.2),)}


def test_a_mig_instance_is_judged_by_its_engine_for_its_utilisation_is_always_zero() -> None:
    ada, bob = (
        series(pod, "GPU-1", util=0, active=active, memory=8, power=300, energy=5, instance=number)
        for pod, active, number in (("jupyter-ada", 0.75, "1"), ("jupyter-bob", None, "2"))
    )
    told = read(*ada, *bob)
    assert told == {"jupyter-ada": (Load(0.75, 8 * MIB),), "jupyter-bob": (Load(None, 8 * MIB),)}


def test_what_pods_share_is_nobody_s_memory_or_energy() -> None:
    told = read(*(one for pod in ("a", "b") for one in series(pod, "GPU-1", util=40, memory=8, energy=5)))
    assert told == {"a": (Load(0.4),), "b": (Load(0.4),)}


@pytest.mark.parametrize("text", ["9223372036854775794", "140737488355328", "NaN", "+Inf"])
def test_what_dcgm_does_not_know_is_not_known(text: str) -> None:
    assert read(*series("a", "GPU-1", util=text, memory=text, energy=text)) == {"a": (Load(),)}


@pytest.mark.parametrize("found", [{"status": "error", "error": "no"}, {"status": "success", "data": {}}, [], {}])
def test_what_is_no_answer_is_refused(found: Any) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        read_loads(found, "hub")


NODE = Node("a", 8, 2**30, (Supply("nvidia.com/gpu", "T4", 4, 16 * 2**30),))
CLAIM = Claim("jupyter-ada", "ada", "nvidia.com/gpu", 2, None, 1.0, node="a", since=1.0)


def idle(loads: dict[str, tuple[Load, ...]], claim: Claim = CLAIM, node: Node = NODE) -> list[bool]:
    """Of each card that a session holds, whether it is known to do nothing."""
    found, holdings = cluster.devices([node], [claim], loads)
    held = {holding.uuid for holding in holdings}
    return [RULE.is_idle(device) for device in found.devices if device.uuid in held]


def test_a_card_of_which_nothing_is_told_is_never_idle() -> None:
    assert idle({"jupyter-ada": (Load(0.0), Load(0.9))}) == [True, False]
    assert idle({}) == [False, False]
    assert idle({"jupyter-ada": (Load(None), Load(0.0))}) == [False, True]
    assert idle({"jupyter-ada": (Load(0.0),)}) == [False, False]  # one of two is told of: which, nobody knows


def test_what_a_share_of_a_card_does_is_what_the_whole_card_does() -> None:
    node = Node("a", 8, 2**30, (Supply("nvidia.com/gpu.shared", "T4 shared", 4),))
    claim = Claim("jupyter-ada", "ada", "nvidia.com/gpu.shared", 1, None, 1.0, node="a", since=1.0)
    found, _ = cluster.devices([node], [claim], {"jupyter-ada": (Load(0.5, 100, 60, 200.0, 7.0),)})
    assert found.devices[0].load == Load(0.5)


def test_the_page_says_why_there_are_no_figures() -> None:
    held = [Holding("a/jupyter-ada/0", "ada", "jupyter-ada", 1.0)]
    assert of_loads(None, held, {}) == NO_PROMETHEUS
    assert of_loads("Connection refused", held, {}) == SILENT
    assert of_loads("", held, {"jupyter-bob": ()}) == UNTOLD
    assert of_loads("", held, {"jupyter-ada": ()}) == TOLD
    assert of_loads("", [], {}) == TOLD  # nobody computes, so nobody is told of
