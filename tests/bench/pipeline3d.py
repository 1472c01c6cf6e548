"""An epoch of a 3D U-Net from files: our input pipeline against the one of MONAI's BraTS tutorial, and that one cached.

Each in a process of its own in the stack, in turn: `pipeline3d_torch` measures.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import stack
from tests.bench.measure import in_turn
from tests.bench.texts import prose, ratios, spread

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.results import Figure

PROGRAM = Path(__file__).with_name("pipeline3d_torch.py")
OURS, TUTORIAL, CACHED = "ours", "MONAI's tutorial", "MONAI's tutorial, cached"
KINDS = {OURS: "ours", TUTORIAL: "tutorial", CACHED: "cached"}
FIGURES = ("ready_s", "epoch_s", "waiting", "not_convolving", "peak_bytes")
MOST_ROUNDS = 3  # each takes minutes
FASTER = 2.0  # times, at least, than the tutorial


def compare(rounds: int, say: Callable[[str], None]) -> dict[str, dict[str, list[float]]]:
    """By kind and figure, round by round: seconds, parts of an epoch, and bytes."""
    found: dict[str, dict[str, list[float]]] = {kind: {figure: [] for figure in FIGURES} for kind in KINDS}
    with tempfile.TemporaryDirectory(prefix="sciencebox-bench-") as scratch:
        data = Path(scratch) / "cases"
        stack.run("pytorch", PROGRAM, "draw", data)
        for number in range(min(rounds, MOST_ROUNDS)):
            for kind in in_turn(tuple(KINDS), number):
                told = json.loads(stack.run("pytorch", PROGRAM, KINDS[kind], data).splitlines()[-1])
                for figure in FIGURES:
                    found[kind][figure].append(told[figure])
                say(f"round {number + 1}, {kind}: " + ", ".join(f"{name} {told[name]:.3g}" for name in FIGURES))
    return found


def versions() -> str:
    """What is measured."""
    code = "import importlib.metadata as m; print(*(f'{n} {m.version(n)}' for n in ('torch', 'monai')), sep=', ')"
    return stack.run("pytorch", "-c", code).strip()


def goals(figure: Figure) -> list[tuple[str, float, float, bool]]:
    """What was aimed at, what was measured, what is enough, and whether more is better."""
    return [(f"3D, seconds an epoch: {TUTORIAL} / {OURS}", statistics.median(faster(figure, TUTORIAL)), FASTER, True)]


def faster(figure: Figure, kind: str) -> list[float]:
    """How many times as long an epoch of another kind takes as one of ours, round by round."""
    return ratios(figure["values"][kind]["epoch_s"], figure["values"][OURS]["epoch_s"])


def section(figure: Figure) -> list[str]:
    """The part of the page."""
    rows = (
        f"| {kind} | {spread(of['ready_s'], 1)} | {spread(of['epoch_s'], 1)} | {_percent(of['waiting'])} | "
        f"{_percent(of['not_convolving'])} | {statistics.median(of['peak_bytes']) / 1e9:.1f} |"
        for kind, of in figure["values"].items()
    )
    return [
        "## An epoch of a 3D U-Net\n",
        prose(
            "8 SYNTHETIC cases of four modalities with voxels of 1 mm, from compressed NIfTI files to the U-Net of "
            "size `quick`, a patch of 48 voxels' edge of each case in an epoch, two in a batch, on the CPU. "
            "Network, loss and optimiser are the same. *Ours* (`brainmri train segmentation3d`) reads every case "
            "once, before the first epoch, and keeps it on the network's grid; *MONAI's tutorial* has the "
            "transforms of its tutorial on BraTS, which read the files in every epoch, in a process for each core; "
            "*cached* is the same with MONAI's CacheDataset, which reads them once. *Waiting* is the part of an "
            "epoch in which the network has no batch, *no convolution* the part that is spent on anything else. "
            "Memory is that of all processes together, what they share counted once. The larger the patches, the "
            "more of an epoch is convolution, whatever feeds it."
        ),
        f"\n![{in_words(figure)}](images/bench-pipeline3d.svg)",
        "\n| input | until the first epoch, s | an epoch, s | waiting | no convolution | memory, GB |",
        "|---|--:|--:|--:|--:|--:|",
        *rows,
        "\n| round by round | an epoch |\n|---|--:|",
        *(f"| {kind} / {OURS} | {spread(faster(figure, kind))} |" for kind in (TUTORIAL, CACHED)),
    ]


def in_words(figure: Figure) -> str:
    """What the picture shows, for who does not see it."""
    parts = [
        f"{kind} {statistics.median(of['epoch_s']):.1f} s, of which the network waits {_percent(of['waiting'])}"
        for kind, of in figure["values"].items()
    ]
    return f"An epoch of a 3D U-Net: {'; '.join(parts)}"


def draw(figure: Figure, file: Path) -> None:
    """A bar for each kind: seconds of an epoch, those of waiting apart."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    from tests.bench.picture import COLOURS, OPTIONS

    run, values = figure["run"], figure["values"]
    seconds = [statistics.median(of["epoch_s"]) for of in values.values()]
    waits = [statistics.median(of["waiting"]) * one for of, one in zip(values.values(), seconds, strict=True)]
    learns = [one - wait for one, wait in zip(seconds, waits, strict=True)]
    with mpl.rc_context(OPTIONS):
        canvas = Canvas(figsize=(9, 2.2), layout="constrained")
        axes = canvas.subplots()
        axes.barh(list(values), learns, color=COLOURS[0], label="the network learns")
        bars = axes.barh(list(values), waits, left=learns, color=COLOURS[3], label="the network waits")
        axes.bar_label(bars, [f"{one:.1f} s" for one in seconds], padding=3)
        axes.margins(x=0.1)
        axes.invert_yaxis()
        axes.spines[["right", "top"]].set_visible(False)
        axes.set_xlabel("seconds of an epoch")
        axes.legend(loc="lower right", frameon=False)
        canvas.suptitle(f"Median of {figure['rounds']} rounds, {run['time']}\n{run['machine']}", fontsize=9)
        canvas.savefig(file, metadata={"Date": None})


def _percent(values: list[float]) -> str:
    return f"{100 * statistics.median(values):.0f} %"
