"""What `sciencebox gpus` tells of each card."""

from __future__ import annotations

import io
import json
from datetime import datetime

import pytest
from rich.console import Console
from sciencebox.gpus.device import Device, Inventory, Process
from sciencebox.gpus.marks import Mark, marked
from sciencebox.gpus.pool import Holding
from sciencebox.host import show
from sciencebox.host.gpus import as_dictionary, cards, uuid_of
from sciencebox.host.steps import StepError

HELD = Device(
    "GPU-a", 0, model="NVIDIA A100", memory_bytes=40 * 1024**3, pci_id="0000:01:00.0", processes=(Process(7),)
)
FOREIGN = Device(
    "GPU-b", 1, model="NVIDIA A100", processes=(Process(4242, 1024),), unknown={"memory_bytes": "GPU is lost"}
)
INVENTORY = Inventory((HELD, FOREIGN), driver_version="580.95.05", cuda_version=(13, 0))
HOLDINGS = (Holding("GPU-a", "maria", "sciencebox-session-maria", 1.0),)


def _shown(inventory: Inventory, fault: str = "") -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    show.gpus(inventory, cards(inventory, HOLDINGS), fault, console)
    return console.export_text()


def test_a_card_has_its_holder_and_a_foreign_program_is_told_apart() -> None:
    first, second = (line for line in _shown(INVENTORY).splitlines() if "GPU-" in line)
    assert first.split() == ["0", "NVIDIA", "A100", "40", "GiB", "0000:01:00.0", "GPU-a", "healthy", "maria"]
    assert "process 4242, not of this service" in second


def test_who_has_a_share_of_a_card_is_told_at_the_card_and_is_no_stranger_there() -> None:
    shares = [Holding(f"GPU-a:{n}of2", user, f"s-{user}", 1.0) for n, user in ((1, "ada"), (2, "maria"))]
    first, _ = cards(INVENTORY, shares)
    assert [holding.user for holding in first.holders] == ["ada", "maria"]
    assert first.outside == ()


def test_what_the_driver_does_not_tell_is_said_with_the_reason() -> None:
    assert "GPU 1: memory_bytes is not known: GPU is lost" in _shown(INVENTORY)


def test_who_is_out_of_service_is_shown_with_the_reason_and_since_when() -> None:
    since = datetime(2026, 11, 27, 9, 5).timestamp()
    (out,) = marked(Inventory((HELD,)), [Mark("GPU-a", "its fan is replaced", "root", since)]).devices
    assert "its fan is replaced (since 2026-11-27 09:05)" in _shown(Inventory((out,)))


def test_an_engine_that_is_down_hides_holders_and_not_cards() -> None:
    shown = _shown(INVENTORY, "the container engine does not answer")
    assert "GPU-a" in shown
    assert "Who holds them is not known: the container engine does not answer" in shown


def test_without_a_driver_there_is_one_sentence() -> None:
    assert _shown(Inventory(reason="No NVIDIA driver was found.")).strip() == "No NVIDIA driver was found."


def test_a_gpu_that_is_asked_about_while_the_driver_is_silent_is_not_said_to_be_missing() -> None:
    with pytest.raises(StepError, match=r"no GPU 2\. It has: 0 \(GPU-a\), 1 \(GPU-b\)"):
        uuid_of(INVENTORY, "2")
    with pytest.raises(StepError, match=r"cannot be told now: The driver did not answer\."):
        uuid_of(Inventory(readable=False, reason="The driver did not answer."), "0")


def test_programs_get_the_same_as_json() -> None:
    facts = as_dictionary(INVENTORY, cards(INVENTORY, HOLDINGS), "")
    first, second = json.loads(json.dumps(facts, default=lambda value: value.value))["devices"]
    assert (first["holders"][0]["user"], first["outside"]) == ("maria", [])
    assert [(process["pid"], process["memory_bytes"]) for process in second["outside"]] == [(4242, 1024)]
