"""The spawn form: which values it shows, and its HTML.

Everything that depends on the moment (how many are free, who has the rest) is worded here once, in `gpu_rows`: the page
is rendered from it, and the open page is refreshed from it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from sciencebox import explain
from sciencebox.gpus import wording
from sciencebox.sessions.options import (
    ANY_GPU,
    FIELDS,
    NO_GPU,
    Offer,
    OptionsError,
    SessionOptions,
    parse_options,
    to_user_options,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sciencebox.sessions.options import GpuChoice

_MOST_NAMES = 5
_PASSED_OVER = "What the link asks for here is not on offer now; please choose."
_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Refused:
    """A form that was sent and not accepted: it is shown again as it was, with the error at its field."""

    entered: Mapping[str, Sequence[str]]
    error: OptionsError


@dataclass(frozen=True)
class GpuRow:
    """One line of the GPU choice in words. `gpu` is its value in the form, `most` how many may be asked for."""

    gpu: str
    title: str
    about: str
    numbers: str
    in_use: str
    free: int
    most: int


def options_form(
    offer: Offer,
    user: str,
    *,
    last: Mapping[str, Any] | None = None,
    link: Mapping[str, Sequence[str]] | None = None,
    refused: Refused | None = None,
) -> str:
    """The form's HTML for JupyterHub's `Spawner.options_form`.

    Shown chosen is, field by field, the first value still on offer of: what was just `refused`, the arguments of the
    `link` that led here, the `last` choice, the default.
    """
    link = link or _NOTHING
    sources = [refused.entered if refused else _NOTHING, link, last or _NOTHING]
    chosen = {name: str(value) for name, value in to_user_options(prefill(offer, *sources)).items()}
    errors = {}
    if refused:
        errors[refused.error.field] = refused.error.message
        if refused.error.field == "gpu_count":  # the one field that is typed: it keeps what was typed
            chosen["gpu_count"] = "".join(refused.entered.get("gpu_count", []))[:10]
    else:
        errors = dict.fromkeys(passed_over(offer, link), _PASSED_OVER)
    return render(offer, chosen, errors, user=user)


def prefill(offer: Offer, *sources: Mapping[str, Any]) -> SessionOptions:
    """For each field the first value in `sources` that the offer still has; else its default.

    A source may hold anything at all: what is unknown or no longer possible is passed over.
    """
    found: dict[str, Any] = {}
    for name in FIELDS:
        for source in sources:
            if name in source and _is_possible({**found, name: source[name]}, offer):
                found[name] = source[name]
                break
    return parse_options(found, offer)


def passed_over(offer: Offer, link: Mapping[str, Any]) -> list[str]:
    """Fields that a link asks for with a value that is not on offer (any more).

    How many of a GPU that is not there are wanted is not worth a word of its own.
    """
    fitting: dict[str, Any] = {}
    missing: list[str] = []
    for name in FIELDS:
        if name in link and _is_possible({**fitting, name: link[name]}, offer):
            fitting[name] = link[name]
        elif name in link and not (name == "gpu_count" and "gpu" in missing):
            missing.append(name)
    return missing


def render(offer: Offer, chosen: Mapping[str, str], errors: Mapping[str, str] = _NOTHING, *, user: str = "") -> str:
    """The fields of the form as HTML. `chosen` and `errors` are plain text by field; everything is escaped."""
    return _template().render(
        offer=offer,
        chosen=chosen,
        errors=errors,
        rows=gpu_rows(offer, user),
        sizes=[explain.size(size) for size in offer.memory_bytes],
        gpu_sizes=[explain.size(size) for size in offer.gpu_memory_bytes],
        most=max(1, offer.most_gpus(chosen.get("gpu", NO_GPU))),
        longest=f", after {wording.span(offer.longest_s)} at the latest" if offer.longest_s else "",
        has_cuda=any("_cuda" in stack for stack in offer.stacks),
    )


def gpu_rows(offer: Offer, user: str = "") -> list[GpuRow]:
    """The GPU choices in words, as `user` may know them."""
    return [
        GpuRow(
            gpu=choice.kind,
            title="Any GPU" if choice.kind == ANY_GPU else choice.kind,
            about=_about(choice, bounded=offer.shares_bounded),
            numbers=f"{choice.free} of {choice.total} free",
            in_use=_in_use(choice, user, readable=not offer.reason),
            free=choice.free,
            most=offer.most_gpus(choice.kind),
        )
        for choice in offer.gpu_choices
    ]


def gpu_facts(offer: Offer, user: str = "") -> dict[str, Any]:
    """What an open form is refreshed with, as JSON."""
    return {
        "gpus": [asdict(row) for row in gpu_rows(offer, user)],
        "reason": offer.reason,
        "simulated": offer.simulated,
    }


def _is_possible(raw: Mapping[str, Any], offer: Offer) -> bool:
    try:
        parse_options(raw, offer)
    except OptionsError:
        return False
    return True


def _about(choice: GpuChoice, *, bounded: bool) -> str:
    if choice.kind == ANY_GPU:
        return "the first that is free"
    if not choice.is_share:
        return _each(choice)
    if not bounded:
        return f"about {_each(choice)}, of a GPU that others use too: whoever takes more can end your work"
    return f"{_each(choice)}, of a GPU that others use too"


def _each(choice: GpuChoice) -> str:
    return f"{wording.gib(choice.memory_bytes)} each" if choice.memory_bytes else "memory unknown"


def _in_use(choice: GpuChoice, user: str, *, readable: bool) -> str:
    """Who has the others, and how many nobody can have. Empty where all are free."""
    parts = []
    if choice.held and choice.holders:
        parts.append(f"in use by {_people(choice.holders, user)}")
    elif choice.held:
        parts.append(f"{choice.held} in use")
    out = choice.total - choice.free - choice.held
    if out > 0 and readable:
        parts.append(f"{out} out of service")
    return ", ".join(parts)


def _people(names: Sequence[str], user: str) -> str:
    """Names in one phrase, the reader last; beyond a handful they are counted."""
    others = [name for name in names if name != user]
    shown, rest = others[:_MOST_NAMES], len(others) - _MOST_NAMES
    if rest > 0:
        shown.append("1 other" if rest == 1 else f"{rest} others")
    if user in names:
        shown.append("you")
    return " and ".join(part for part in (", ".join(shown[:-1]), *shown[-1:]) if part)


@cache
def _template() -> jinja2.Template:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("form.html")
