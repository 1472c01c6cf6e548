"""The broker's answers in plain sentences for the user who waits for them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sciencebox.gpus.device import Health

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sciencebox.gpus.device import Device

_WITHOUT = "A session without a GPU can be started as usual."


def driver_unreadable(reason: str) -> str:
    """The driver is there and does not tell what it has."""
    return f"No GPU can be given out now, because the NVIDIA driver cannot be read: {_end(reason)} {_WITHOUT}"


def engine_unreadable(reason: str) -> str:
    """It is not known who holds what."""
    return (
        "No GPU can be given out now, because it is not known which ones are in use: "
        f"the container engine cannot be read ({reason.rstrip('.')}). Try again in a minute. {_WITHOUT}"
    )


def no_gpu(reason: str) -> str:
    """The server has none."""
    return " ".join(part for part in ("This server has no GPU to give out.", _end(reason), _WITHOUT) if part)


def impossible(devices: Sequence[Device], candidates: Sequence[Device], count: int, kind: str | None) -> str:
    """Which limit the request exceeds, and what would be within it."""
    alike = [device for device in devices if kind in {None, device.kind}]
    if not alike:
        return f"There is no {kind} on this server; it has {_listing(devices)}."
    if len(alike) >= count > 1 and not kind and all(device.mig_profile for device in alike):
        return "A program can use only one MIG instance at a time; ask for one GPU, or name the kind of instance."
    if len(alike) >= count and not candidates:
        largest = max((device.memory_bytes or 0 for device in alike), default=0)
        return f"No {kind or 'GPU'} here has as much memory; the largest has {gib(largest)}."
    fitting = candidates or alike
    return f"{_number(count, kind)} were asked for; of those that fit, this server has {len(fitting)}."


def unfit(reasons: Sequence[tuple[Device, str]]) -> str:
    """Why devices that nobody of this service holds are not given out."""
    parts = "; ".join(f"GPU {device.index} ({device.kind}) {why}" for device, why in reasons)
    return f"Too few GPUs can be given out now: {parts}."


def busy(count: int, free: int, kind: str | None, holders: Collection[str] | None, user: str) -> str:
    """Who could free one; `holders` is None where names are not shown."""
    if holders is None:
        by = "other sessions"
    else:
        others = sorted(set(holders) - {user})
        by = _and([*others, *(["your own session"] if user in holders else [])])
    have = "none is" if free == 0 else f"{free} {'is' if free == 1 else 'are'}"
    return f"{_number(count, kind)} asked for, {have} free: in use by {by}. Try again when one of them stops."


def unhealthy(device: Device) -> str:
    """The state of a device that is not granted because of its health."""
    state = {
        Health.SUSPECT: "is suspect",
        Health.QUARANTINED: "is in quarantine",
        Health.DRAINED: "was taken out of service by the administrator",
    }.get(device.health, "is not healthy")
    return f"{state}: {device.health_reason.rstrip('.')}" if device.health_reason else state


def used_outside(device: Device) -> str:
    """Somebody uses the device without having asked this service."""
    pids = sorted({process.pid for process in device.processes})
    return f"is in use by {_number_of_programs(pids)} that this service did not start"


def just_freed() -> str:
    """A device whose last reading is older than the end of its last session."""
    return "was given back a moment ago and is looked at again within seconds"


def gib(size_bytes: int) -> str:
    """A size of memory as people say it, in GiB."""
    return f"{size_bytes / 1024**3:.3g} GiB"


def _number(count: int, kind: str | None) -> str:
    if kind:
        return f"{count} x {kind}"
    return "1 GPU" if count == 1 else f"{count} GPUs"


def _number_of_programs(pids: Sequence[int]) -> str:
    if len(pids) == 1:
        return f"a program (process {pids[0]})"
    return f"{len(pids)} programs (processes {', '.join(map(str, pids))})"


def _listing(devices: Sequence[Device]) -> str:
    return _and([f"{number} x {kind}" for kind, number in Counter(device.kind for device in devices).items()])


def _and(parts: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(parts[:-1]), *parts[-1:]) if part)


def _end(sentence: str) -> str:
    return sentence if sentence.endswith((".", "?", "!")) or not sentence else f"{sentence}."
