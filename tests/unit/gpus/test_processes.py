"""Who does what on a GPU that several sessions share: known for all of them, or for none."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from sciencebox.gpus.device import Device, Inventory, Load, Process, share_uuid
from sciencebox.gpus.pool import Holding
from sciencebox.gpus.processes import BY_SESSION, by_session, container_in, container_of
from sciencebox.gpus.shares import divide
from sciencebox.gpus_section import GpuShares

GIB = 1024**3
ADA, BOB, EVE = ("a" * 64, "b" * 64, "e" * 64)
CONTAINERS = {ADA: "s-ada", BOB: "s-bob", EVE: "s-eve"}  # eve has no part of this card
HELD = [Holding(share_uuid("GPU-0", 1, 4), "ada", "s-ada"), Holding(share_uuid("GPU-0", 3, 4), "bob", "s-bob")]
WORKS, RESTS = Process(11, 3 * GIB, 0.6, ADA), Process(12, 2 * GIB, 0.0, BOB)


def loads(*processes: Process, utilisation: float | None = 0.6, **card: object) -> tuple[str, list[Load]]:
    """Why nothing is known, and what each quarter of a card is said to do."""
    whole = Device("GPU-0", 0, "A100", 40 * GIB, processes=processes, load=Load(utilisation, 5 * GIB), **card)  # type: ignore[arg-type]
    inventory = divide(Inventory((whole,)), [GpuShares(model="A100", parts=4)])
    divided, *shares = by_session(inventory, HELD, CONTAINERS).devices
    assert divided.load.utilisation == utilisation, "of the whole is said what the driver says"
    return divided.unknown.get(BY_SESSION, ""), [share.load for share in shares]


def test_a_share_has_the_use_of_its_own_session() -> None:
    why, (ada, free, bob, _) = loads(WORKS, replace(WORKS, pid=13, utilisation=0.1), RESTS)
    assert why == ""
    assert (ada.utilisation, ada.memory_used_bytes) == (pytest.approx(0.7), 6 * GIB)
    assert (bob.utilisation, bob.memory_used_bytes) == (0.0, 2 * GIB)
    assert (free.utilisation, free.memory_used_bytes) == (0.0, 0)


def test_a_card_without_a_process_is_used_by_nobody() -> None:
    why, shares = loads(utilisation=0.0)
    assert (why, {share.utilisation for share in shares}) == ("", {0.0})


@pytest.mark.parametrize(
    ("processes", "words"),
    [
        ((WORKS, replace(RESTS, container="")), "process 12 on it belongs to no session"),  # outside, or just ended
        ((WORKS, replace(RESTS, container=EVE)), "process 12 on it belongs to no session that has a share"),
        ((WORKS, replace(RESTS, utilisation=None)), "does not tell which process computes"),
        ((replace(WORKS, utilisation=0.0), RESTS), "that it computes, and not for whom"),
        ((), "that it computes, and not for whom"),
    ],
)
def test_where_one_process_is_not_accounted_for_nobody_is_taken_for_idle(
    processes: tuple[Process, ...], words: str
) -> None:
    why, shares = loads(*processes)
    assert words in why
    assert {share.utilisation for share in shares} == {0.6}


def test_nor_where_the_driver_does_not_tell_who_uses_it() -> None:
    why, shares = loads(unknown={"processes": "not supported"}, utilisation=0.0)
    assert why == "the driver does not tell who uses it"
    assert {share.utilisation for share in shares} == {0.0}


def test_whole_cards_and_instances_are_left_as_they_are() -> None:
    whole = Device("GPU-0", 0, "A100", processes=(WORKS,), load=Load(0.6))
    cut = Device("GPU-1", 1, "A100", mig_enabled=True)
    instance = Device("MIG-1", 1, "A100", mig_profile="1g.10gb", parent_uuid="GPU-1", processes=(RESTS,))
    devices = (whole, cut, instance)
    assert [(d.load, d.unknown) for d in by_session(Inventory(devices), HELD, CONTAINERS).devices] == [
        (d.load, d.unknown) for d in devices
    ]


@pytest.mark.parametrize(
    ("cgroups", "container"),
    [
        (f"0::/system.slice/docker-{ADA}.scope\n", ADA),
        (f"0::/../docker-{ADA}.scope\n", ADA),  # as seen from another container
        (f"0::/docker/{ADA}/init\n", ADA),
        (f"9:pids:/docker/{ADA}\n8:cpu:/docker/{ADA}\n0::/\n", ADA),
        (f"9:pids:/docker/{BOB}/docker/{ADA}\n0::/docker/{BOB}\n", ADA),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", ""),
        (f"0::/{ADA}f\n", ""),
        ("", ""),
    ],
)
def test_the_container_of_a_process(cgroups: str, container: str) -> None:
    assert container_in(cgroups) == container


def test_a_process_that_has_ended_is_in_none() -> None:
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(child, 0)
    assert container_of(child) == ""
