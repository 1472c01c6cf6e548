"""Values that describe GPUs. Everything here is immutable; nothing here talks to a driver."""

from __future__ import annotations

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
    """A process that the driver reports on a device, by its id on the host."""

    pid: int
    memory_bytes: int | None = None


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
    """One thing that can be granted: a physical GPU, or a MIG instance of one.

    A value that the driver did not tell is None, and `unknown` says why, by field name.
    """

    uuid: str
    index: int
    model: str | None = None
    memory_bytes: int | None = None
    pci_id: str | None = None
    minor: int | None = None  # N of /dev/nvidiaN, of the parent for a MIG instance
    mig_profile: str | None = None
    parent_uuid: str | None = None
    mig_enabled: bool = False  # a GPU cut into MIG instances: they are granted, the GPU itself is not
    gpu_instance: int | None = None
    compute_instance: int | None = None
    processes: tuple[Process, ...] = ()
    load: Load = field(default=Load(), compare=False)
    health: Health = Health.HEALTHY
    health_reason: str = ""
    marked: bool = False  # its health is by somebody's word, see `marks`, and not by its own signs
    drained: bool = False  # an administrator took it out, whatever else is said of its health
    simulated: bool = False
    unknown: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def kind(self) -> str:
        """What a user chooses by: the model, with the MIG profile where there is one."""
        model = self.model or "Unknown GPU"
        return f"{model} MIG {self.mig_profile}" if self.mig_profile else model


@dataclass(frozen=True)
class Inventory:
    """The devices of this server at one moment, or the reason why there are none to be seen."""

    devices: tuple[Device, ...] = ()
    reason: str = ""  # why `devices` is empty, one sentence for people
    readable: bool = True  # False: the driver is there but cannot be read; nothing may be granted
    driver_version: str | None = None
    cuda_version: tuple[int, int] | None = None
