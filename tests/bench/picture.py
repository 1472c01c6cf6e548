"""The pictures of the benchmarks' page."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from tests.bench.measure import STEPS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.results import Figure

# Dark enough for white letters, and apart for people who see few colours.
COLOURS = ("#0072b2", "#56b4e9", "#009e73", "#d55e00", "#555555")

OPTIONS: Any = {"svg.hashsalt": "sciencebox", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}


def draw(breakdown: Figure, file: Path) -> None:
    """The steps of a start as one stacked bar; the same figures make the same file."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    run, rounds = breakdown["run"], breakdown["rounds"]
    medians = [statistics.median(breakdown["values"][step]) for step in STEPS]
    with mpl.rc_context(OPTIONS):
        canvas = Canvas(figsize=(9, 2.2), layout="constrained")
        axes = canvas.subplots()
        left = 0.0
        for step, width, colour in zip(STEPS, medians, COLOURS, strict=True):
            label = f"{step} {1000 * width:.0f} ms"
            axes.barh([0], [width], left=left, color=colour, edgecolor="white", label=label)
            left += width
        axes.set_yticks([])
        axes.spines[["left", "right", "top"]].set_visible(False)
        axes.set_xlim(0, left)
        axes.set_xlabel("seconds after the request (median of each step)")
        what = f"Start of a session with a GPU of the tests' driver, {rounds} starts, {run['time']}"
        axes.set_title(f"{what}\n{run['machine']}", fontsize=9)
        canvas.legend(ncols=len(STEPS), loc="outside lower center", frameon=False)
        canvas.savefig(file, metadata={"Date": None})


def draw_waits(replay: Figure, file: Path) -> None:
    """Which part of the sessions of a busy week waited how long, for both queues."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    with mpl.rc_context(OPTIONS):
        canvas = Canvas(figsize=(9, 3), layout="constrained")
        axes = canvas.subplots()
        for (name, waits), colour in zip(replay["values"]["waits_s"].items(), COLOURS[::3], strict=False):
            axes.step([wait / 3600 for wait in waits], range(101), where="post", color=colour, label=name)
        axes.spines[["right", "top"]].set_visible(False)
        axes.set(xlabel="hours waited at most", ylabel="% of the sessions", ylim=(0, 100), xlim=(0, 30))
        axes.set_title(f"Waits in {replay['rounds']} SYNTHETIC busy weeks, replayed", fontsize=9)
        axes.legend(frameon=False, loc="lower right")
        canvas.savefig(file, metadata={"Date": None})


def draw_bound(bound: Figure, file: Path) -> None:
    """A dot for each start of a session on a cluster, ours and plain, with the medians."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    run, times = bound["run"], bound["values"]
    with mpl.rc_context(OPTIONS):
        canvas = Canvas(figsize=(9, 2.2), layout="constrained")
        axes = canvas.subplots()
        for row, (values, colour) in enumerate(zip(times.values(), COLOURS[::3], strict=False)):
            found = [1000 * one for one in values]
            axes.plot(found, [row] * len(found), "o", color=colour, alpha=0.6)
            axes.plot([statistics.median(found)], [row], "|", color="black", markersize=24)
        axes.set_yticks(range(len(times)), list(times))
        axes.set_ylim(len(times) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.spines[["right", "top"]].set_visible(False)
        axes.set_xlabel("ms from the request to the pod's node (line: median)")
        axes.set_title(f"{len(found)} starts each, in turn, {run['time']}\n{run['machine']}", fontsize=9)
        canvas.savefig(file, metadata={"Date": None})
