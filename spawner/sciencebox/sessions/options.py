"""What a user may ask for, and the check of what was asked. Pure: values in, values or an OptionsError out.

The spawn form, its URL arguments and `user_options` of JupyterHub's REST API are read by the same `parse_options`, so
that no way in is checked less than another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import ByteSize, TypeAdapter

from sciencebox import explain
from sciencebox.gpus.device import fraction_of_kind
from sciencebox.sessions.stack import natural
from sciencebox.settings import GIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sciencebox.gpus.broker import Availability
    from sciencebox.settings import Settings

NO_GPU = "none"
ANY_GPU = "any"
FIELDS = ("stack", "cores", "memory", "gpu", "gpu_count", "gpu_memory")
ANY_MEMORY = "any"

_LONGEST_VALUE = 200
_SIZE = TypeAdapter(ByteSize)
_WHOLE_NUMBER = re.compile(r"[0-9]{1,15}")  # not str.isdigit, which takes digits of every script
_PRINTABLE_FIELD = re.compile(r"[A-Za-z0-9_.-]{1,40}")


class OptionsError(ValueError):
    """A field of the spawn form, or of the API's `user_options`, cannot be accepted.

    `message` is plain text that says what is allowed. It never repeats the value that was sent.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


@dataclass(frozen=True)
class GpuChoice:
    """One line of the GPU choice: a kind of device (model, or model with MIG profile or share), or `any` of them.

    `holders` are the users who hold the `held` devices; empty where names are not shown. What is neither free nor
    held is out of service. `most` is how many of them one session can have; None is all.
    """

    kind: str
    memory_bytes: int | None
    free: int
    total: int
    held: int = 0
    holders: tuple[str, ...] = ()
    most: int | None = None

    @property
    def is_share(self) -> bool:
        """Whether it is a part of a GPU that other sessions have at the same time."""
        return fraction_of_kind(self.kind) < 1


@dataclass(frozen=True)
class Offer:
    """What this deployment offers at one moment; made from settings, inventory and ledger.

    `gpus` are the kinds that may be chosen by name; `any_gpu` counts every device but shares, and is None where
    there is none. `shares_bounded` is whether each share is kept to its memory.
    `gpu_memory_bytes` is what may be asked for at least of any GPU; empty where all have the same.
    `longest_s` is how long a session may keep a GPU, None without limit; `hours` says what is used of a quota, `queue`
    what to know of a queue that is not ours.
    `reason` is one sentence on why no GPU can be had now. The first of `stacks` is the default; it may be empty, and
    `stack_fault` is what cannot be read of what should be there; `stack_notes` are what to know of the others,
    `environments` what each has, where it tells.
    `where` is what has all this.
    """

    stacks: tuple[str, ...]
    cores: tuple[int, ...]
    memory_bytes: tuple[int, ...]
    default_cores: int
    default_memory_bytes: int
    gpus: tuple[GpuChoice, ...] = ()
    any_gpu: GpuChoice | None = None
    gpu_memory_bytes: tuple[int, ...] = ()
    max_gpus: int = 1
    shares_bounded: bool = True
    longest_s: float | None = None
    hours: str = ""
    queue: str = ""
    simulated: bool = False
    reason: str = ""
    stack_fault: str = ""
    stack_notes: tuple[str, ...] = ()
    environments: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    where: str = "this server"

    @property
    def gpu_choices(self) -> tuple[GpuChoice, ...]:
        """What may be chosen instead of no GPU, in the order of the form."""
        return (self.any_gpu, *self.gpus) if self.any_gpu else self.gpus

    def most_gpus(self, gpu: str) -> int:
        """How many GPUs of this choice one session may ask for; 0 where the choice is not offered."""
        choice = next((choice for choice in self.gpu_choices if choice.kind == gpu), None)
        if choice is None:
            return 0
        return min(self.max_gpus, choice.total if choice.most is None else choice.most)


@dataclass(frozen=True)
class SessionOptions:
    """A validated request for a session."""

    stack: str  # a release, or "" where none is published
    cores: int
    memory_bytes: int
    gpu: str = NO_GPU  # "none", "any" or the kind of a GpuChoice
    gpu_count: int = 0  # 0 exactly when gpu is "none"
    gpu_memory_bytes: int | None = None  # at least, where gpu is "any"


@dataclass(frozen=True)
class Machine:
    """What the server, or the largest node, has; nothing more is offered, whatever the settings say."""

    cores: int
    memory_bytes: int


@dataclass(frozen=True)
class Nodes:
    """What is otherwise where a session runs on one of many nodes.

    `most` is by kind how many GPUs one node has; `any_kinds` are the kinds that somebody may get who asks for any.
    """

    most: Mapping[str, int]
    any_kinds: frozenset[str]


def make_offer(
    settings: Settings,
    availability: Sequence[Availability],
    releases: Mapping[str, tuple[str, ...]],
    *,
    reason: str = "",
    stack_fault: str = "",
    machine: Machine | None = None,
    nodes: Nodes | None = None,
) -> Offer:
    """What may be chosen now.

    `availability` is the broker's count by kind, `releases` what is published under /cvmfs, each with its environments,
    `reason` why nothing can be granted and `stack_fault` what of it cannot be read, where that is so. `nodes` is given
    where there are many.
    """
    where = "this cluster" if nodes else "this server"
    cores = _within(settings.sessions.cores.choices, machine.cores if machine else None)
    memory = _within(settings.sessions.memory.choices, machine.memory_bytes if machine else None)
    show = settings.gpus.show_holders
    choices = [_choice(found.kind, [found], show, nodes) for found in availability]
    of_any = [found for found in availability if found.kind in nodes.any_kinds] if nodes else _not_shares(availability)
    wanted = settings.gpus.models
    return Offer(
        stacks=_default_first(settings, list(releases), on_gpu=bool(choices)),
        cores=cores,
        memory_bytes=memory,
        default_cores=min(settings.sessions.cores.default, cores[-1]),
        default_memory_bytes=min(int(settings.sessions.memory.default), memory[-1]),
        gpus=tuple(choice for choice in choices if not wanted or _is_one_of(choice.kind, wanted)),
        any_gpu=_choice(ANY_GPU, of_any, show, nodes) if of_any else None,
        gpu_memory_bytes=_sizes(of_any),
        max_gpus=settings.gpus.max_per_session,
        simulated=settings.gpus.simulate > 0,
        reason=reason or ("" if choices else f"No GPU was found on {where}."),
        stack_fault=stack_fault,
        environments=releases,
        where=where,
    )


def parse_options(raw: Mapping[str, object], offer: Offer) -> SessionOptions:
    """Check a request against what is offered.

    `raw` comes from a form (each value a list of one string) or from JSON (strings and whole numbers). A missing field
    takes its default. Raises OptionsError for the first field that is unknown, malformed or not on offer.
    """
    for name in raw:
        if name not in FIELDS:
            shown = name if _PRINTABLE_FIELD.fullmatch(name) else "options"
            raise OptionsError(shown, f"There is no such field; those known are {', '.join(FIELDS)}.")
    given = {name: _single(name, value) for name, value in raw.items()}
    gpu = _parse_gpu(given, offer)
    return SessionOptions(
        stack=_parse_stack(given, offer),
        cores=_parse_choice(given, "cores", offer.cores, offer.default_cores, lambda cores: f"{cores}"),
        memory_bytes=_parse_choice(given, "memory", offer.memory_bytes, offer.default_memory_bytes, explain.size),
        gpu=gpu,
        gpu_count=_parse_count(given, gpu, offer),
        gpu_memory_bytes=_parse_gpu_memory(given, gpu, offer),
    )


def to_user_options(options: SessionOptions) -> dict[str, str | int]:
    """The request as the JSON that `parse_options` reads; JupyterHub keeps it as the user's last choice."""
    return {
        "stack": options.stack,
        "cores": options.cores,
        "memory": explain.size(options.memory_bytes),
        "gpu": options.gpu,
        "gpu_count": options.gpu_count,
        "gpu_memory": explain.size(options.gpu_memory_bytes) if options.gpu_memory_bytes else ANY_MEMORY,
    }


def least_memory(user_options: Mapping[str, str | int]) -> int | None:
    """How much memory a GPU has to have for options of `to_user_options`, in bytes."""
    text = user_options.get("gpu_memory", ANY_MEMORY)
    return None if text == ANY_MEMORY else int(_SIZE.validate_python(text))


# Reading one field


def _single(field: str, value: object) -> str:
    """One value as text, whether it came as such, as a number or as a form's list of one."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise OptionsError(field, "Give one text or one whole number.")
    if isinstance(value, int) and abs(value) >= 10**15:  # str() of an enormous number is slow, or refused
        raise OptionsError(field, "The number is too large.")
    text = str(value)
    if len(text) > _LONGEST_VALUE:
        raise OptionsError(field, f"The value is too long; at most {_LONGEST_VALUE} characters are read.")
    return text


def _parse_stack(given: Mapping[str, str], offer: Offer) -> str:
    stack = given.get("stack", offer.stacks[0] if offer.stacks else "")
    if stack in offer.stacks or not (stack or offer.stacks):
        return stack
    if not offer.stacks:
        none = offer.stack_fault or f"No software stack is published on {offer.where}."
        raise OptionsError("stack", f"{none} Leave the field out.")
    raise OptionsError("stack", f"Choose {_either(offer.stacks)}.")


def _parse_choice(
    given: Mapping[str, str], field: str, offered: Sequence[int], default: int, shown: Callable[[int], str]
) -> int:
    """One of several numbers, given as such or as the form shows it (`4 GiB`)."""
    if field not in given:
        return default
    text = _compact(given[field])
    for choice in offered:
        if text in {str(choice), _compact(shown(choice))}:
            return choice
    raise OptionsError(field, f"Choose {_either([shown(choice) for choice in offered])}.")


def _parse_gpu(given: Mapping[str, str], offer: Offer) -> str:
    if "gpu" not in given:
        if given.get("gpu_count", "0") != "0":
            raise OptionsError("gpu", f"Say which GPU is meant by gpu_count: {_either(_gpu_names(offer))}.")
        return NO_GPU
    gpu = given["gpu"]
    if gpu in _gpu_names(offer):
        return gpu
    if not offer.gpu_choices:
        raise OptionsError("gpu", f"{offer.reason} Choose none.")
    raise OptionsError("gpu", f"Choose {_either(_gpu_names(offer))}.")


def _parse_count(given: Mapping[str, str], gpu: str, offer: Offer) -> int:
    most = offer.most_gpus(gpu)
    text = given.get("gpu_count", "1")
    count = int(text) if _WHOLE_NUMBER.fullmatch(text) else -1
    if gpu == NO_GPU:
        # A form that shows how many also sends that number when no GPU is chosen.
        if 0 <= count <= offer.max_gpus:
            return 0
        raise OptionsError("gpu_count", "Without a GPU this is 0, or left out.")
    if 1 <= count <= most:
        return count
    if most == 0:
        raise OptionsError("gpu", "None of these works at the moment; choose another one, or try again later.")
    if most == 1:
        raise OptionsError("gpu_count", f"Only 1 is possible: {_limit(gpu, offer)}.")
    raise OptionsError("gpu_count", f"Choose a whole number from 1 to {most}: {_limit(gpu, offer)}.")


def _parse_gpu_memory(given: Mapping[str, str], gpu: str, offer: Offer) -> int | None:
    text = given.get("gpu_memory", ANY_MEMORY)
    if text == ANY_MEMORY:
        return None
    if not offer.gpu_memory_bytes:
        raise OptionsError("gpu_memory", "All GPUs here have the same memory; leave the field out.")
    sizes = {explain.size(size): size for size in offer.gpu_memory_bytes}
    least = next((size for name, size in sizes.items() if _compact(name) == _compact(text)), None)
    if least is None:
        raise OptionsError("gpu_memory", f"Choose {_either([ANY_MEMORY, *sizes])}.")
    # A form that shows the sizes also sends one when another GPU is chosen, whose memory is known.
    return least if gpu == ANY_GPU else None


def _limit(gpu: str, offer: Offer) -> str:
    if offer.most_gpus(gpu) == offer.max_gpus:
        return f"a session may hold {offer.max_gpus} at most"
    where = offer.where if offer.where == "this server" else "the largest node"
    return f"{where} has {offer.most_gpus(gpu)}{'' if gpu == ANY_GPU else f' x {gpu}'}"


def _gpu_names(offer: Offer) -> list[str]:
    return [NO_GPU, *(choice.kind for choice in offer.gpu_choices)]


def _either(names: Sequence[str]) -> str:
    return " or ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def _compact(text: str) -> str:
    return text.replace(" ", "").casefold()


# Making an offer


def _within(choices: Iterable[int], most: int | None) -> tuple[int, ...]:
    """Choices in ascending order that the server can fulfil; the smallest in any case."""
    ordered = sorted({int(choice) for choice in choices})
    return tuple(choice for choice in ordered if most is None or choice <= most) or (ordered[0],)


def _choice(kind: str, found: Sequence[Availability], show_holders: bool, nodes: Nodes | None) -> GpuChoice:
    """Devices of one kind, or of several taken together."""
    holdings = [holding for part in found for holding in part.holdings]
    return GpuChoice(
        kind=kind,
        memory_bytes=found[0].memory_bytes if len(found) == 1 else None,
        free=sum(part.free for part in found),
        total=sum(part.total for part in found),
        held=len({holding.uuid for holding in holdings}),
        holders=tuple(sorted({holding.user for holding in holdings})) if show_holders else (),
        most=max(nodes.most[part.kind] for part in found) if nodes else 1 if not _not_shares(found) else None,
    )


def _not_shares(found: Sequence[Availability]) -> list[Availability]:
    """Who asks for any GPU does not mean a part of one."""
    return [part for part in found if fraction_of_kind(part.kind) == 1]


def _sizes(found: Sequence[Availability]) -> tuple[int, ...]:
    """In whole GiB, without the smallest, which every GPU has."""
    sizes = {part.memory_bytes // GIB * GIB for part in found if part.memory_bytes}
    return tuple(sorted(sizes))[1:]


def _is_one_of(kind: str, models: Sequence[str]) -> bool:
    """Whether a kind is a model, or a part of a model, that the settings name."""
    return any(kind == model or kind.startswith((f"{model} MIG ", f"{model} 1/")) for model in models)


def _default_first(settings: Settings, releases: Sequence[str], *, on_gpu: bool) -> tuple[str, ...]:
    """Published releases, newest first; before them the one of the settings, with CUDA where GPUs can use it."""
    cuda = settings.stack.variant == "cuda" or (settings.stack.variant == "auto" and on_gpu)
    plain = settings.stack.release
    default = f"{plain}_cuda" if cuda and f"{plain}_cuda" in releases else plain
    newest_first = sorted(set(releases), key=natural, reverse=True)
    return tuple(sorted(newest_first, key=lambda release: (release != default, release != plain)))
