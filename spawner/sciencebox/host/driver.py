"""The NVIDIA driver of the host: where its files and device nodes are, and what it says of its cards."""

from __future__ import annotations

import os
import stat
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sciencebox.gpus.device import Inventory
from sciencebox.gpus.inventory import read_inventory, simulated_inventory
from sciencebox.sessions.attach import DriverFiles, find_driver_files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sciencebox.settings import Settings

NVIDIA_VENDOR = "0x10de"
DISPLAY_CLASS = "0x03"
ANSWER_S = 20.0
MOST_LINKS = 10


@dataclass(frozen=True)
class Driver:
    """What of an NVIDIA driver is on this server."""

    files: DriverFiles = field(default_factory=DriverFiles)
    root: Path = Path("/")
    inventory: Inventory = field(default_factory=Inventory)
    cards_seen: int = 0  # on the PCI bus, with or without a driver
    link_folders: tuple[str, ...] = ()  # folders that the library's links lead through

    @property
    def installed(self) -> bool:
        """Whether the driver's libraries are there."""
        return bool(self.files.libraries)

    @property
    def usable(self) -> bool:
        """Whether cards can be used: libraries and device nodes."""
        return self.installed and bool(self.files.nvml) and "nvidiactl" in self.files.nodes

    @property
    def nodes_for_hub(self) -> list[str]:
        """The device nodes by which the driver tells of its cards."""
        return sorted(node for node in self.files.nodes if node == "nvidiactl" or node[len("nvidia") :].isdigit())


def copy_nodes(driver: Driver, folder: Path) -> str:
    """Make device nodes for the hub that stay when a card does not. Their folder: the driver's if none can be made.

    The engine starts no container with a node that is not there, as that of a card that has failed after a restart.
    """
    own = Path(driver.files.dev_root)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for path in folder.iterdir():
            if path.name not in driver.nodes_for_hub:
                path.unlink()
        for node in driver.nodes_for_hub:
            copy, number = folder / node, (own / node).stat().st_rdev
            if not copy.exists() or copy.stat().st_rdev != number:
                copy.unlink(missing_ok=True)
                os.mknod(copy, stat.S_IFCHR | 0o600, number)
    except OSError:  # as in a container that may not
        return str(own)
    return str(folder)


def read_driver(settings: Settings, environment: Mapping[str, str]) -> Driver:
    """Look for the driver where the settings say. Never raises for what a driver does."""
    root = settings.gpus.driver_root
    files = find_driver_files(root, root, dev_root(root))
    library = environment.get("SCIENCEBOX_NVML") or files.nvml
    if settings.gpus.simulate:
        inventory = simulated_inventory(settings.gpus.simulate)
    else:
        inventory = within(ANSWER_S, lambda: read_inventory(library))
    links = link_folders(Path(files.nvml)) if files.nvml else ()
    return Driver(files, root, inventory, count_cards(Path("/sys/bus/pci/devices")), links)


def variant(settings: Settings, driver: Driver | None) -> str:
    """Which libraries the stack gets: those for GPUs where a driver is."""
    if settings.stack.variant != "auto":
        return settings.stack.variant
    return "cuda" if driver and driver.installed and not settings.gpus.simulate else "cpu"


def dev_root(driver_root: Path) -> Path:
    """The folder of the device nodes: a driver in a container has its own."""
    own = driver_root / "dev"
    return own if driver_root != Path("/") and (own / "nvidiactl").exists() else Path("/dev")


def count_cards(devices: Path) -> int:
    """NVIDIA cards on the PCI bus."""
    return sum(1 for device in devices.glob("*") if _is_card(device))


def link_folders(library: Path) -> tuple[str, ...]:
    """Folders outside the library's own that its symbolic links lead through (Debian's alternatives do).

    In a container that sees the library's folder only, these must be at their own paths for the links to lead anywhere.
    """
    found: list[str] = []
    here = library
    for _ in range(MOST_LINKS):
        if not here.is_symlink():
            break
        here = here.parent / here.readlink()
        if here.parent != library.parent and str(here.parent) not in found:
            found.append(str(here.parent))
    return tuple(found)


def within(seconds: float, read: Callable[[], Inventory]) -> Inventory:
    """The inventory, or that it did not come: a call into a broken driver may never return."""
    answer: list[Inventory] = []
    thread = threading.Thread(target=lambda: answer.append(read()), daemon=True)
    thread.start()
    thread.join(seconds)
    silent = Inventory(readable=False, reason=f"The NVIDIA driver did not answer within {seconds:.0f} s.")
    return answer[0] if answer else silent


def _is_card(device: Path) -> bool:
    try:
        vendor, kind = ((device / name).read_text(encoding="ascii") for name in ("vendor", "class"))
    except OSError:
        return False
    return vendor.strip() == NVIDIA_VENDOR and kind.startswith(DISPLAY_CLASS)
