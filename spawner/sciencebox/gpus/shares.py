"""GPUs that are divided into shares, so that several sessions have one at the same time. Pure.

A share is granted, counted and accounted for as a device of its own. Its memory is kept apart where the driver does
that; its computing time is not: who shares a GPU waits for the others' kernels, which MIG instances do not.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from sciencebox.gpus.device import Device, Inventory, share_uuid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sciencebox.gpus_section import GpuShares


def divide(inventory: Inventory, divisions: Sequence[GpuShares]) -> Inventory:
    """The inventory with shares behind each GPU that is divided: of a model those with the highest indices.

    A GPU that is cut into MIG instances is not divided a second time.
    """
    if not divisions:
        return inventory
    parts = _parts(inventory.devices, divisions)
    devices = tuple(one for device in inventory.devices for one in _divided(device, parts.get(device.uuid, 0)))
    return replace(inventory, devices=devices)


def _parts(devices: Sequence[Device], divisions: Sequence[GpuShares]) -> dict[str, int]:
    """Into how many parts a GPU is divided, by UUID."""
    whole: dict[str | None, list[Device]] = defaultdict(list)
    for device in devices:
        if not device.is_part and not device.mig_enabled:
            whole[device.model].append(device)
    return {d.uuid: rule.parts for rule in divisions for d in whole[rule.model][-rule.gpus :]}


def _divided(card: Device, parts: int) -> Iterator[Device]:
    """The GPU, and its shares. What it spends is told by them, each its part, so that sums count it once."""
    if not parts:
        yield card
        return
    load = card.load
    of_share = replace(
        load,
        memory_used_bytes=None,
        temperature_c=None,
        power_w=None if load.power_w is None else load.power_w / parts,
        energy_j=None if load.energy_j is None else load.energy_j / parts,
    )
    yield replace(card, shares=parts, load=replace(load, power_w=None, energy_j=None))
    for number in range(1, parts + 1):
        yield replace(
            card,
            uuid=share_uuid(card.uuid, number, parts),
            parent_uuid=card.uuid,
            memory_bytes=None if card.memory_bytes is None else card.memory_bytes // parts,
            shares=parts,
            share=number,
            load=of_share,
        )
