"""What each session does on a GPU that several have shares of, told by the processes that it has there.

The driver tells how busy a whole GPU is, and how much each process computes and how much memory it has. Which session a
process belongs to is told by its control group, which is named after the container. Only where every process of a GPU
is accounted for is anything said of its shares: a session that works must not be taken for one that does nothing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sciencebox.gpus.device import card_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sciencebox.gpus.device import Device, Inventory, Process
    from sciencebox.gpus.pool import Holding

BY_SESSION = "use_by_session"  # in `Device.unknown` of a GPU that is divided: why nothing is said of its shares
_CONTAINER = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


def container_of(pid: int) -> str:
    """The id of the container that a process runs in; empty where it runs in none, or has ended. Blocking."""
    try:
        return container_in(Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""


def container_in(cgroups: str) -> str:
    """The same, from its control groups, a line each (see cgroups(7)).

    Where an engine runs in a container itself, both are named, but not in each line; the inner one comes last.
    """
    named: list[str] = max(map(_CONTAINER.findall, cgroups.splitlines()), key=len, default=[])
    return named[-1] if named else ""


def by_session(inventory: Inventory, holdings: Iterable[Holding], containers: Mapping[str, str]) -> Inventory:
    """The inventory whose shares have a load of their own, where it can be told.

    `holdings` are what sessions hold, and `containers` the session of each container, by its id.
    """
    of_card: dict[str, set[str]] = defaultdict(set)
    of_share: dict[str, set[str]] = defaultdict(set)
    for holding in holdings:
        of_card[card_of(holding.uuid)].add(holding.session)
        of_share[holding.uuid].add(holding.session)
    why = {d.uuid: _why_not(d, of_card[d.uuid], containers) for d in inventory.devices if d.is_divided and d.shares}

    def told(device: Device) -> Device:
        if why.get(device.uuid):
            return replace(device, unknown={**device.unknown, BY_SESSION: why[device.uuid]})
        if device.share is None or why.get(card_of(device.uuid)):
            return device
        mine = of_share[device.uuid]
        return _of(device, [process for process in device.processes if containers.get(process.container) in mine])

    return replace(inventory, devices=tuple(map(told, inventory.devices)))


def _why_not(card: Device, sessions: set[str], containers: Mapping[str, str]) -> str:
    """Why it cannot be told which session does what, in a clause; empty where it can."""
    if "processes" in card.unknown:
        return "the driver does not tell who uses it"
    for process in card.processes:
        if containers.get(process.container) not in sessions:
            return f"process {process.pid} on it belongs to no session that has a share of it"
    if any(process.utilisation is None for process in card.processes):
        return "the driver does not tell which process computes"
    if card.load.utilisation and not any(process.utilisation for process in card.processes):
        return "the driver says that it computes, and not for whom"
    return ""


def _of(share: Device, processes: Sequence[Process]) -> Device:
    used = [process.memory_bytes for process in processes]
    load = replace(
        share.load,
        utilisation=min(1.0, sum(process.utilisation or 0.0 for process in processes)),
        memory_used_bytes=None if None in used else sum(size for size in used if size is not None),
    )
    return replace(share, load=load)
