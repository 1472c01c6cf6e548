"""GPUs that are out of service by an administrator's word."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from sciencebox.gpus.device import Device, Health, Inventory
from sciencebox.gpus.drains import Drain, DrainFile, DrainsError, drained, find

if TYPE_CHECKING:
    from pathlib import Path

FAN = Drain("its fan is replaced", "admin", 1_790_000_000.0)
CARDS = (
    Device("GPU-0", 0),
    Device("GPU-1", 1, mig_enabled=True),
    Device("MIG-1", 1, mig_profile="1g.10gb", parent_uuid="GPU-1"),
)


def test_what_is_taken_out_is_out_until_it_is_put_back(tmp_path: Path) -> None:
    file = DrainFile(tmp_path / "drained.json")
    assert file.read() == {}
    file.add("GPU-0", FAN)
    assert DrainFile(tmp_path / "drained.json").read() == {"GPU-0": FAN}
    assert file.remove("GPU-0")
    assert not file.remove("GPU-0")
    assert file.read() == {}


def test_two_who_write_at_once_lose_nothing(tmp_path: Path) -> None:
    names = [f"GPU-{number}" for number in range(24)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: DrainFile(tmp_path / "drained.json").add(name, FAN), names))
    assert sorted(DrainFile(tmp_path / "drained.json").read()) == sorted(names)


@pytest.mark.parametrize("damage", ["{", "[]", '{"GPU-0": {}}', '{"GPU-0": 1}'])
def test_a_damaged_file_puts_nothing_back_into_service(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "drained.json"
    path.write_text(damage)
    with pytest.raises(DrainsError, match="cannot be read"):
        DrainFile(path).add("GPU-1", FAN)
    assert path.read_text() == damage


def test_with_a_gpu_its_instances_are_out_of_service() -> None:
    first, parent, instance = drained(Inventory(CARDS), {"GPU-1": FAN}).devices
    assert first.health is Health.HEALTHY
    assert (parent.health, instance.health, instance.health_reason) == (Health.DRAINED, Health.DRAINED, FAN.reason)


@pytest.mark.parametrize(
    ("name", "uuid"), [("0", "GPU-0"), ("1", "GPU-1"), ("MIG-1", "MIG-1"), ("7", None), ("", None)]
)
def test_an_administrator_names_a_gpu_by_number_or_uuid(name: str, uuid: str | None) -> None:
    found = find(Inventory(CARDS), name)
    assert (found.uuid if found else None) == uuid
