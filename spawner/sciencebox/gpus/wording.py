"""The broker's answers in plain sentences for the user who waits for them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sciencebox.gpus.device import Health

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sciencebox.gpus.device import Device

OTHERS_WAIT = "Others wait for a GPU now, so the session cannot be extended."
NO_EXTENSION = "This session cannot be extended: it has no time limit, or as much time as it may have."

_NAMED = 5  # how many people a sentence names
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
    if count > 1 and kind and all(device.share for device in alike):
        return "A session can have one share of a GPU; ask for one."
    if not kind and all(device.share for device in alike):
        return f"The GPUs here are given out in shares; ask for one by name: {_listing(devices)}."
    if len(alike) >= count and not candidates:
        largest = max((device.memory_bytes or 0 for device in alike), default=0)
        return f"No {kind or 'GPU'} here has as much memory; the largest has {gib(largest)}."
    fitting = candidates or alike
    return f"{number(count, kind)} were asked for; of those that fit, this server has {len(fitting)}."


def unfit(reasons: Sequence[tuple[Device, str]]) -> str:
    """Why devices that nobody of this service holds are not given out."""
    parts = "; ".join(f"GPU {device.index} ({device.kind}) {why}" for device, why in reasons)
    return f"Too few GPUs can be given out now: {parts}."


def position(place: int, waiting: int) -> str:
    """Where a session stands in the queue."""
    return "You are next" if place == 1 else f"You are number {place} of {waiting} in the queue"


def ahead(number: int, users: Sequence[str] | None) -> str:
    """Who is before a session; `users` is None where names are not shown."""
    if not number:
        return "Nobody is ahead of you."
    if users is None:
        return f"{number} {'other is' if number == 1 else 'others are'} ahead of you."
    return f"Ahead of you: {_and(_some(users))}."


def in_use(holders: Sequence[str] | None, user: str) -> str:
    """Who has the GPUs, each once; None where names are not shown."""
    if holders is None:
        return "The GPUs are in use by other sessions."
    others = [name for name in holders if name != user]
    own = ["your own session"] if len(others) < len(holders) else []
    return f"The GPUs are in use by {_and([*_some(others), *own])}." if holders else ""


def basis(*, known: bool) -> str:
    """What the estimate of a start is made from."""
    if known:
        return "if every session before yours runs to its time limit; most end earlier"
    return "It cannot be told when a GPU is free: a session that has one has no time limit, or a GPU is out of service."


def place_lost(grace_s: float) -> str:
    """A user was away for too long."""
    return f"Your place in the queue was given up, because its page was closed for {span(grace_s)}."


def time_over(longest_s: float) -> str:
    """Why a session was stopped."""
    return f"Your last session was stopped after {span(longest_s)}, its time limit. Your files are as you left them."


def idle_too_long(idle_s: float) -> str:
    """Why a session was stopped."""
    why = f"its GPU had computed nothing for {span(60 * round(idle_s / 60))}"
    return f"Your last session was stopped, because {why}. Your files are as you left them."


def quota_used(limit_s: float, back_in_s: float) -> str:
    """Why a user gets no GPU for now."""
    return (
        f"You have used up your {_hours(limit_s)} of the last 7 days. The first of them come back in about "
        f"{about(back_in_s)}. A session without a GPU starts at any time."
    )


def quota_left(limit_s: float, used_s: float) -> str:
    """How much of a quota is used."""
    return f"You have used {used_s / 3600:.1f} of your {_hours(limit_s)} of the last 7 days."


def quota_unreadable() -> str:
    """The books cannot be read."""
    return "How many GPU hours you have left cannot be read at the moment; try again in a minute."


def about(seconds: float) -> str:
    """A time to the nearest day, hour or minute, by its size."""
    for size in (86_400, 3_600):
        if seconds >= 2 * size:
            number = round(seconds / size)
            return f"{number} {'days' if size == 86_400 else 'hours'}"
    return span(seconds)


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.3g} GPU hours"


def span(seconds: float) -> str:
    """A time as people say it, in whole hours or in minutes."""
    minutes = round(seconds / 60)
    for unit, size in (("hour", 60), ("minute", 1)):
        if minutes % size == 0 and minutes >= size:
            return f"{minutes // size} {unit}{'' if minutes == size else 's'}"
    return "less than a minute"


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


def number(count: int, kind: str | None) -> str:
    """What is asked for."""
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


def _some(names: Sequence[str]) -> list[str]:
    """A handful by name, the others by their number."""
    return [*names[:_NAMED], *([f"{len(names) - _NAMED} more"] if len(names) > _NAMED else [])]


def _end(sentence: str) -> str:
    return sentence if sentence.endswith((".", "?", "!")) or not sentence else f"{sentence}."
