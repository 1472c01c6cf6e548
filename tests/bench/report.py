"""From the recorded figures to docs/benchmarks.md and its picture. Pure but for the writing of the two files."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from tests.bench.measure import OURS_CPU, PLAIN_OURS, PLAIN_PLAIN, STEPS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Recorded = dict[str, Any]

HEAD = """# Benchmarks

Measured by `make bench`, never written by hand: this page is made from `tests/bench/results.json`. Figures of a shared
machine vary; what compares is measured in turn, pair by pair, in one run. A figure is a median with the 10th and the
90th percentile.
"""


def page(results: Mapping[str, Recorded]) -> str:
    """The document."""
    parts = [HEAD]
    if found := results.get("click_to_ready"):
        parts += _click(found)
    if found := results.get("breakdown"):
        parts += _breakdown(found)
    if found := results.get("form"):
        parts += _form(found)
    if found := results.get("deploy"):
        parts += _deploy(found)
    if found := results.get("images"):
        parts += _images(found)
    return "\n".join(parts)


def goal(value: float, limit: float) -> str:
    """Whether a goal is reached, with both numbers."""
    return f"{'reached' if value <= limit else 'not reached'}: {value:.2f}, the goal is at most {limit:.2f}"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median of the ratios pair by pair."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median and the 10th and 90th percentile."""
    low, high = percentile(values, 10), percentile(values, 90)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def percentile(values: Sequence[float], percent: int) -> float:
    """By linear interpolation; of one value that value."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _click(recorded: Recorded) -> list[str]:
    times: dict[str, list[float]] = recorded["values"]
    same = ratios(times[OURS_CPU], times[PLAIN_OURS])
    other = ratios(times[OURS_CPU], times[PLAIN_PLAIN])
    rows = [f"| {kind} | {spread(values)} |" for kind, values in times.items()]
    return [
        "\n## From click to ready\n",
        "Seconds from the request for a session to the first answer of its server, through the routing proxy. *Plain* "
        "is JupyterHub with DockerSpawner as its documentation has it, on the same engine; the *plain image* is "
        "`pip install jupyterhub jupyterlab`, in the same versions.\n",
        f"| session | seconds, {len(times[OURS_CPU])} rounds |\n|---|---|",
        *rows,
        f"\n- Against plain DockerSpawner with our image: ratio {goal(same, 1.05)}.",
        f"- Against plain DockerSpawner with the plain image: ratio {goal(other, 0.4)}.",
        _where(recorded),
    ]


def _breakdown(recorded: Recorded) -> list[str]:
    times: dict[str, list[float]] = recorded["values"]
    rows = [f"| {step} | {spread(times[step], 3)} |" for step in STEPS]
    return [
        "\n## Where the time goes\n",
        "![The steps of a session's start as parts of a bar](images/bench-breakdown.svg)\n",
        "| step | seconds |\n|---|---|",
        *rows,
        "\n*grant*: request checked, GPU granted, home prepared; *create* and *start*: the engine; *import*: the "
        "server's program until the hub has seen it answer; *first 200*: until the client sees it.",
        _where(recorded),
    ]


def _form(recorded: Recorded) -> list[str]:
    rows = [
        f"| {kind} | {1000 * statistics.median(values):.0f} | {1000 * percentile(values, 95):.0f} | {len(values)} |"
        for kind, values in recorded["values"].items()
    ]
    alone = percentile(recorded["values"]["one reader"], 95)
    return [
        f"\n## The spawn form with {recorded['users']} users in the hub\n",
        "| | median, ms | 95th percentile, ms | requests |\n|---|---|---|---|",
        *rows,
        f"\nThe 95th percentile of one reader in seconds: {goal(alone, 0.1)}.",
        _where(recorded),
    ]


def _deploy(recorded: Recorded) -> list[str]:
    rows = [f"| {kind} | {seconds:.1f} |" for kind, seconds in recorded["values"].items()]
    return [
        "\n## `make deploy`\n",
        "The software stack was published before; images of a cold run are built from nothing but package indexes.\n",
        "| run | seconds |\n|---|---|",
        *rows,
        _where(recorded),
    ]


def _images(recorded: Recorded) -> list[str]:
    limits = {"session": 700, "hub": 500}
    rows = [f"| {name} | {size / 1e6:.0f} | {limits.get(name, '')} |" for name, size in recorded["values"].items()]
    return ["\n## Sizes of the images\n", "| image | MB | at most |\n|---|---|---|", *rows, _where(recorded)]


def _where(recorded: Recorded) -> str:
    return f"\n*{recorded['date']}, {recorded['machine']}.*"


def draw(recorded: Recorded, file: Path) -> None:
    """The breakdown as one stacked bar."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "sciencebox"  # the same figures draw the same file
    medians = [statistics.median(recorded["values"][step]) for step in STEPS]
    figure = Figure(figsize=(9, 1.9), layout="constrained")
    axes = figure.subplots()
    left = 0.0
    for step, width in zip(STEPS, medians, strict=True):
        axes.barh([0], [width], left=left, label=f"{step} {1000 * width:.0f} ms")
        left += width
    axes.set_yticks([])
    axes.set_xlabel("seconds after the request")
    axes.set_title(
        f"A session with one GPU, {len(recorded['values']['grant'])} starts\n{recorded['machine']}", fontsize=9
    )
    axes.legend(ncols=len(STEPS), loc="upper center", bbox_to_anchor=(0.5, -0.55), fontsize=8, frameon=False)
    figure.savefig(file, metadata={"Date": None})
