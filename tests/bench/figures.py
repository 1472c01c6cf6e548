"""What trained networks reached: result.json of their studies, kept in figures.json, rendered as docs/results.md.

python -m tests.bench.figures RUN/result.json ...    record these, and write the document anew
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.bench import figures3d

HERE = Path(__file__).parent
FILE, DOCUMENT = HERE / "figures.json", HERE.parents[1] / "docs/results.md"
TALK_DICE = 0.905

HEAD = f"""# Results

Made from the `result.json` that each study wrote; not a figure is typed. Every slice was asked about once, by a network
that never saw its patient or block. Intervals are 95 % percentiles of a bootstrap over patients or blocks. The learning
rate and the look of the synthetic heads were settled while these very slices were cross-validated: expect less
elsewhere. The rows with another seed, machine or data set were measured once, afterwards, with nothing
changed.

The talk on SWAN On-Premises (CERN, 2020) gives a Dice of {TALK_DICE} for its U-Net; how its slices were divided is not
said. A split by slices flatters (Yagis et al. 2021, doi 10.1038/s41598-021-01681-w), so the two cannot be compared."""
COLUMNS = ("Data", "Split", "Size", "Learnt before", "Seed", "n", "Dice", "Missed", "Hardware", "Time")


def row(result: dict[str, Any]) -> tuple[str, ...]:
    """One line of the table."""
    return (
        result["data"].removeprefix("Data: "),
        f"{result['split']}, {result['groups']} groups",
        result["size"],
        "synthetic heads, then masks" if result["pretrained"] else "masks alone",
        str(result["seed"]),
        str(result["n"]),
        f"{result['dice']:.2f} ({result['dice_low']:.2f} to {result['dice_high']:.2f})",
        str(result["missed"]),
        result["hardware"],
        f"{result['seconds'] / 60:.0f} min",
    )


def render(results: list[dict[str, Any]]) -> str:
    """The document."""
    flat, volumes = ([one for one in results if in_3d(one) == wanted] for wanted in (False, True))
    lines = [COLUMNS, ("---",) * len(COLUMNS), *map(row, flat)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    parts = [f"{HEAD}\n\n## Segmentation in 2D\n\n{table}\n{repeats(flat)}", figures3d.section(volumes)]
    return "\n".join(filter(None, parts))


def in_3d(result: dict[str, Any]) -> bool:
    """Whether a result is about regions of volumes rather than about slices."""
    return "regions" in result


def repeats(results: list[dict[str, Any]]) -> str:
    """How far apart the same training lands with another seed or on another machine; empty for a single one."""
    again: dict[tuple[Any, ...], list[float]] = {}
    for result in results:
        key = tuple(result[name] for name in ("data", "split", "size", "pretrained"))
        again.setdefault(key, []).append(result["dice"])
    said = [
        f"Size {key[2]}, {'with' if key[3] else 'without'} synthetic heads, was trained {len(dice)} times: "
        f"Dice {min(dice):.2f} to {max(dice):.2f}, mean {sum(dice) / len(dice):.2f}."
        for key, dice in again.items()
        if len(dice) > 1
    ]
    if not said:
        return ""
    return "\n".join(["", *said, "So few masks leave that much to chance; a single row is not to be quoted alone.", ""])


def record(known: list[dict[str, Any]], new: dict[str, Any]) -> list[dict[str, Any]]:
    """With a new result, which replaces the one of the same circumstances."""

    def circumstances(result: dict[str, Any]) -> tuple[Any, ...]:
        if in_3d(result):
            return figures3d.circumstances(result)
        return tuple(result[name] for name in ("data", "split", "size", "pretrained", "seed", "hardware"))

    return [one for one in known if circumstances(one) != circumstances(new)] + [new]


def main(*paths: str) -> None:
    """Record results and write the document."""
    results = json.loads(FILE.read_text()) if FILE.exists() else []
    for path in paths:
        results = record(results, json.loads(Path(path).read_text()))
    FILE.write_text(json.dumps(results, indent=1) + "\n")
    DOCUMENT.write_text(render(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
