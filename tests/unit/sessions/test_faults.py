"""GPUs that fail while sessions use them."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sciencebox.gpus.device import Device, Health
from sciencebox.gpus.marks import BY_SERVICE, Mark, MarksError
from sciencebox.gpus.pool import Holding
from sciencebox.sessions import faults as faults_module
from sciencebox.sessions.faults import MOST_TOLD, Faults

from tests.fakes.driver.fake import uuid

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes.driver.fake import FakeDriver

CARDS = (
    Device("GPU-0", 0),
    Device("GPU-1", 1, mig_enabled=True),
    Device("MIG-1", 1, mig_profile="1g.10gb", parent_uuid="GPU-1"),
)
ADA, BOB = Holding("GPU-0", "ada", "s-ada", 0.0), Holding("MIG-1", "bob", "s-bob", 0.0)


@pytest.fixture
def marks() -> list[Mark]:
    return []


@pytest.fixture
def faults(marks: list[Mark]) -> Faults:
    async def mark(one: Mark) -> None:
        marks.append(one)

    faults = Faults("none", mark)
    faults.see(CARDS, [ADA, BOB], 0.0)
    return faults


async def test_a_card_that_fails_goes_into_quarantine_and_its_holders_are_told(
    faults: Faults, marks: list[Mark]
) -> None:
    await faults.heard("GPU-1", 79)
    (mark,) = marks
    assert (mark.uuid, mark.health, mark.by) == ("GPU-1", Health.QUARANTINED, BY_SERVICE)
    assert mark.boot  # it is over when the server was restarted
    assert "fallen off the bus" in faults.told("s-bob")[0]
    assert faults.told("s-ada") == []


async def test_a_program_that_fails_is_told_to_its_user_only(faults: Faults, marks: list[Mark]) -> None:
    await faults.heard("GPU-0", 31)
    await faults.heard("GPU-0", 31)
    assert marks == []
    assert len(faults.told("s-ada")) == 1


async def test_nobody_is_blamed_for_a_program_that_may_be_his_neighbours(faults: Faults) -> None:
    card = Device("GPU-2", 2, shares=2)
    shares = [replace(card, uuid=f"GPU-2:{n}of2", share=n, parent_uuid="GPU-2") for n in (1, 2)]
    faults.see([card, *shares], [replace(ADA, uuid=shares[0].uuid), replace(BOB, uuid=shares[1].uuid)], 1.0)
    await faults.heard("GPU-2", 31)
    for session in ("s-ada", "s-bob"):
        (told,) = faults.told(session)
        assert told.startswith("A program of yours, or of somebody else who has a part of the GPU, failed on the GPU")


async def test_a_card_that_fails_again_and_again_is_in_quarantine_since_the_first_time(
    faults: Faults, marks: list[Mark]
) -> None:
    for _ in range(3):
        await faults.heard("GPU-0", 119)
        out = replace(CARDS[0], health=Health.QUARANTINED, health_reason=marks[0].reason, marked=True)
        faults.see([out, *CARDS[1:]], [ADA, BOB], 1.0)
    await faults.heard("GPU-0", 79)
    assert ["XID 119" in mark.reason for mark in marks] == [True, False]


async def test_a_card_whose_own_signs_are_bad_is_told_as_long_as_they_are(faults: Faults) -> None:
    worn_out = replace(CARDS[0], health=Health.QUARANTINED, health_reason="its memory is worn out")
    faults.see([worn_out, *CARDS[1:]], [ADA, BOB], 1.0)
    assert faults.told("s-ada") == [
        "GPU 0 of your session is in quarantine: its memory is worn out. Save what you can."
    ]
    assert faults.told("s-bob") == []
    faults.see(CARDS, [ADA], 2.0)
    assert faults.told("s-ada") == []


async def test_who_has_a_card_that_is_out_is_told_why_once_and_by_the_next_hub_again(
    faults: Faults, marks: list[Mark]
) -> None:
    await faults.heard("GPU-0", 79)
    out = replace(CARDS[0], health=Health.QUARANTINED, health_reason=marks[0].reason, marked=True)
    faults.see([out], [ADA], 1.0)
    (told,) = faults.told("s-ada")
    assert told.startswith("Your GPU has failed: it has fallen off the bus")

    async def mark(_: Mark) -> None: ...

    after_a_restart = Faults("none", mark)
    after_a_restart.see([out], [ADA, BOB], 2.0)
    (told,) = after_a_restart.told("s-ada")
    assert told.startswith("GPU 0 of your session is in quarantine: it has fallen off the bus")
    after_a_restart.see([replace(out, health_reason="wrong results")], [ADA], 3.0)  # an administrator has seen them
    assert after_a_restart.told("s-ada") == [
        "GPU 0 of your session is in quarantine: wrong results. Save what you can."
    ]
    after_a_restart.see([replace(out, health=Health.DRAINED, health_reason="its fan is replaced")], [ADA], 4.0)
    (told,) = after_a_restart.told("s-ada")
    assert told == "GPU 0 of your session is taken out of service: its fan is replaced. Save what you can."


async def test_only_the_last_words_are_kept_and_none_for_the_next_session(faults: Faults) -> None:
    for number in range(1000, 1010):
        await faults.heard("GPU-0", number)
    assert len(faults.told("s-ada")) == MOST_TOLD
    assert "1009" in faults.told("s-ada")[-1]
    faults.see(CARDS, [BOB], 1.0)
    faults.see(CARDS, [ADA, BOB], 2.0)
    assert faults.told("s-ada") == []


async def test_a_card_that_was_taken_out_can_be_reset_once_nobody_uses_it(driver: FakeDriver) -> None:
    async def mark(_: Mark) -> None: ...

    faults = Faults(driver.nvml, mark)
    running = asyncio.create_task(faults.run())
    cards = (Device(uuid(0), 0), replace(Device(uuid(1), 1), drained=True))
    ada, bob = Holding(uuid(0), "ada", "s-ada", 0.0), Holding(uuid(1), "bob", "s-bob", 0.0)
    for holdings, listens in (([ada, bob], True), ([ada], False)):
        faults.see(cards, holdings, 0.0)
        await _until(lambda listens=listens: bool(_listeners()) is listens)
    faults.see((cards[0], replace(cards[1], drained=False)), [ada], 1.0)
    await _until(lambda: bool(_listeners()))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not _listeners()


async def test_a_quarantine_that_cannot_be_written_is_no_end_of_listening() -> None:
    async def mark(_: Mark) -> None:
        raise MarksError("the disk is full")

    faults = Faults("none", mark)
    faults.see(CARDS, [ADA], 0.0)
    await faults.heard("GPU-0", 79)
    assert faults.told("s-ada")


async def test_a_listener_that_cannot_be_started_is_tried_again(
    faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = asyncio.Semaphore(0)

    async def start(*_: object, **__: object) -> None:
        tried.release()
        raise OSError("Resource temporarily unavailable")

    monkeypatch.setattr(faults_module, "AGAIN_S", 0)
    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    running = asyncio.create_task(faults.run())
    async with asyncio.timeout(10):
        for _ in range(3):
            await tried.acquire()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_the_cards_in_use_are_listened_to(driver: FakeDriver) -> None:
    heard = asyncio.Event()

    async def mark(one: Mark) -> None:
        assert one.uuid == uuid(1)
        heard.set()

    faults = Faults(driver.nvml, mark)
    running = asyncio.create_task(faults.run())
    cards = (Device(uuid(0), 0), Device(uuid(1), 1))
    faults.see(cards, [Holding(uuid(0), "ada", "s-ada", 0.0)], 0.0)
    faults.see(cards, [Holding(uuid(1), "bob", "s-bob", 0.0)], 1.0)
    for number in range(1000, 1100):  # it is not told when it listens
        driver.set({"gpu1.xid": number})
        try:
            await asyncio.wait_for(heard.wait(), 0.1)
            break
        except asyncio.TimeoutError:
            continue
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    driver.set({"gpu1.xid": None})
    assert heard.is_set()


def _listeners() -> list[int]:
    """Programs of this process that hear the driver's errors."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    commands = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children}
    return [pid for pid, command in commands.items() if b"sciencebox.gpus.events" in command]


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (another program is waited for)
            await asyncio.sleep(0.01)
