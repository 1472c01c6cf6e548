"""What the labels of containers say: who holds what, and what must be cleaned up."""

from __future__ import annotations

import pytest
from sciencebox.gpus.device import Device
from sciencebox.gpus.pool import Holding
from sciencebox.gpus.reconcile import ContainerFacts, labels, reconcile

CARDS = [Device("GPU-a", 0), Device("GPU-b", 1)]
SINCE = 1_790_000_000.0


def container(state: str, deployment: str = "box", name: str = "s-ada") -> ContainerFacts:
    return ContainerFacts(f"id-{name}", name, labels("ada", CARDS, deployment, SINCE), state)


def test_labels_read_back_are_what_was_written() -> None:
    ledger = reconcile([container("running")], "box", ())
    assert ledger.holdings == (Holding("GPU-a", "ada", "s-ada", SINCE), Holding("GPU-b", "ada", "s-ada", SINCE))


@pytest.mark.parametrize("state", ["created", "running", "paused", "restarting", "removing", "exited", "dead"])
@pytest.mark.parametrize("deployment", ["box", "other"])
def test_a_device_is_held_as_long_as_its_container_exists(state: str, deployment: str) -> None:
    assert len(reconcile([container(state, deployment)], "box", ()).holdings) == 2


@pytest.mark.parametrize(
    ("state", "ghost"),
    [
        ("created", True),
        ("exited", True),
        ("dead", True),
        ("running", False),
        ("paused", False),
        ("restarting", False),
        ("removing", False),
    ],
)
def test_what_does_not_run_is_a_ghost(state: str, ghost: bool) -> None:
    assert reconcile([container(state)], "box", ()).ghosts == (("id-s-ada",) if ghost else ())


def test_what_is_being_started_is_no_ghost() -> None:
    assert not reconcile([container("created")], "box", {"s-ada"}).ghosts


def test_containers_of_another_deployment_are_never_removed() -> None:
    assert not reconcile([container("exited", "other")], "box", ()).ghosts


def test_a_session_without_gpus_holds_nothing_and_is_left_to_the_hub() -> None:
    found = labels("ada", [], "box", SINCE)
    assert "sciencebox.gpus" not in found
    ledger = reconcile([ContainerFacts("id", "s-ada", found, "exited")], "box", ())
    assert (ledger.holdings, ledger.ghosts) == ((), ())


def test_labels_written_by_hand_still_hold_the_card() -> None:
    by_hand = {"sciencebox.gpus": " GPU-a, GPU-a,, ", "sciencebox.since": "yesterday"}
    ledger = reconcile([ContainerFacts("id", "x", by_hand, "running")], "box", ())
    assert ledger.holdings == (Holding("GPU-a", "unknown", "x", None, ours=False),)
