"""Sessions that compute on the same cores at the same time: threads that sleep while they wait, and such as spin."""

from __future__ import annotations

import statistics
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciencebox.sessions.launch import thread_environment

from tests.bench import stack
from tests.bench.measure import in_turn
from tests.bench.texts import prose, ratios, spread
from tests.engine.rig import RigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.results import Figure

PROGRAM = Path(__file__).with_name("threads_torch.py")
ALONE, TOGETHER = "alone", "two at once"
OURS, PLAIN = "as sessions have it", "as OpenMP does by itself"
SECONDS = 10
CORES = 2  # of each session
MOST_ROUNDS = 5


def compare(rounds: int, say: Callable[[str], None]) -> dict[str, dict[str, list[float]]]:
    """Steps a second, of all trainings together, by how many there are and by how threads wait; round by round."""
    found: dict[str, dict[str, list[float]]] = {many: {OURS: [], PLAIN: []} for many in (ALONE, TOGETHER)}
    for number in range(min(rounds, MOST_ROUNDS)):
        for kind in in_turn((OURS, PLAIN), number):
            for many, count in ((ALONE, 1), (TOGETHER, 2)):
                speed = sum(_trained(count, kind))
                found[many][kind].append(speed)
                say(f"round {number + 1}, {many}, {kind}: {speed:.2f} steps/s")
    return found


def versions() -> str:
    """What is measured."""
    return stack.run("pytorch", "-c", "import torch; print('torch', torch.__version__)").strip()


def goals(figure: Figure) -> list[tuple[str, float, float, bool]]:
    """What was aimed at, what was measured, what is enough, and whether more is better."""
    limits = {ALONE: 0.9, TOGETHER: 1.0}
    return [
        (f"Training on the CPU, {many}: {OURS} / {PLAIN}", statistics.median(_ratios(figure, many)), limit, True)
        for many, limit in limits.items()
    ]


def section(figure: Figure) -> list[str]:
    """The part of the page."""
    rows = (
        f"| {many} | {spread(of[OURS])} | {spread(of[PLAIN])} | {spread(_ratios(figure, many))} |"
        for many, of in figure["values"].items()
    )
    return [
        "## Sessions that compute at the same time\n",
        prose(
            f"Steps a second, of all trainings together, of the U-Net of size `quick` (128 x 128 pixels, 16 filters, "
            f"five levels, a batch of 8) with {CORES} threads each, by one training and by two on the same cores. A "
            "session's threads sleep while they wait for one another (`OMP_WAIT_POLICY=passive`); by itself OpenMP "
            "lets them spin, which takes the time away from those that they wait for where others compute, too."
        ),
        f"\n| trainings | {OURS} | {PLAIN} | round by round |\n|---|--:|--:|--:|",
        *rows,
    ]


def _ratios(figure: Figure, many: str) -> list[float]:
    of = figure["values"][many]
    return ratios(of[OURS], of[PLAIN])


def _trained(count: int, kind: str) -> list[float]:
    """Steps a second of each of `count` trainings that measure at the same time. Raises RigError."""
    cores = thread_environment(CORES)
    environment = cores if kind == OURS else {"OMP_NUM_THREADS": cores["OMP_NUM_THREADS"]}
    command, environ = stack.command("pytorch", PROGRAM, str(SECONDS))
    environ = {name: value for name, value in environ.items() if not name.startswith("OMP_")} | environment
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with ExitStack() as ending:
        running = [ending.enter_context(subprocess.Popen(command, env=environ, **pipes)) for _ in range(count)]
        for one in running:
            ending.callback(one.kill)
        for one in running:
            if one.stdout is None or one.stdout.readline().strip() != "ready":
                raise RigError(f"{PROGRAM.name} ended before it was ready")
        for one in running:
            if one.stdin:
                one.stdin.write("\n")
                one.stdin.flush()
        return [float(one.communicate()[0]) for one in running]
