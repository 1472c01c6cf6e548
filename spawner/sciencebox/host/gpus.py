"""The GPUs of this server with who holds them, for the administrator's terminal and for programs."""

from __future__ import annotations

import dataclasses
import getpass
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from docker.errors import DockerException
from requests import RequestException

from sciencebox.gpus.device import card_of
from sciencebox.gpus.marks import Mark, MarkFile, find, marked
from sciencebox.gpus.pool import outside
from sciencebox.gpus.reconcile import GPUS_LABEL, ContainerFacts, reconcile
from sciencebox.host import engine
from sciencebox.host.steps import StepError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sciencebox.gpus.device import Device, Health, Inventory, Process
    from sciencebox.gpus.pool import Holding


@dataclass(frozen=True)
class Card:
    """A device, whose sessions hold it, and the programs on it that no session started."""

    device: Device
    holders: tuple[Holding, ...]
    outside: tuple[Process, ...]


def cards(inventory: Inventory, holdings: Sequence[Holding]) -> list[Card]:
    """Every device with what is known of its use. Pure."""
    devices = inventory.devices
    held = {device.uuid: tuple(h for h in holdings if device.uuid in {h.uuid, card_of(h.uuid)}) for device in devices}
    foreign = outside(inventory, {uuid for uuid, holders in held.items() if holders})
    return [Card(device, held[device.uuid], tuple(foreign.get(device.uuid, ()))) for device in devices]


def as_dictionary(inventory: Inventory, found: Sequence[Card], fault: str) -> dict[str, Any]:
    """For programs. `fault` says why holders are not known."""
    return {
        **{name: value for name, value in dataclasses.asdict(inventory).items() if name != "devices"},
        "holders_unknown": fault,
        "devices": [
            {
                **dataclasses.asdict(card.device),
                "kind": card.device.kind,
                "holders": [_holder(holding) for holding in card.holders],
                "outside": [dataclasses.asdict(process) for process in card.outside],
            }
            for card in found
        ],
    }


def _holder(holding: Holding) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(holding).items() if name != "ours"}


def read_holdings(socket: Path) -> tuple[tuple[Holding, ...], str]:
    """Who holds what on this engine, of every deployment; or nobody and why that is not known."""
    state = engine.look(socket)
    if not state.answers:
        return (), f"the container engine does not answer: {state.fault}"
    try:
        found = engine.connect(socket).api.containers(all=True, filters={"label": GPUS_LABEL})
    except (DockerException, RequestException) as error:
        return (), f"the container engine does not answer: {error}"
    return reconcile([ContainerFacts.listed(item) for item in found], "", ()).holdings, ""


def in_service(state: Path, inventory: Inventory) -> Inventory:
    """The inventory without what is out of service or in quarantine. Raises MarksError."""
    return marked(inventory, MarkFile(state).read())


def uuid_of(inventory: Inventory, name: str) -> str:
    """The UUID of the GPU with this number or UUID. Raises StepError, with those that there are."""
    device = find(inventory, name)
    if device:
        return device.uuid
    if not inventory.readable:
        raise StepError(f"Whether this server has a GPU {name} cannot be told now: {inventory.reason}")
    known = ", ".join(f"{d.index} ({d.uuid})" for d in inventory.devices if not d.is_part)
    raise StepError(f"This server has no GPU {name}. It has: {known or 'none'}.")


def mark(state: Path, uuid: str, health: Health, reason: str) -> None:
    """Let nobody have a GPU. Raises StepError or MarksError."""
    if not reason.strip():
        raise StepError('Say why, for users read it: REASON="its fan is replaced".')
    if not state.is_dir():
        raise StepError(f"There is no {state}: this deployment has not run yet.")
    MarkFile(state).add(Mark(uuid, reason, _me(), time.time(), health))


def unmark(state: Path, uuid: str, health: Health) -> bool:
    """Take that back. Whether it was so. Raises MarksError."""
    return MarkFile(state).remove(uuid, health, _me())


def _me() -> str:
    """Who gives the command; not root, whom sudo made of them."""
    return f"{os.environ.get('SUDO_USER') or getpass.getuser()} on the server"
