"""GPUs that are divided into shares: which, who gets one, and what a share counts as."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sciencebox.gpus.device import Device, Health, Inventory, Load, Process, card_of, fraction, fraction_of_kind
from sciencebox.gpus.marks import Mark, find, marked
from sciencebox.gpus.pool import GpuRequest, Holding
from sciencebox.gpus.shares import divide
from sciencebox.gpus_section import GpuShares

from tests.unit.gpus.test_broker import GIB, NOW, a100, ask, broker_of, granted, instance, refused, t4, waits

QUARTER = "NVIDIA A100 1/4 share"
DIVISION = GpuShares(model="NVIDIA A100", parts=4)


def divided(*devices: Device, division: GpuShares = DIVISION) -> tuple[Device, ...]:
    return divide(Inventory(devices), [division]).devices


def share(number: int, card: str = "GPU-0") -> str:
    return f"{card}:{number}of4"


def held(uuid: str, user: str = "ada") -> Holding:
    return Holding(uuid, user, f"s-{user}-{uuid}", NOW - 3600)


# Which


def test_the_last_of_a_model_are_divided_and_the_others_stay_whole() -> None:
    found = divided(a100(0), a100(1), t4(2))
    assert [device.uuid for device in found] == ["GPU-0", "GPU-1", *(share(n, "GPU-1") for n in range(1, 5)), "GPU-2"]
    assert [device.kind for device in found if not device.is_divided] == ["NVIDIA A100", *[QUARTER] * 4, "Tesla T4"]
    assert {device.memory_bytes for device in found if device.share} == {10 * GIB}


def test_what_is_cut_into_mig_instances_is_not_divided_again() -> None:
    cut = (a100(0, mig_enabled=True), instance(1, of=0))
    assert divided(*cut) == cut


def test_what_a_gpu_spends_is_counted_once() -> None:
    card, *shares = divided(a100(0, load=Load(0.5, 8 * GIB, 60, 300.0, 1000.0)))
    assert card.load == Load(0.5, 8 * GIB, 60)
    assert {one.load for one in shares} == {Load(0.5, None, None, 75.0, 250.0)}


@given(st.integers(2, 48), st.data())
def test_a_share_tells_its_gpu_and_its_part_by_name_alone(parts: int, data: st.DataObject) -> None:
    one = data.draw(st.sampled_from(divided(a100(0), division=GpuShares(model="NVIDIA A100", parts=parts))[1:]))
    assert card_of(one.uuid) == one.driver_uuid == "GPU-0"
    assert fraction(one.uuid) == fraction_of_kind(one.kind) == 1 / parts


@pytest.mark.parametrize("name", ["GPU-0", "MIG-4a", "GPU-0:", "GPU-0:1of0", "GPU-0:xofy", ""])
def test_everything_else_counts_whole(name: str) -> None:
    assert fraction(name) == 1
    assert fraction_of_kind(name) == 1


# Who gets one


def test_shares_are_given_out_one_after_the_other_until_there_are_none() -> None:
    broker = broker_of(*divided(a100(0)))
    request = GpuRequest("ada", kind=QUARTER)
    assert [granted(ask(broker, request, f"s{n}")) for n in range(4)] == [[share(n)] for n in range(1, 5)]
    assert waits(ask(broker, request, "s4"))


def test_shares_are_taken_of_as_few_gpus_as_possible() -> None:
    begun = (held(share(2, "GPU-1")), held(share(3, "GPU-1"), "bob"), held(share(1, "GPU-2"), "eva"))
    broker = broker_of(
        *divided(*map(a100, range(3)), division=GpuShares(model="NVIDIA A100", parts=4, gpus=3)), held=begun
    )
    request = GpuRequest("dan", kind=QUARTER)
    assert [granted(ask(broker, request, f"s{n}"))[0].partition(":")[0] for n in range(6)] == [
        *["GPU-1"] * 2,
        *["GPU-2"] * 3,
        "GPU-0",
    ]


def test_who_asks_for_any_gpu_gets_a_whole_one() -> None:
    broker = broker_of(*divided(a100(0), a100(1)))
    assert granted(ask(broker, GpuRequest("ada"), "s0")) == ["GPU-0"]
    assert waits(ask(broker, GpuRequest("ada"), "s1"))
    answer = refused(ask(broker_of(*divided(a100(0))), GpuRequest("ada"), "s0"))
    assert "ask for one by name: 4 x NVIDIA A100 1/4 share" in answer.message


def test_a_session_has_one_share() -> None:
    answer = refused(ask(broker_of(*divided(a100(0))), GpuRequest("ada", 2, QUARTER), "s0"))
    assert (answer.code, answer.message) == ("impossible", "A session can have one share of a GPU; ask for one.")


def test_the_processes_of_one_share_do_not_keep_others_from_the_rest() -> None:
    busy = divided(a100(0, processes=(Process(7),)))
    assert granted(ask(broker_of(*busy, held=(held(share(1)),)), GpuRequest("bob", kind=QUARTER), "s")) == [share(2)]
    stranger = refused(ask(broker_of(*busy), GpuRequest("bob", kind=QUARTER), "s"))
    assert stranger.code == "unfit"


def test_after_the_last_share_ended_its_processes_are_not_blamed_on_a_stranger() -> None:
    broker = broker_of(*divided(a100(0, processes=(Process(7),))), held=(held(share(1)),))
    broker.release(held(share(1)).session, NOW)
    assert waits(ask(broker, GpuRequest("bob", kind=QUARTER), "s")), "the next look tells whose they are"
    broker.see_inventory(Inventory(divided(a100(0))), broker.look())
    assert granted(ask(broker, GpuRequest("bob", kind=QUARTER), "s")) == [share(1)]


def test_what_was_used_of_a_share_before_a_restart_counts_as_its_part() -> None:
    broker = broker_of()
    broker.see_use("ada", NOW - 3600, NOW, fraction("GPU-0:1of8"))
    broker.see_use("bob", NOW - 3600, NOW)
    assert broker.used("ada", NOW) == pytest.approx(broker.used("bob", NOW) / 8)


def test_a_gpu_whose_shares_are_held_is_not_granted_whole_when_the_settings_divide_it_no_more() -> None:
    broker = broker_of(a100(0), held=(held(share(3)),))
    assert waits(ask(broker, GpuRequest("bob"), "s"))
    broker.release(held(share(3)).session, NOW)
    broker.see_inventory(Inventory((a100(0),)), broker.look())
    assert granted(ask(broker, GpuRequest("bob"), "s")) == ["GPU-0"]


def test_a_gpu_that_is_held_whole_has_no_share_to_give_when_the_settings_divide_it() -> None:
    assert waits(ask(broker_of(*divided(a100(0)), held=(held("GPU-0"),)), GpuRequest("bob", kind=QUARTER), "s"))


def test_a_share_counts_as_its_part_in_the_fair_share() -> None:
    broker = broker_of(*divided(a100(0), a100(1)), held=(held(share(1, "GPU-1")), held("GPU-0", "bob")))
    assert broker.used("bob", NOW) == pytest.approx(4 * broker.used("ada", NOW))


# Its health is its GPU's


def test_shares_are_out_of_service_with_their_gpu_and_never_alone() -> None:
    inventory = Inventory((a100(0),))
    mark = Mark("GPU-0", "a riser is loose", "root", NOW, Health.DRAINED)
    found = divide(marked(inventory, [mark]), [DIVISION])
    assert {device.health for device in found.devices} == {Health.DRAINED}
    assert find(found, "GPU-0") and find(found, "0")
    assert find(found, share(1)) is None
