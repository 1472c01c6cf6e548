"""What an administrator reads: the summary of a deployment, its status, the doctor's table."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from sciencebox.gpus import wording
from sciencebox.gpus.reconcile import GPUS_LABEL, SINCE_LABEL, USER_LABEL
from sciencebox.host import engine, watch
from sciencebox.host.compose import services
from sciencebox.host.row import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from sciencebox.gpus.device import Inventory
    from sciencebox.host.deploy import Deployment
    from sciencebox.host.gpus import Card
    from sciencebox.host.row import Row

_STYLES = {State.OK: "green", State.WARNING: "yellow", State.FAILED: "bold red"}


def summary(deployment: Deployment, console: Console) -> None:
    """Where the service is, who may sign in, and which GPUs it offers."""
    table = Table.grid(padding=(0, 2))
    table.add_row("Address", Text(deployment.address, style="bold"))
    for name, value in accounts(deployment):
        table.add_row(name, value)
    host = deployment.host
    if host:
        inventory = host.driver.inventory
        table.add_row("GPUs", describe_inventory(inventory))
        if inventory.devices and host.mode.mode:
            table.add_row("Attached by", Text(f"{host.mode.mode}: {host.mode.reason}"))
    table.add_row("Data", str(deployment.settings.data_root))
    console.print()
    console.print(table, highlight=False)
    if deployment.settings.server.tls == "internal":
        root = deployment.places.state / "caddy/caddy/pki/authorities/local/root.crt"
        console.print(f"Browsers warn of the certificate until they trust {root}.", highlight=False, soft_wrap=True)


def facts(pairs: Iterable[tuple[str, str]], console: Console) -> None:
    """What a command ends with: names and values."""
    table = Table.grid(padding=(0, 2))
    for name, value in pairs:
        table.add_row(name, Text(value))
    console.print()
    console.print(table, highlight=False)


def accounts(deployment: Deployment) -> list[tuple[str, str]]:
    """The administrators, a local one with the one-time password as long as it is valid, and demonstration accounts."""
    rights = deployment.settings.accounts.rights
    if deployment.settings.accounts.source != "local":
        groups = [f"members of {group}" for group in rights.administrator_groups]
        return [("Administrators", ", ".join([*rights.administrators, *groups]))]
    name, password = deployment.settings.accounts.administrator, deployment.secrets.first_password
    told = f"{name}, one-time password {password}" if password else name
    demo = deployment.secrets.demo_passwords
    return [("Administrator", told), *(("Demonstration", f"{user}, password {demo[user]}") for user in demo)]


def describe_inventory(inventory: Inventory) -> str:
    """The GPUs in a line."""
    if not inventory.devices:
        return inventory.reason or "none"
    kinds: dict[str, int] = {}
    for device in inventory.devices:
        kinds[device.kind] = kinds.get(device.kind, 0) + 1
    return ", ".join(f"{count} x {kind}" for kind, count in kinds.items())


def status(deployment: Deployment, console: Console) -> bool:
    """Show services and sessions. Whether all services are well."""
    deployment.client = engine.reach(deployment.socket)
    found = watch.read_services(deployment.client, deployment.settings.name)
    wanted = services(deployment.settings)
    table = Table("service", "state", "health", "since", box=None)
    for name in wanted:
        service = found.get(name)
        if service:
            table.add_row(name, service.state, service.health, _here(service.since))
        else:
            table.add_row(name, "missing")
    console.print(table)
    sessions(deployment, console)
    well = not watch.waiting_for(found, wanted)
    last = f"{deployment.address} is up." if well else "The service is not up; `make deploy` brings it up."
    console.print(last, highlight=False, soft_wrap=True)
    return well


def sessions(deployment: Deployment, console: Console) -> None:
    """Who has a session, and which GPUs it holds."""
    found = deployment.sessions()
    if not found:
        console.print("No sessions.")
        return
    table = Table("user", "state", "GPUs", "since", box=None)
    for container in found:
        labels = container["Labels"]
        gpus, since = labels.get(GPUS_LABEL, ""), _here(labels.get(SINCE_LABEL, ""))
        table.add_row(labels.get(USER_LABEL, "?"), container["State"], gpus or "none", since)
    console.print(table)


def _here(told: str) -> str:
    """A moment that the engine or a label tells in UTC, in this server's time zone."""
    try:
        moment = datetime.fromisoformat(f"{told[:19]}+00:00")
    except ValueError:  # somebody else's label
        return ""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}" if moment.year > 1 else ""  # 1: it was never started


def checks(rows: Iterable[Row], console: Console) -> None:
    """The doctor's table."""
    table = Table("", "", "found", "what to do", box=None, padding=(0, 1))
    for row in rows:
        table.add_row(Text(row.state.value, style=_STYLES[row.state]), row.what, Text(row.found), Text(row.advice))
    console.print(table, highlight=False)


def gpus(inventory: Inventory, found: Sequence[Card], fault: str, console: Console) -> None:
    """Every device with its health and its use."""
    if not found:
        console.print(inventory.reason, highlight=False, soft_wrap=True)
        return
    table = Table("GPU", "model", "memory", "PCI address", "UUID", "health", "used by", box=None)
    for card in found:
        device = card.device
        memory = wording.gib(device.memory_bytes) if device.memory_bytes else "unknown"
        since = device.health_since and f" (since {datetime.fromtimestamp(device.health_since):%Y-%m-%d %H:%M})"
        health = f"{device.health_reason or device.health.value}{since or ''}"
        kind = f"{device.kind} (SIMULATED)" if device.simulated else device.kind
        table.add_row(str(device.index), kind, memory, device.pci_id or "", device.uuid, health, _used_by(card))
    console.print(table, highlight=False)
    for device in inventory.devices:
        for name, why in device.unknown.items():
            console.print(f"GPU {device.index}: {name} is not known: {why}", highlight=False, soft_wrap=True)
    if fault:
        console.print(f"Who holds them is not known: {fault}", style="yellow", highlight=False, soft_wrap=True)


def _used_by(card: Card) -> str:
    users = [holding.user for holding in card.holders]
    others = [f"process {process.pid}, not of this service" for process in card.outside]
    return ", ".join([*users, *others])
