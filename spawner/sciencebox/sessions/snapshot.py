"""What pages show of the desk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sciencebox.gpus.device import Inventory
    from sciencebox.gpus.pool import Holding
    from sciencebox.sessions.options import Offer


@dataclass(frozen=True)
class Snapshot:
    """What the desk knows at one moment. `unfit` is why a device is not granted, by UUID."""

    inventory: Inventory
    offer: Offer
    holdings: tuple[Holding, ...]
    unfit: Mapping[str, str]
    attach_mode: str
    attach_reason: str
