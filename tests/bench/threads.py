"""A training on cores that others use, too: threads that sleep while they wait for one another, and such as spin."""

from __future__ import annotations

import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from sciencebox.sessions.launch import thread_environment

from tests.bench import stack
from tests.bench.measure import in_turn
from tests.bench.texts import prose, ratios, spread
from tests.engine.rig import RigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.results import Figure

PROGRAM = Path(__file__).with_name("threads_torch.py")
ALONE, BESIDE, AMONG = "alone", "beside one program that computes", "beside four"
OTHERS = {ALONE: 0, BESIDE: 1, AMONG: 4}  # each with a thread that is never done
OURS, PLAIN = "as sessions have it", "as OpenMP does by itself"
SECONDS = 10
CORES = 2  # of the session, and those that it runs on
MOST_ROUNDS = 5


def compare(rounds: int, say: Callable[[str], None]) -> dict[str, dict[str, list[float]]]:
    """Steps a second of a training, by what computes beside it and by how its threads wait; round by round."""
    found: dict[str, dict[str, list[float]]] = {where: {OURS: [], PLAIN: []} for where in OTHERS}
    for number in range(min(rounds, MOST_ROUNDS)):
        for kind in in_turn((OURS, PLAIN), number):
            for where, others in OTHERS.items():
                found[where][kind].append(_trained(kind, others))
                say(f"round {number + 1}, {where}, {kind}: {found[where][kind][-1]:.2f} steps/s")
    return found


def versions() -> str:
    """What is measured."""
    return stack.run("pytorch", "-c", "import torch; print('torch', torch.__version__)").strip()


def goals(figure: Figure) -> list[tuple[str, float, float, bool]]:
    """What was aimed at, what was measured, what is enough, and whether more is better."""
    limits = {ALONE: 0.95, BESIDE: 1.0, AMONG: 1.0}
    return [
        (f"Training on the CPU, {where}: {OURS} / {PLAIN}", statistics.median(_ratios(figure, where)), limit, True)
        for where, limit in limits.items()
    ]


def section(figure: Figure) -> list[str]:
    """The part of the page."""
    rows = (
        f"| {where} | {spread(of[OURS])} | {spread(of[PLAIN])} | {spread(_ratios(figure, where))} |"
        for where, of in figure["values"].items()
    )
    return [
        "## Training on cores that others use, too\n",
        prose(
            f"Steps a second of the U-Net of size `quick` (128 x 128 pixels, 16 filters, five levels, a batch of 8) "
            f"with {CORES} threads, while programs with one thread each compute on the same {CORES} cores. A session's "
            "threads sleep while they wait for one another (`OMP_WAIT_POLICY=passive`); by itself OpenMP lets them "
            "spin, also for one that cannot run because of the other programs. Who sleeps has to be woken, which is "
            "the price where nobody else computes."
        ),
        f"\n| the training runs | {OURS} | {PLAIN} | round by round |\n|---|--:|--:|--:|",
        *rows,
    ]


def _ratios(figure: Figure, where: str) -> list[float]:
    of = figure["values"][where]
    return ratios(of[OURS], of[PLAIN])


def _trained(kind: str, others: int) -> float:
    """Steps a second beside so many other programs. Raises RigError."""
    cores = thread_environment(CORES)
    environment = cores if kind == OURS else {"OMP_NUM_THREADS": cores["OMP_NUM_THREADS"]}
    command, environ = stack.command("pytorch", PROGRAM, str(SECONDS))
    spinning = ("OMP_", "GOMP_")  # the kernels of the stack have threads that do not spin, too
    environ = {name: value for name, value in environ.items() if not name.startswith(spinning)} | environment
    with ExitStack() as ending:
        training = ending.enter_context(
            subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        ending.callback(training.kill)
        if training.stdout is None or training.stdout.readline().strip() != "ready":
            raise RigError(f"{PROGRAM.name} ended before it was ready")
        for _ in range(others):
            busy = ending.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            ending.callback(busy.kill)
        return float(training.communicate("\n")[0])
