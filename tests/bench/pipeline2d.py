"""Feeding the networks in 2D: our input pipeline against MONAI's cached data set and Keras' ImageDataGenerator.

Each kind in a process of its own in the stack, in turn: `pipeline2d_torch` and `pipeline2d_keras` measure.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench import stack
from tests.bench.measure import in_turn
from tests.bench.texts import prose, ratios, spread

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.results import Figure

HERE = Path(__file__).parent
OURS, MONAI, WORKERS, KERAS = "ours", "MONAI, CacheDataset", "MONAI, with workers", "Keras, ImageDataGenerator"
PROGRAMS = {
    OURS: ("pytorch", "pipeline2d_torch.py", "ours"),
    MONAI: ("pytorch", "pipeline2d_torch.py", "monai"),
    WORKERS: ("pytorch", "pipeline2d_torch.py", "workers"),
    KERAS: ("tensorflow", "pipeline2d_keras.py"),
}
SHAPE = "128,16,5,8"  # pixels, filters, levels and batch of the size `quick`
FIGURES = ("first_s", "fed_per_s", "trained_per_s", "waiting")
MOST_ROUNDS = 3  # each takes a minute or two
WAITING = 0.05  # part of a step, at most


def compare(rounds: int, say: Callable[[str], None]) -> dict[str, dict[str, list[float]]]:
    """By kind and figure, round by round: seconds to the first batch, images a second, and the part spent waiting."""
    found: dict[str, dict[str, list[float]]] = {kind: {figure: [] for figure in FIGURES} for kind in PROGRAMS}
    with tempfile.TemporaryDirectory(prefix="sciencebox-bench-") as scratch:
        data = Path(scratch) / "heads"
        stack.run("pytorch", HERE / "pipeline2d_torch.py", "draw", data)
        for number in range(min(rounds, MOST_ROUNDS)):
            for kind in in_turn(tuple(PROGRAMS), number):
                environment, program, *what = PROGRAMS[kind]
                arguments = (*what, data) if what else (data, SHAPE)
                told = json.loads(stack.run(environment, HERE / program, *arguments).splitlines()[-1])
                for figure in FIGURES:
                    found[kind][figure].append(told[figure])
                say(f"round {number + 1}, {kind}: " + ", ".join(f"{name} {told[name]:.3g}" for name in FIGURES))
    return found


def versions() -> str:
    """What is measured."""
    asked = {"pytorch": ("torch", "monai"), "tensorflow": ("tensorflow-cpu", "keras")}
    code = "import importlib.metadata as m, sys; print(*(f'{n} {m.version(n)}' for n in sys.argv[1:]), sep=', ')"
    return ", ".join(stack.run(environment, "-c", code, *names).strip() for environment, names in asked.items())


def goals(figure: Figure) -> list[tuple[str, float, float, bool]]:
    """What was aimed at, what was measured, what is enough, and whether more is better."""
    values = figure["values"]
    waiting = statistics.median(values[OURS]["waiting"])
    against = [
        (f"2D, images a second of the input: {OURS} / {kind}", median(values, "fed_per_s", kind), 1.0, True)
        for kind in (MONAI, WORKERS, KERAS)
    ]
    return [("2D, part of a step spent waiting for data", waiting, WAITING, False), *against]


def section(figure: Figure) -> list[str]:
    """The part of the page."""
    values = figure["values"]
    rows = (
        f"| {kind} | {spread(of['first_s'], 1)} | {spread(of['fed_per_s'], 0)} | {spread(of['trained_per_s'], 1)} | "
        f"{spread([100 * one for one in of['waiting']], 1)} |"
        for kind, of in values.items()
    )
    compared = (
        f"| {OURS} / {kind} | {spread(ratios(values[OURS]['fed_per_s'], of['fed_per_s']), 1)} | "
        f"{spread(ratios(values[OURS]['trained_per_s'], of['trained_per_s']))} |"
        for kind, of in values.items()
        if kind != OURS
    )
    return [
        "## Feeding the networks in 2D\n",
        prose(
            "192 SYNTHETIC slices with masks of 64 heads, from files to a U-Net that learns: 128 x 128 pixels, 16 "
            "filters at first, five levels, a batch of 8, on the CPU. *Fed* is the input alone, *trained* with the "
            "steps; *waiting* is the part of a step that goes by before its batch is there. *Ours* (`brainmri train "
            "segmentation2d`) keeps all slices in memory and changes whole batches on the device. MONAI's data set "
            "keeps what is decoded, too, and changes image by image by transforms of the same kind (mirror, affine, "
            "elastic, bias field, brightness, contrast, noise), in the training's own process or with a worker for "
            "each core. Keras' generator reads the files in every epoch and only mirrors, turns, scales and shifts; "
            "its network is the same U-Net in TensorFlow, so *trained* there compares the frameworks, too."
        ),
        f"\n![{in_words(figure)}](images/bench-pipeline2d.svg)",
        "\n| input | first batch, s | fed, images/s | trained, images/s | waiting, % |\n|---|--:|--:|--:|--:|",
        *rows,
        "\n| round by round | fed | trained |\n|---|--:|--:|",
        *compared,
    ]


def in_words(figure: Figure) -> str:
    """What the picture shows, for who does not see it."""
    values = figure["values"]
    parts = [f"{kind} {statistics.median(of['fed_per_s']):.0f}" for kind, of in values.items()]
    waits = [f"{kind} {statistics.median(of['waiting']):.1%}" for kind, of in values.items()]
    return f"Images a second fed: {', '.join(parts)}. Part of a step spent waiting: {', '.join(waits)}"


def draw(figure: Figure, file: Path) -> None:
    """A bar for each kind: images a second, and the part of a step that is spent waiting."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    from tests.bench.picture import COLOURS, OPTIONS

    run, values = figure["run"], figure["values"]
    panels = (("fed_per_s", 1, "images a second, fed"), ("waiting", 100, "% of a step spent waiting"))
    with mpl.rc_context(OPTIONS):
        canvas = Canvas(figsize=(9, 2.4), layout="constrained")
        for axes, (name, factor, words) in zip(canvas.subplots(1, 2, sharey=True), panels, strict=True):
            medians = [factor * statistics.median(of[name]) for of in values.values()]
            bars = axes.barh(list(values), medians, color=[COLOURS[3], *[COLOURS[0]] * (len(values) - 1)])
            axes.bar_label(bars, [f"{one:.3g}" for one in medians], padding=3)
            axes.margins(x=0.15)
            axes.set_ylim(len(values) - 0.5, -0.5)
            axes.spines[["right", "top"]].set_visible(False)
            axes.set_xlabel(words)
        canvas.suptitle(f"Median of {figure['rounds']} rounds, {run['time']}\n{run['machine']}", fontsize=9)
        canvas.savefig(file, metadata={"Date": None})


def median(values: dict[str, Any], name: str, kind: str) -> float:
    """Of the ratios of ours to another kind, round by round."""
    return statistics.median(ratios(values[OURS][name], values[kind][name]))
