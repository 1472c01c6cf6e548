"""Where the driver is on the host."""

from __future__ import annotations

import stat
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import Mock

import yaml
from sciencebox.gpus.device import Inventory
from sciencebox.host import driver
from sciencebox.host.compose import overlay
from sciencebox.host.driver import Driver, count_cards, dev_root, link_folders, read_driver, within
from sciencebox.sessions.attach import DriverFiles
from sciencebox.settings import Settings

if TYPE_CHECKING:
    import pytest


def test_a_card_that_is_gone_after_a_restart_does_not_keep_the_hub_from_starting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[tuple[str, int]] = []

    def mknod(path: Path, mode: int, device: int) -> None:
        assert stat.S_ISCHR(mode)
        made.append((path.name, device))
        path.symlink_to("/dev/null")

    monkeypatch.setattr(driver.os, "mknod", mknod)
    (tmp_path / "dev").mkdir()
    for name in ("nvidiactl", "nvidia0", "nvidia1", "nvidia-uvm"):
        (tmp_path / "dev" / name).symlink_to("/dev/null")
    number = Path("/dev/null").stat().st_rdev
    names = frozenset({"nvidiactl", "nvidia0", "nvidia1", "nvidia-uvm"})
    found = Driver(DriverFiles(("libcuda.so.1",), nodes=names, dev_root=f"{tmp_path}/dev", nvml="/lib/nvml.so"))
    for _ in range(2):  # the second time they are there
        assert driver.copy_nodes(found, tmp_path / "nodes") == f"{tmp_path}/nodes"
    assert made == [(name, number) for name in ("nvidia0", "nvidia1", "nvidiactl")]
    hub = yaml.safe_load(overlay(found, nodes=f"{tmp_path}/nodes") or "")["services"]["hub"]
    assert hub["devices"][1] == f"{tmp_path}/nodes/nvidia1:/dev/nvidia1"
    without = replace(found, files=replace(found.files, nodes=names - {"nvidia1"}))
    assert driver.copy_nodes(without, tmp_path / "nodes") == f"{tmp_path}/nodes"
    assert sorted(path.name for path in (tmp_path / "nodes").iterdir()) == ["nvidia0", "nvidiactl"]
    monkeypatch.setattr(driver.os, "mknod", Mock(side_effect=PermissionError))
    assert driver.copy_nodes(found, tmp_path / "other") == f"{tmp_path}/dev", "where no node can be made, those of now"


def test_links_are_followed_out_of_the_library_folder(tmp_path: Path) -> None:
    libraries, alternatives, current = (tmp_path / name for name in ("lib", "alternatives", "lib/nvidia/current"))
    for folder in (libraries, alternatives, current):
        folder.mkdir(parents=True, exist_ok=True)
    (current / "libnvidia-ml.so.535").touch()
    (current / "libnvidia-ml.so.1").symlink_to("libnvidia-ml.so.535")
    (alternatives / "nvidia--ml").symlink_to(current / "libnvidia-ml.so.1")
    (libraries / "libnvidia-ml.so.1").symlink_to(alternatives / "nvidia--ml")
    assert link_folders(libraries / "libnvidia-ml.so.1") == (str(alternatives), str(current))


def test_links_within_the_folder_need_nothing(tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.580").touch()
    (tmp_path / "libnvidia-ml.so.1").symlink_to("libnvidia-ml.so.580")
    assert link_folders(tmp_path / "libnvidia-ml.so.1") == ()


def test_links_that_go_round_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert link_folders(tmp_path / "a") == ()


def test_a_driver_with_device_nodes_of_its_own(tmp_path: Path) -> None:
    assert str(dev_root(tmp_path)) == "/dev"
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidiactl").touch()
    assert dev_root(tmp_path) == tmp_path / "dev"


def test_cards_are_counted_without_a_driver(tmp_path: Path) -> None:
    for name, vendor, kind in (("a", "0x10de", "0x030200"), ("b", "0x10de", "0x040300"), ("c", "0x8086", "0x030000")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(f"{vendor}\n")
        (tmp_path / name / "class").write_text(f"{kind}\n")
    assert count_cards(tmp_path) == 1
    assert count_cards(tmp_path / "nothing") == 0


def test_a_driver_that_does_not_answer_is_not_waited_for() -> None:
    forever = threading.Event()

    def read() -> Inventory:
        forever.wait(10)
        return Inventory()

    told = within(0.05, read)
    forever.set()
    assert not told.readable
    assert "did not answer" in told.reason


def test_simulated_gpus_need_no_driver(tmp_path: Path) -> None:
    settings = Settings.model_validate({"gpus": {"simulate": 2, "driver_root": str(tmp_path)}})
    driver = read_driver(settings, {})
    assert [device.simulated for device in driver.inventory.devices] == [True, True]
    assert not driver.installed
