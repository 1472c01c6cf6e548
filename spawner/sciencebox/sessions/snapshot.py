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
    """What the desk knows at one moment. `unfit` is why a device is not granted, by UUID.

    `readable` is whether it is certain who holds what, `waiting` how many wait. `note` is what everybody should know of
    the figures, `count_note` of what is free; `may_mark` is whether an administrator takes devices out of service here.
    """

    inventory: Inventory
    offer: Offer
    holdings: tuple[Holding, ...]
    unfit: Mapping[str, str]
    attach_mode: str
    attach_reason: str
    readable: bool = True
    waiting: int = 0
    note: str = ""
    count_note: str = ""
    may_mark: bool = True
