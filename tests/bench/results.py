"""What is known so far: every figure with the run that it comes from, in tests/bench/results.json."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

Figure = dict[str, Any]  # `values`, `rounds`, `quick`, and `run`: see machine.conditions
Results = dict[str, Figure]


def read(file: Path) -> Results:
    """What was recorded; nothing before the first run."""
    found: Results = json.loads(file.read_text()) if file.exists() else {}
    return found


def write(file: Path, results: Results) -> None:
    """Record it whole or not at all: a run may be broken off at any time."""
    new = file.with_suffix(".new")
    new.write_text(json.dumps(results, indent=1) + "\n")
    new.replace(file)


def with_figure(results: Results, name: str, figure: Figure) -> Results:
    """The results with a new figure. That of a quick trial does not replace one that was measured properly."""
    earlier = results.get(name)
    if earlier and figure["quick"] and not earlier["quick"]:
        return results
    return {**results, name: figure}
