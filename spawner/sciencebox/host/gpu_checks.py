"""What the doctor says of GPUs: their driver, the cards, how they reach sessions, and in which shares. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sciencebox.gpus.shares import divide
from sciencebox.host.engine import numbers
from sciencebox.host.row import Row, State
from sciencebox.sessions.attach import engine_facts
from sciencebox.sessions.stack import too_new

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sciencebox.host.facts import Host
    from sciencebox.settings import Settings

TOOLKIT_WITH_CDI = (1, 14)


def gpus(host: Host, settings: Settings) -> list[Row]:
    """What concerns GPUs. A service without them works, so this never keeps a deployment from going on."""
    if settings.gpus.simulate:
        found = f"{settings.gpus.simulate} SIMULATED; no card of this server is used"
        return [Row("GPUs", State.WARNING, found, "Set `gpus.simulate: 0` to offer real cards.")]
    driver = host.driver
    if not driver.installed:
        return [_no_driver(host)]
    if "nvidiactl" not in driver.files.nodes:
        advice = "Run `nvidia-modprobe -c 0 -u` or restart the server, then deploy again."
        return [Row("Driver", State.FAILED, f"installed, but no device nodes in {driver.files.dev_root}", advice)]
    inventory = driver.inventory
    if not inventory.readable or not inventory.devices:
        return [Row("Driver", State.FAILED, inventory.reason, "See what `nvidia-smi` says, and `dmesg`.")]
    cards = [_driver(host), *_libraries(host), *_models(host), *_absent(host, settings)]
    return [*cards, *_toolkit(host), _mode(host), *_shares(host, settings)]


def _no_driver(host: Host) -> Row:
    if not host.driver.cards_seen:
        return Row("Driver", State.OK, "no NVIDIA card; sessions have no GPU")
    cards = "an NVIDIA card" if host.driver.cards_seen == 1 else f"{host.driver.cards_seen} NVIDIA cards"
    advice = "Install the driver (Debian: `nvidia-driver` of non-free), restart, and deploy again."
    return Row("Driver", State.WARNING, f"{cards}, but no driver under {host.driver.root}", advice)


def _driver(host: Host) -> Row:
    inventory = host.driver.inventory
    cuda = "{}.{}".format(*inventory.cuda_version) if inventory.cuda_version else "unknown"
    return Row("Driver", State.OK, f"{inventory.driver_version or 'unknown version'}, CUDA up to {cuda}")


def _libraries(host: Host) -> Iterator[Row]:
    """Environments that this driver is too old for."""
    for sentence in too_new(host.views, host.driver.inventory.cuda_version):
        advice = "Upgrade the driver, restart the server and deploy again."
        yield Row("Driver", State.WARNING, sentence.rstrip("."), advice)


def _models(host: Host) -> Iterator[Row]:
    kinds: dict[str, int] = {}
    for device in host.driver.inventory.devices:
        kinds[device.kind] = kinds.get(device.kind, 0) + 1
        if device.health_reason:
            found = f"{device.kind} {device.uuid}: {device.health_reason}"
            yield Row("GPU", State.WARNING, found, "It is not offered until that is mended.")
    yield Row("GPUs", State.OK, ", ".join(f"{count} x {kind}" for kind, count in kinds.items()))


def _absent(host: Host, settings: Settings) -> Iterator[Row]:
    """Models that the settings offer and the server does not have."""
    there = sorted({device.model or "" for device in host.driver.inventory.devices})
    for model in (*settings.gpus.models, *(shares.model for shares in settings.gpus.shares)):
        if model not in there:
            advice = f"`gpus` may name {' or '.join(there)}; an empty list of models offers every one."
            yield Row("GPUs", State.WARNING, f"no {model} is here, though the settings offer it", advice)


def _shares(host: Host, settings: Settings) -> Iterator[Row]:
    """Whether GPUs that the settings divide are given out in shares."""
    gpus = settings.gpus
    if not gpus.shares:
        return
    shares = [device for device in divide(host.driver.inventory, gpus.shares).devices if device.share]
    cards = len({device.parent_uuid for device in shares})
    found = f"{len(shares)} of {cards} GPU{'' if cards == 1 else 's'}"
    if not host.unlimited:
        yield Row("Shares", State.OK, f"{found}, each kept to its memory")
    elif gpus.unsafe_sharing:
        advice = "One session can fill the GPU and end the others' work; MIG or a newer driver keep them apart."
        yield Row("Shares", State.WARNING, f"{found}, and nothing bounds their memory: {host.unlimited}", advice)
    else:
        advice = "Until then these GPUs are given out whole; `gpus.unsafe_sharing` gives shares out all the same."
        yield Row("Shares", State.WARNING, f"none: {host.unlimited}", advice)


def _toolkit(host: Host) -> Iterator[Row]:
    version = host.toolkit
    if not version:
        yield Row("Toolkit", State.OK, "not installed; not needed to attach GPUs")
    elif numbers(version) < TOOLKIT_WITH_CDI:
        yield Row("Toolkit", State.WARNING, f"nvidia-ctk {version}", "Upgrade to 1.14 or newer for CDI.")
    else:
        yield Row("Toolkit", State.OK, f"nvidia-ctk {version}")
    if not host.engine.answers:
        return
    devices = engine_facts(host.engine.info, host.engine.versions).cdi_devices
    if devices:
        yield Row("CDI", State.OK, f"{len(devices)} devices known to the engine")
    elif version and numbers(host.engine.version) >= (25, 0):
        advice = "Run `nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`, and again after a driver upgrade."
        yield Row("CDI", State.WARNING, "the engine knows no device", advice)
    else:
        yield Row("CDI", State.OK, "not available here")


def _mode(host: Host) -> Row:
    if host.mode.mode:
        return Row("Attach mode", State.OK, f"{host.mode.mode}: {host.mode.reason}")
    return Row("Attach mode", State.FAILED, host.mode.reason, "Without one, GPUs are not offered.")
