"""What this session has, in the words of the spawner that started it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciencebox_session import environment

if TYPE_CHECKING:
    from collections.abc import Mapping

# What is known of a server that no hub described: nothing, and nothing is guessed.
UNKNOWN: dict[str, Any] = {
    "release": None,
    "view": None,
    "until": None,
    "cores": None,
    "memory_bytes": None,
    "gpus": [],
    "simulated": False,
    "attach": None,
}


def read(environ: Mapping[str, str], now: float) -> dict[str, Any]:
    """What `described` says, and in `no_kernels` why the stack gives none; None where it gives some. Looks there.

    `script` is a sentence on what went wrong with the user's environment script, else None.
    """
    facts = described(environ, now)
    script = environ.get(environment.PROBLEM)
    return facts | {"no_kernels": _no_kernels(facts["release"], facts["view"]), "script": script}


def described(environ: Mapping[str, str], now: float) -> dict[str, Any]:
    """The session's facts from `SCIENCEBOX_SESSION`; no file is looked at.

    `problem` is a sentence for the user when the description is missing or unreadable, else None. `seconds_left` is how
    long the session may run from `now` on, both times in seconds since the epoch.
    """
    facts = UNKNOWN.copy()
    problem = None
    try:
        given = json.loads(environ["SCIENCEBOX_SESSION"])
        facts |= {key: given[key] for key in UNKNOWN}
    except KeyError:
        problem = "This server was not told what it has: it was started outside of ScienceBox, or by another version."
    except (ValueError, TypeError):
        problem = "The description of this session can't be read. Stop the server and start it again."
    left = None if facts["until"] is None else max(0.0, facts["until"] - now)
    return facts | {"seconds_left": left, "problem": problem}


def _no_kernels(release: str | None, view: str | None) -> str | None:
    """Why the session's stack has no kernels, None when it has some."""
    if not view:
        return (
            "No kernels are available: this session was started without a software stack. "
            "Start it again with a stack, or ask your administrator to publish one."
        )
    name = release or Path(view).name
    try:
        if any((Path(view) / "share/jupyter/kernels").glob("*/kernel.json")):
            return None
        found = Path(view).is_dir()
    except OSError as error:
        return f"No kernels are available: the software stack {name} can't be read ({error.strerror})."
    if not found:
        return f"No kernels are available: the software stack {name} is not at {view}. Tell your administrator."
    return f"No kernels are available: the software stack {name} has none. Tell your administrator."
