"""A real driver tells the service what NVIDIA's own program tells, and what happens on a card is seen and heard."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest
from sciencebox.gpus import xid
from sciencebox.gpus.device import Health
from sciencebox.gpus.inventory import LIBRARY, read_inventory

from tests.gpu.conftest import CUDA, holding
from tests.service import wait_until

if TYPE_CHECKING:
    from sciencebox.gpus.device import Device, Inventory

MIB = 1024**2
HELD_MIB = 1024
DEADLINE_S = 20
ILLEGAL_ADDRESS = 700


def test_a_card_is_listed_as_nvidias_program_lists_it(inventory: Inventory, smi: dict[str, str]) -> None:
    first = inventory.devices[0]
    assert (first.uuid, first.model, first.pci_id) == (smi["uuid"], smi["name"], smi["pci.bus_id"])
    assert first.memory_bytes is not None
    assert first.memory_bytes / MIB == pytest.approx(float(smi["memory.total"]), abs=1)
    assert inventory.driver_version == smi["driver_version"]
    assert inventory.cuda_version is not None
    assert inventory.cuda_version >= (12, 0)


def test_a_card_in_order_is_healthy_and_nothing_that_decides_is_unknown(card: Device) -> None:
    assert (card.health, card.health_reason) == (Health.HEALTHY, "")
    assert not {"uuid", "processes", "mig_enabled", "memory_bytes", "minor"} & set(card.unknown)


def test_what_a_card_does_is_read(card: Device, smi: dict[str, str]) -> None:
    load = card.load
    assert load.utilisation is not None
    assert 0 <= load.utilisation <= 1
    assert load.temperature_c == pytest.approx(float(smi["temperature.gpu"]), abs=15)
    assert load.power_w == pytest.approx(float(smi["power.draw"]), rel=1)
    assert load.energy_j is None or load.energy_j > 0


def test_a_program_on_a_card_is_seen_with_its_memory(card: Device) -> None:
    with holding(HELD_MIB) as pid:
        [process] = [p for p in _now(card).processes if p.pid == pid]
        used = _now(card).load.memory_used_bytes
    assert process.memory_bytes is None or process.memory_bytes >= HELD_MIB * MIB
    assert used is not None
    assert used >= HELD_MIB * MIB
    wait_until(lambda: all(p.pid != pid for p in _now(card).processes), "the program is gone", DEADLINE_S)


def test_of_two_programs_on_a_card_it_is_told_which_one_computes(card: Device) -> None:
    def computed(pid: int) -> float | None:
        return next((p.utilisation for p in _now(card).processes if p.pid == pid), None)

    with holding(1) as rests, holding(1, "work") as works:
        wait_until(lambda: computed(works), "who computes is told", DEADLINE_S)
        assert computed(rests) == 0


def test_an_error_of_a_program_is_heard_and_is_not_held_against_the_card(card: Device) -> None:
    listener = [sys.executable, "-m", "sciencebox.gpus.events", LIBRARY, card.uuid]
    with holding(1), subprocess.Popen(listener, stdout=subprocess.PIPE, text=True) as hears:
        try:
            assert hears.stdout is not None
            wait_until(lambda: _has_open(hears.pid, f"/dev/nvidia{card.minor}"), "the card is listened to", DEADLINE_S)
            failed = subprocess.run([sys.executable, CUDA, "fault"], check=True, capture_output=True, text=True)
            assert json.loads(failed.stdout) == {"error": ILLEGAL_ADDRESS}
            uuid, number = _line(hears.stdout).split()
        finally:
            hears.kill()
    assert uuid == card.uuid
    assert not xid.judge(int(number)).card
    assert _now(card).health is Health.HEALTHY


def _now(card: Device) -> Device:
    return next(device for device in read_inventory().devices if device.uuid == card.uuid)


def _has_open(pid: int, node: str) -> bool:
    return any(link.readlink() == Path(node) for link in Path(f"/proc/{pid}/fd").iterdir())


def _line(stream: IO[str]) -> str:
    ready, _, _ = select.select([stream], [], [], DEADLINE_S)
    assert ready, f"nothing was heard in {DEADLINE_S} s"
    return stream.readline()
