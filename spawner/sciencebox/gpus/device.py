"""Values that describe GPUs. Everything here is immutable; nothing here talks to a driver."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Health(str, Enum):
    """Whether a device may be granted. Only a healthy device is."""

    HEALTHY = "healthy"
    SUSPECT = "suspect"
    QUARANTINED = "quarantined"
    DRAINED = "drained"


@dataclass(frozen=True)
class Process:
    """A process that the driver reports on a device, by its id on the host.

    `utilisation` is the share of the last moments in which it computed there, from 0 to 1, None where that is not told;
    `container` is the id of the container that it runs in, if any.
    """

    pid: int
    memory_bytes: int | None = None
    utilisation: float | None = field(default=None, compare=False)
    container: str = field(default="", compare=False)


@dataclass(frozen=True)
class Load:
    """What a device does at one moment; None is what the driver does not tell, of a MIG instance all but its memory.

    `utilisation` is the share of the last moments in which something computed, from 0 to 1. `energy_j` counts since the
    driver was loaded.
    """

    utilisation: float | None = None
    memory_used_bytes: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    energy_j: float | None = None


@dataclass(frozen=True)
class Device:
    """One thing that can be granted: a physical GPU, a MIG instance of one, or a share of one (see `shares`).

    A value that the driver did not tell is None, and `unknown` says why, by field name.
    """

    uuid: str
    index: int
    model: str | None = None
    memory_bytes: int | None = None
    pci_id: str | None = None
    minor: int | None = None  # N of /dev/nvidiaN, of the parent for a part
    mig_profile: str | None = None
    parent_uuid: str | None = None
    mig_enabled: bool = False  # a GPU cut into MIG instances: they are granted, the GPU itself is not
    gpu_instance: int | None = None
    compute_instance: int | None = None
    shares: int = 0  # into how many shares the GPU is divided, that of the parent for a share
    share: int | None = None  # which of them this is, from 1
    processes: tuple[Process, ...] = ()
    load: Load = field(default=Load(), compare=False)
    health: Health = Health.HEALTHY
    health_reason: str = ""
    health_since: float | None = field(default=None, compare=False)  # unless healthy, in seconds since the epoch
    marked: bool = False  # its health is by somebody's word, see `marks`, and not by its own signs
    drained: bool = False  # an administrator took it out, whatever else is said of its health
    simulated: bool = False
    unknown: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def kind(self) -> str:
        """What a user chooses by: the model, with the MIG profile or the part where there is one."""
        model = self.model or "Unknown GPU"
        if self.share:
            return f"{model} 1/{self.shares} share"
        return f"{model} MIG {self.mig_profile}" if self.mig_profile else model

    @property
    def is_part(self) -> bool:
        """Whether it is a MIG instance or a share of a GPU."""
        return bool(self.mig_profile or self.share)

    @property
    def is_divided(self) -> bool:
        """Whether it is a GPU of which only the parts are granted."""
        return not self.is_part and (self.mig_enabled or self.shares > 0)

    @property
    def driver_uuid(self) -> str:
        """What the driver calls it, which knows nothing of shares."""
        return card_of(self.uuid)


def share_uuid(card: str, number: int, of: int) -> str:
    """What a share of a GPU is called, such as `GPU-4f2a:1of8`."""
    return f"{card}:{number}of{of}"


def card_of(uuid: str) -> str:
    """The GPU of a share; any other device is its own."""
    return uuid.partition(":")[0]


def fraction(uuid: str) -> float:
    """How much of a GPU a device counts as where use is counted, by its name, which outlives the settings."""
    found = _SHARE_UUID.search(uuid)
    return 1 / int(found[1]) if found else 1.0


def fraction_of_kind(kind: str | None) -> float:
    """How much of a GPU one of a kind counts as."""
    found = _SHARE_KIND.search(kind or "")
    return 1 / int(found[1]) if found else 1.0


_SHARE_UUID = re.compile(r":\d+of([1-9]\d*)$")
_SHARE_KIND = re.compile(r" 1/([1-9]\d*) share$")


@dataclass(frozen=True)
class Inventory:
    """The devices of this server at one moment, or the reason why there are none to be seen."""

    devices: tuple[Device, ...] = ()
    reason: str = ""  # why `devices` is empty, one sentence for people
    readable: bool = True  # False: the driver is there but cannot be read; nothing may be granted
    driver_version: str | None = None
    cuda_version: tuple[int, int] | None = None
