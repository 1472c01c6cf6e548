"""XID errors: what they mean, and how they are heard from a driver."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pynvml
import pytest
from sciencebox.gpus import events
from sciencebox.gpus.xid import judge

from tests.fakes.driver.fake import uuid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.driver.fake import FakeDriver


@pytest.mark.parametrize("xid", [13, 31, 39, 43, 45, 68, 94, 128])
def test_a_program_s_fault_is_told_to_its_user_and_is_nothing_against_the_card(xid: int) -> None:
    verdict = judge(xid)
    assert not verdict.card
    assert f"XID {xid}" in verdict.user


@pytest.mark.parametrize(("xid", "words"), [(79, "fallen off the bus"), (48, "reset"), (64, "replaced"), (9999, "XID")])
def test_a_card_s_fault_and_an_unknown_one_keep_others_from_it(xid: int, words: str) -> None:
    verdict = judge(xid)
    assert words in verdict.card
    assert verdict.card in verdict.user


@pytest.mark.parametrize("xid", [63, 92, 154])
def test_what_has_signs_of_its_own_or_is_to_be_ignored_is_not_told(xid: int) -> None:
    assert judge(xid).card == judge(xid).user == ""


@pytest.fixture
def listening(driver: FakeDriver) -> Iterator[subprocess.Popen[str]]:
    """The program that hears errors of the first card, and of one that is not there."""
    driver.set({"gpu0.xid": 31})  # from before
    command = [sys.executable, "-m", events.__name__, driver.nvml, uuid(0), "GPU-none"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_errors_are_heard_as_they_happen(listening: subprocess.Popen[str], driver: FakeDriver) -> None:
    # It is not told when the program listens, so the error is made again until it is heard.
    assert listening.stdout
    heard = _until_heard(listening, driver)
    assert heard.split()[0] == uuid(0)
    assert int(heard.split()[1]) >= 100
    driver.set({"gpu1.xid": 48, "gpu0.xid": 79})
    assert listening.stdout.readline() == f"{uuid(0)} 79\n"


def test_a_card_that_falls_off_the_bus_is_named_though_it_answers_no_more(
    listening: subprocess.Popen[str], driver: FakeDriver
) -> None:
    assert listening.stdout
    _until_heard(listening, driver)
    driver.set({"gpu0.fail.nvmlDeviceGetUUID": pynvml.NVML_ERROR_GPU_IS_LOST, "gpu0.xid": 79})
    assert listening.stdout.readline() == f"{uuid(0)} 79\n"


def _until_heard(listening: subprocess.Popen[str], driver: FakeDriver) -> str:
    import select

    for xid in range(200, 300):
        driver.set({"gpu0.xid": xid})
        if select.select([listening.stdout], [], [], 0.1)[0]:
            return listening.stdout.readline() if listening.stdout else ""
    raise AssertionError("nothing was heard")


def test_a_driver_that_does_not_start_ends_it_with_a_word(driver: FakeDriver) -> None:
    driver.set({"fail.nvmlInitWithFlags": 9})
    done = subprocess.run(
        [sys.executable, "-m", events.__name__, driver.nvml, uuid(0)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "The driver's errors cannot be heard" in done.stderr
