"""GPUs that are out of service by an administrator's word."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sciencebox.gpus.device import Device, Health, Inventory
from sciencebox.gpus.marks import BY_SERVICE, Mark, MarkFile, MarksError, find, marked, this_boot

if TYPE_CHECKING:
    from pathlib import Path

FAN = Mark("GPU-0", "its fan is replaced", "admin", 1_790_000_000.0)
FAULT = Mark("GPU-0", "it fell off the bus", BY_SERVICE, 1_790_000_000.0, Health.QUARANTINED, boot=this_boot())
CARDS = (
    Device("GPU-0", 0),
    Device("GPU-1", 1, mig_enabled=True),
    Device("MIG-1", 1, mig_profile="1g.10gb", parent_uuid="GPU-1"),
)


def test_what_is_taken_out_is_out_until_it_is_put_back(tmp_path: Path) -> None:
    file = MarkFile(tmp_path)
    assert file.read() == ()
    file.add(FAN)
    file.add(FAULT)
    assert set(MarkFile(tmp_path).read()) == {FAN, FAULT}
    assert file.remove("GPU-0", Health.DRAINED, "admin")
    assert not file.remove("GPU-0", Health.DRAINED, "admin")
    assert file.read() == (FAULT,)


def test_every_change_is_written_down(tmp_path: Path) -> None:
    file = MarkFile(tmp_path)
    file.add(FAN)
    file.remove("GPU-0", Health.DRAINED, "eva")
    file.remove("GPU-0", Health.DRAINED, "eva")
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [(line["who"], line["gpu"], line["is"]) for line in lines] == [
        ("admin", "GPU-0", "drained"),
        ("eva", "GPU-0", "no longer drained"),
    ]
    assert lines[0]["reason"] == "its fan is replaced"


def test_a_fault_is_over_when_the_server_was_restarted(tmp_path: Path) -> None:
    file = MarkFile(tmp_path)
    file.add(replace(FAULT, boot="another"))
    assert file.read() == ()
    file.add(FAN)  # a word of an administrator is not
    assert file.read() == (FAN,)


def test_two_who_write_at_once_lose_nothing(tmp_path: Path) -> None:
    names = [f"GPU-{number}" for number in range(24)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: MarkFile(tmp_path).add(replace(FAN, uuid=name)), names))
    assert sorted(mark.uuid for mark in MarkFile(tmp_path).read()) == sorted(names)
    assert len((tmp_path / "audit.jsonl").read_text().splitlines()) == 24


@pytest.mark.parametrize("damage", ["{", "[1]", "[{}]", '{"GPU-0": 1}', '[{"health": "fine"}]'])
def test_a_damaged_file_puts_nothing_back_into_service(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "marks.json"
    path.write_text(damage)
    with pytest.raises(MarksError, match="cannot be read"):
        MarkFile(tmp_path).add(FAN)
    assert path.read_text() == damage


def test_with_a_gpu_its_instances_are_out_of_service() -> None:
    first, parent, instance = marked(Inventory(CARDS), [replace(FAN, uuid="GPU-1")]).devices
    assert first.health is Health.HEALTHY
    assert (parent.health, instance.health, instance.health_reason) == (Health.DRAINED, Health.DRAINED, FAN.reason)


@pytest.mark.parametrize("marks", [(FAN, FAULT), (FAULT, FAN)])
def test_a_quarantine_speaks_before_a_drain(marks: tuple[Mark, ...]) -> None:
    first, *_ = marked(Inventory(CARDS), marks).devices
    assert (first.health, first.health_reason, first.marked) == (Health.QUARANTINED, FAULT.reason, True)


def test_what_a_card_says_itself_is_not_hidden_by_a_drain() -> None:
    worn_out = replace(CARDS[0], health=Health.QUARANTINED, health_reason="it is worn out")
    (card,) = marked(Inventory((worn_out,)), [FAN]).devices
    assert card == replace(worn_out, drained=True)


@pytest.mark.parametrize(
    ("name", "uuid"), [("0", "GPU-0"), ("1", "GPU-1"), ("MIG-1", "MIG-1"), ("7", None), ("", None)]
)
def test_an_administrator_names_a_gpu_by_number_or_uuid(name: str, uuid: str | None) -> None:
    found = find(Inventory(CARDS), name)
    assert (found.uuid if found else None) == uuid
