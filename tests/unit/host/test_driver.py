"""Where the driver is on the host."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from sciencebox.gpus.device import Inventory
from sciencebox.host.driver import count_cards, dev_root, link_folders, read_driver, within
from sciencebox.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


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
