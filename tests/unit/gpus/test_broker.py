"""What a user who asks for a GPU gets, or is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sciencebox.gpus.broker import Broker, Grant, Place, Refusal
from sciencebox.gpus.device import Device, Health, Inventory, Process
from sciencebox.gpus.pool import GpuRequest, Holding, outside
from sciencebox.gpus.queue import Ticket

GIB = 1024**3
NOW = 1_790_000_000.0


def a100(index: int, **changes: object) -> Device:
    device = Device(uuid=f"GPU-{index}", index=index, model="NVIDIA A100", memory_bytes=40 * GIB)
    return replace(device, **changes)  # type: ignore[arg-type]


def t4(index: int) -> Device:
    return Device(uuid=f"GPU-{index}", index=index, model="Tesla T4", memory_bytes=15 * GIB)


def instance(index: int, of: int) -> Device:
    return Device(
        uuid=f"MIG-{of}-{index}",
        index=of,
        model="NVIDIA A100",
        memory_bytes=5 * GIB,
        mig_profile="1g.5gb",
        parent_uuid=f"GPU-{of}",
        gpu_instance=index,
        compute_instance=0,
    )


def broker_of(*devices: Device, held: tuple[Holding, ...] = ()) -> Broker:
    broker = Broker()
    broker.see_ledger(held, broker.look(), NOW)
    broker.see_inventory(Inventory(devices), broker.look())
    return broker


def ask(broker: Broker, request: GpuRequest, session: str) -> Grant | Refusal | Place:
    """Ask, and leave the queue again if nothing is granted at once."""
    refusal = broker.ask(Ticket(session, request, NOW))
    if refusal:
        return refusal
    for grant in broker.serve(NOW):
        if grant.session == session:
            return grant
    place = next(place for place in broker.queue(NOW) if place.ticket.session == session)
    broker.withdraw(session)
    return place


def granted(answer: Grant | Refusal | Place) -> list[str]:
    assert isinstance(answer, Grant), answer
    return [device.uuid for device in answer.devices]


def refused(answer: Grant | Refusal | Place) -> Refusal:
    assert isinstance(answer, Refusal), answer
    return answer


def waits(answer: Grant | Refusal | Place) -> bool:
    return isinstance(answer, Place)


# Who is next


def test_who_waits_first_for_one_model_is_put_off_no_more_than_who_waits_for_another() -> None:
    """Ada waits for an A100, and bob for both T4s, of which one comes back in an hour."""
    held = [Holding("GPU-0", "dan", "s-dan", NOW), Holding("GPU-1", "kim", "s-kim", NOW, NOW + 3600)]
    broker = broker_of(a100(0), t4(1), t4(2), held=held)
    wishes = (("ada", 1, "NVIDIA A100", None), ("bob", 2, "Tesla T4", None), ("eve", 1, "Tesla T4", 7200.0))
    for number, (user, count, kind, longest_s) in enumerate(wishes):
        ticket = Ticket(f"s-{user}", GpuRequest(user, count, kind), NOW + number, longest_s=longest_s)
        assert broker.ask(ticket) is None
    assert broker.serve(NOW) == [], "eve would put bob off"
    broker.ask(Ticket("s-fay", GpuRequest("fay", 1, "Tesla T4"), NOW + 9, longest_s=1800.0))
    assert [grant.session for grant in broker.serve(NOW)] == ["s-fay"]


# What is chosen


def test_two_users_get_different_cards_and_the_third_waits() -> None:
    broker = broker_of(a100(0), a100(1))
    assert granted(ask(broker, GpuRequest("ada"), "s-ada")) == ["GPU-0"]
    assert granted(ask(broker, GpuRequest("bob"), "s-bob")) == ["GPU-1"]
    assert waits(ask(broker, GpuRequest("eve"), "s-eve"))


def test_the_smallest_card_that_suffices_is_taken() -> None:
    broker = broker_of(a100(0), t4(1), a100(2))
    assert granted(ask(broker, GpuRequest("ada"), "s1")) == ["GPU-1"]
    assert granted(ask(broker, GpuRequest("bob", min_memory_bytes=8 * GIB), "s2")) == ["GPU-0"]


def test_a_card_of_unknown_memory_is_taken_last_and_never_for_a_minimum() -> None:
    broker = broker_of(a100(0, memory_bytes=None), a100(1))
    assert granted(ask(broker, GpuRequest("ada"), "s1")) == ["GPU-1"]
    assert waits(ask(broker, GpuRequest("bob", min_memory_bytes=GIB), "s2"))
    assert granted(ask(broker, GpuRequest("bob"), "s2")) == ["GPU-0"]


def test_a_named_kind_is_kept_to() -> None:
    broker = broker_of(t4(0), a100(1))
    assert granted(ask(broker, GpuRequest("ada", kind="NVIDIA A100"), "s1")) == ["GPU-1"]
    assert waits(ask(broker, GpuRequest("bob", kind="NVIDIA A100"), "s2"))


def test_several_cards_are_alike_where_possible() -> None:
    broker = broker_of(t4(0), a100(1), a100(2))
    assert granted(ask(broker, GpuRequest("ada", count=2), "s1")) == ["GPU-1", "GPU-2"]
    broker.release("s1", NOW)
    assert granted(ask(broker, GpuRequest("ada", count=3), "s1")) == ["GPU-0", "GPU-1", "GPU-2"]


def test_instances_are_granted_and_their_gpu_is_not() -> None:
    broker = broker_of(a100(0, mig_enabled=True), instance(7, of=0), instance(8, of=0), a100(1))
    kind = "NVIDIA A100 MIG 1g.5gb"
    assert granted(ask(broker, GpuRequest("ada", kind=kind), "s1")) == ["MIG-0-7"]
    assert granted(ask(broker, GpuRequest("bob"), "s2")) == ["MIG-0-8"]
    assert granted(ask(broker, GpuRequest("eve"), "s3")) == ["GPU-1"]
    assert waits(ask(broker, GpuRequest("dan", kind="NVIDIA A100"), "s4"))


def test_instances_of_a_gpu_that_is_still_held_as_a_whole_are_not_granted() -> None:
    held = (Holding("GPU-0", "ada", "s-ada"),)
    broker = broker_of(a100(0, mig_enabled=True), instance(7, of=0), held=held)
    assert waits(ask(broker, GpuRequest("bob"), "s2"))


def test_a_gpu_in_mig_mode_without_instances_is_no_gpu_to_give_out() -> None:
    broker = broker_of(a100(0, mig_enabled=True))
    assert refused(ask(broker, GpuRequest("ada"), "s1")).code == "impossible"


# What can never be had here


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (GpuRequest("ada", count=3), "3 GPUs were asked for; of those that fit, this server has 2."),
        (GpuRequest("ada", kind="NVIDIA H100"), "There is no NVIDIA H100 on this server; it has 2 x NVIDIA A100."),
        (GpuRequest("ada", min_memory_bytes=80 * GIB), "No GPU here has as much memory; the largest has 40 GiB."),
        (
            GpuRequest("ada", kind="NVIDIA A100", count=9),
            "9 x NVIDIA A100 were asked for; of those that fit, this server has 2.",
        ),
    ],
)
def test_what_can_never_be_met_is_refused_with_the_limit(request_: GpuRequest, sentence: str) -> None:
    answer = refused(ask(broker_of(a100(0), a100(1)), request_, "s1"))
    assert (answer.code, answer.message) == ("impossible", sentence)


def test_several_of_nothing_but_instances_is_explained() -> None:
    broker = broker_of(a100(0, mig_enabled=True), instance(7, of=0), instance(8, of=0))
    answer = refused(ask(broker, GpuRequest("ada", count=2), "s1"))
    assert answer.code == "impossible"
    assert "only one MIG instance at a time" in answer.message


def test_no_driver_is_said_in_words() -> None:
    broker = Broker()
    broker.see_ledger((), broker.look(), NOW)
    broker.see_inventory(Inventory(reason="No NVIDIA driver is installed"), broker.look())
    answer = refused(ask(broker, GpuRequest("ada"), "s1"))
    assert answer.code == "impossible"
    assert "No NVIDIA driver is installed. A session without a GPU" in answer.message


@pytest.mark.parametrize("count", [0, -1])
def test_a_request_for_less_than_one_is_an_error(count: int) -> None:
    with pytest.raises(ValueError, match="one GPU or more"):
        GpuRequest("ada", count=count)


# What is not fit to be granted


@pytest.mark.parametrize("health", [Health.SUSPECT, Health.QUARANTINED, Health.DRAINED])
def test_only_a_healthy_card_is_granted(health: Health) -> None:
    broker = broker_of(a100(0, health=health, health_reason="2 uncorrectable memory errors"))
    answer = refused(ask(broker, GpuRequest("ada"), "s1"))
    assert answer.code == "unfit"
    assert "2 uncorrectable memory errors" in answer.message


def test_a_card_used_by_a_program_of_somebody_else_is_not_granted() -> None:
    broker = broker_of(a100(0, processes=(Process(4711),)))
    answer = refused(ask(broker, GpuRequest("ada"), "s1"))
    assert answer.code == "unfit"
    assert "process 4711" in answer.message


def test_processes_of_a_holder_are_not_taken_for_somebody_elses() -> None:
    inventory = Inventory((a100(0, processes=(Process(1),)), a100(1, processes=(Process(2),))))
    assert set(outside(inventory, {"GPU-0"})) == {"GPU-1"}


def test_a_gpu_and_its_instances_are_one_when_processes_are_attributed() -> None:
    busy = (Process(1),)
    inventory = Inventory((a100(0, mig_enabled=True, processes=busy), replace(instance(7, of=0), processes=busy)))
    assert not outside(inventory, {"MIG-0-7"})
    assert not outside(inventory, {"GPU-0"})
    assert set(outside(inventory, ())) == {"GPU-0", "MIG-0-7"}


def test_after_a_stop_the_last_sessions_processes_are_not_blamed_on_a_stranger() -> None:
    broker = broker_of(a100(0))
    ask(broker, GpuRequest("ada"), "s1")
    broker.see_inventory(Inventory((a100(0, processes=(Process(1),)),)), broker.look())
    broker.release("s1", NOW)
    assert waits(ask(broker, GpuRequest("bob"), "s2"))
    assert "given back a moment ago" in broker.unfit()["GPU-0"]
    broker.see_inventory(Inventory((a100(0),)), broker.look())
    assert granted(ask(broker, GpuRequest("bob"), "s2")) == ["GPU-0"]


# Fail closed


def test_nothing_is_granted_before_both_sides_were_read() -> None:
    broker = Broker()
    assert refused(ask(broker, GpuRequest("ada"), "s1")).code == "unreadable"
    broker.see_inventory(Inventory((a100(0),)), broker.look())
    assert refused(ask(broker, GpuRequest("ada"), "s1")).code == "unreadable"
    assert [kind.free for kind in broker.availability()] == [0]
    broker.see_ledger((), broker.look(), NOW)
    assert granted(ask(broker, GpuRequest("ada"), "s1")) == ["GPU-0"]


def test_an_engine_that_cannot_be_read_grants_nothing_and_frees_nothing() -> None:
    broker = broker_of(a100(0), a100(1), held=(Holding("GPU-0", "ada", "s-ada"),))
    broker.see_ledger(None, broker.look(), NOW, "connection refused")
    answer = refused(ask(broker, GpuRequest("bob"), "s-bob"))
    assert answer.code == "unreadable"
    assert "connection refused" in answer.message
    assert [holding.uuid for holding in broker.holders()] == ["GPU-0"]


def test_a_driver_that_cannot_be_read_grants_nothing_and_says_why() -> None:
    broker = broker_of(a100(0))
    broker.see_inventory(Inventory(readable=False, reason="Driver/library version mismatch"), broker.look())
    answer = refused(ask(broker, GpuRequest("bob"), "s-bob"))
    assert answer.code == "unreadable"
    assert "Driver/library version mismatch" in answer.message


# Readings that take time


def test_a_reading_that_began_before_the_grant_does_not_free_it() -> None:
    broker = broker_of(a100(0))
    look = broker.look()
    ask(broker, GpuRequest("ada"), "s1")
    broker.confirm("s1")
    broker.see_ledger((), look, NOW)
    assert waits(ask(broker, GpuRequest("bob"), "s2"))


def test_a_reading_that_began_after_the_confirmation_decides() -> None:
    broker = broker_of(a100(0))
    ask(broker, GpuRequest("ada"), "s1")
    broker.confirm("s1")
    broker.see_ledger((), broker.look(), NOW)
    assert granted(ask(broker, GpuRequest("bob"), "s2")) == ["GPU-0"]


def test_an_older_reading_that_arrives_late_is_ignored() -> None:
    broker = broker_of(a100(0))
    early, late = broker.look(), broker.look()
    broker.see_ledger((Holding("GPU-0", "ada", "s1"),), late, NOW)
    broker.see_ledger((), early, NOW)
    assert waits(ask(broker, GpuRequest("bob"), "s2"))


def test_a_reading_from_before_the_stop_does_not_bring_the_session_back() -> None:
    held = Holding("GPU-0", "ada", "s1")
    broker = broker_of(a100(0), held=(held,))
    look = broker.look()
    broker.release("s1", NOW)
    broker.see_ledger((held,), look, NOW)
    assert granted(ask(broker, GpuRequest("bob"), "s2")) == ["GPU-0"]


def test_a_reservation_that_the_ledger_shows_already_is_counted_once() -> None:
    broker = broker_of(a100(0), a100(1))
    ask(broker, GpuRequest("ada"), "s1")
    broker.see_ledger((Holding("GPU-0", "ada", "s1", NOW),), broker.look(), NOW)
    assert broker.holders() == (Holding("GPU-0", "ada", "s1", NOW),)
    assert [(kind.free, kind.total) for kind in broker.availability()] == [(1, 2)]


def test_a_session_cannot_be_granted_twice_without_saying_what_became_of_the_first() -> None:
    broker = broker_of(a100(0), a100(1))
    ask(broker, GpuRequest("ada"), "s1")
    with pytest.raises(ValueError, match="s1 has a reservation already"):
        ask(broker, GpuRequest("ada"), "s1")


def test_confirming_a_session_without_gpus_changes_nothing() -> None:
    broker = broker_of(a100(0))
    broker.confirm("s-cpu")
    assert broker.holders() == ()


# What the form shows


def test_availability_counts_by_kind_and_names_the_holders() -> None:
    held = (Holding("GPU-0", "ada", "s-ada"),)
    broker = broker_of(a100(0), a100(1), a100(2, health=Health.DRAINED), t4(3), held=held)
    found = {kind.kind: kind for kind in broker.availability()}
    assert (found["NVIDIA A100"].free, found["NVIDIA A100"].total) == (1, 3)
    assert found["NVIDIA A100"].holdings == held
    assert (found["Tesla T4"].free, found["Tesla T4"].memory_bytes) == (1, 15 * GIB)
    assert broker.unfit() == {"GPU-2": "was taken out of service by the administrator"}
