"""The sections of docs/benchmarks.md on a cluster, beside `report`. Pure."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from tests.bench.bound import OURS, PLAIN
from tests.bench.cluster import CHURN_S, GPUS, NODES, WAITING
from tests.bench.texts import percentile, prose, ratios, spread

if TYPE_CHECKING:
    from tests.bench.results import Figure

FORM_MS = 150
BOUND = 1.1  # ratio of the times from click to bound


def form_goal(figure: Figure) -> tuple[str, float, float]:
    """What was aimed at, what was measured, and what is enough."""
    slow = 1000 * percentile(figure["values"]["form"], 95)
    return f"Form, {NODES} nodes, {WAITING} waiting: 95th percentile, ms", slow, FORM_MS


def bound_goal(figure: Figure) -> tuple[str, float, float]:
    """The same of the start of a session."""
    times = figure["values"]
    return f"Click to bound: {OURS} / {PLAIN}", statistics.median(ratios(times[OURS], times[PLAIN])), BOUND


def form(figure: Figure) -> list[str]:
    """The spawn form."""
    values = figure["values"]
    text = (
        f"A real API server with {NODES} nodes of {GPUS} GPUs, {NODES * GPUS:,} pods that hold one each "
        f"and {WAITING} that wait; nodes and pods only pretend. `GET /hub/spawn` while every {CHURN_S:g} s a pod comes "
        f"and one goes, {len(values['form'])} times: median {1000 * statistics.median(values['form']):.0f} ms, 95th "
        f"percentile {1000 * percentile(values['form'], 95):.0f} ms. The hub used {1000 * values['cpu'][0]:.0f} ms of "
        f"processor time a request, all that it did meanwhile included, and {values['hub_bytes'][0] / 1e6:.0f} MB of "
        f"memory. The requests caused {values['lists'][0]:.0f} list calls at the API server."
    )
    return ["## The spawn form on a large cluster\n", prose(text)]


def bound(figure: Figure) -> list[str]:
    """From the request for a session to its pod's node."""
    times = figure["values"]
    return [
        "## From click to bound on a cluster\n",
        prose(
            "Milliseconds from the request for a session with a GPU (`POST /hub/api/users/NAME/server`) until its pod "
            "is bound to a node, as a watch of the API server tells it. Both hubs are of the same JupyterHub, ask the "
            "same real API server and scheduler for pods of the same resources, in turn, and have nothing else to do; "
            "*plain* is KubeSpawner as it comes, whose pods have less in them: no /dev/shm, no uid of the user's own. "
            "The node only pretends."
        ),
        f"\n![{bound_in_words(figure)}](images/bench-bound.svg)",
        "\n| spawner | ms |\n|---|---|",
        *(f"| {kind} | {spread([1000 * one for one in values], 0)} |" for kind, values in times.items()),
        f"\n{OURS} / {PLAIN}, start by start: {spread(ratios(times[OURS], times[PLAIN]))}.".replace("ours", "Ours"),
    ]


def bound_in_words(figure: Figure) -> str:
    """What the picture shows, for who does not see it."""
    parts = [f"{kind}: median {1000 * statistics.median(values):.0f} ms" for kind, values in figure["values"].items()]
    return f"A dot for each start, in two rows. {'; '.join(parts)}"
