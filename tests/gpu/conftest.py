"""A real GPU with its driver. No tool can be built in its place, so where there is none, these tests are no gap."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sciencebox.gpus.inventory import read_inventory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sciencebox.gpus.device import Device, Inventory

HERE = Path(__file__).parent
CUDA = HERE / "cuda.py"
HAS_GPU = any(Path("/dev").glob("nvidia[0-9]*"))
collect_ignore_glob = [] if HAS_GPU else ["test_*.py"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say that something was left out."""
    if not HAS_GPU:
        terminalreporter.line("tests/gpu was left out: it needs a server with an NVIDIA GPU.")


@pytest.fixture(scope="session")
def inventory() -> Inventory:
    return read_inventory()


@pytest.fixture
def card(inventory: Inventory) -> Device:
    """A whole GPU."""
    return next(device for device in inventory.devices if not device.mig_profile)


@pytest.fixture(scope="session")
def smi() -> dict[str, str]:
    """What NVIDIA's own program says of the first GPU."""
    fields = ("uuid", "name", "memory.total", "pci.bus_id", "driver_version", "temperature.gpu", "power.draw")
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits", "--id=0"]
    line = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    return dict(zip(fields, (value.strip() for value in line.split(",")), strict=True))


@contextmanager
def holding(mib: int, action: str = "hold") -> Iterator[int]:
    """A program that holds this much of the card's memory; with `work` it computes, too."""
    command = [sys.executable, str(CUDA), action, str(mib)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "held\n"
        yield program.pid
