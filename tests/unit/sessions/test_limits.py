"""Whether a share of a GPU is kept to its memory: all that is needed for it, and each part missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sciencebox.gpus.device import Device, Inventory
from sciencebox.gpus.shares import divide
from sciencebox.gpus_section import GpuShares
from sciencebox.sessions import limits
from sciencebox.sessions.attach import EngineFacts, attach, engine_facts
from sciencebox.sessions.launch import facts
from sciencebox.sessions.options import SessionOptions

from tests.unit.sessions.test_attach import DRIVER

if TYPE_CHECKING:
    from pathlib import Path

GIB = 1024**3
CARD = Device("GPU-a", 0, model="NVIDIA L4", memory_bytes=24 * GIB, minor=0)
SHARE = divide(Inventory((CARD,)), [GpuShares(model="NVIDIA L4", parts=3)]).devices[2]
ALL = {"cgroups": "2", "mode": "cdi", "driver_can": True, "has_hook": True}


def missing(cgroups: str, mode: str | None, **others: bool) -> str:
    return limits.why_unlimited(EngineFacts("28.5.2", cgroups=cgroups), mode, **others)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ""),
        ({"cgroups": "1"}, "control groups of version 1"),
        ({"cgroups": ""}, "control groups of version 1"),
        ({"mode": "bind"}, "attached by bind"),
        ({"mode": None}, "attached by nothing"),
        ({"has_hook": False}, "toolkit writes it from version 1.20 on"),
        ({"driver_can": False}, "the driver cannot bound"),
    ],
)
def test_all_of_four_things_are_needed(change: dict[str, Any], expected: str) -> None:
    found = missing(**{**ALL, **change})
    assert expected in found
    assert bool(found) == bool(expected)


def test_the_engine_tells_its_control_groups() -> None:
    assert engine_facts({"CgroupVersion": "2"}, {"Version": "28.5.2"}).cgroups == "2"


def test_the_driver_is_searched_for_the_call(tmp_path: Path) -> None:
    library = tmp_path / "libnvidia-ml.so.1"
    library.write_bytes(b"\x7fELF...nvmlDeviceSetMemoryLimits_v10\0nvmlInit\0")
    assert not limits.driver_can_limit(str(library))
    library.write_bytes(library.read_bytes() + limits.CALL)
    assert limits.driver_can_limit(str(library))
    empty = tmp_path / "empty"
    empty.touch()
    assert not any(limits.driver_can_limit(path) for path in (None, str(empty), str(tmp_path / "none"), str(tmp_path)))


def test_specifications_are_searched_for_the_hook(tmp_path: Path) -> None:
    (tmp_path / "nvidia.yaml").write_text("hooks: [nvidia-cdi-hook, update-ldcache]")
    (tmp_path / "notes.txt").write_text(limits.HOOK)
    (tmp_path / "broken.json").write_bytes(b"\xff\xfe")
    assert not limits.has_hook([str(tmp_path), str(tmp_path / "none")])
    (tmp_path / "nvidia.yaml").write_text(f"args: [nvidia-cdi-hook, {limits.HOOK}]")
    assert limits.has_hook([str(tmp_path)])


def test_a_container_is_told_the_memory_of_its_share_and_nothing_of_a_whole_gpu() -> None:
    assert limits.environment([SHARE]) == {"NVIDIA_GPU_MEMORY_LIMIT": "8192"}
    assert limits.environment([CARD]) == limits.environment([]) == {}


def test_the_driver_is_asked_for_the_gpu_of_a_share() -> None:
    (request,) = attach("cdi", [SHARE], DRIVER).device_requests
    assert request["DeviceIDs"] == ["nvidia.com/gpu=GPU-a"]
    assert attach("nvidia", [SHARE], DRIVER).environment["NVIDIA_VISIBLE_DEVICES"] == "GPU-a"
    assert "/drv/dev/nvidia0:/dev/nvidia0:rw" in attach("bind", [SHARE], DRIVER).devices


def test_the_session_knows_that_it_has_a_share() -> None:
    told = facts(SessionOptions("", 1, GIB), [SHARE], "cdi", None, None)
    assert '"model": "NVIDIA L4 1/3 share"' in told
    assert '"uuid": "GPU-a"' in told
