"""Pictures of two scans of a patient, and a report of one page for whoever looks after the patient's data."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib import rc_context

from brainmri.followup import GONE, KEPT, NEW, WARNING
from brainmri.view import BLUE, GREEN, GREY, ORANGE, STYLE, finished, side
from brainmri.volume import cut

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from brainmri.data import Plane, Source
    from brainmri.followup import Change, Scan

A4 = (8.27, 11.69)
COLOURS = {NEW: ORANGE, GONE: BLUE, KEPT: GREEN}
OUTLINE = "#f0e442"  # of a mask: none of the colours that say what changed
WORDS = {NEW: "new", GONE: "gone", KEPT: "unchanged"}


def overlay(baseline: Scan, change: Change, source: Source, *, columns: int = 4) -> Figure:
    """Slices with the most change: the baseline, the follow-up laid over it, and what is new, gone and unchanged."""
    shown = most_changed(change, columns)
    with rc_context(STYLE):
        figure, axes = plt.subplots(3, len(shown), figsize=(2.1 * len(shown), 7.4), squeeze=False)
        _fill(axes, baseline, change, shown)
        _legend(figure)
        return finished(figure, source, "Slices with the most change, seen from below")


def over_time(days: Sequence[float], ml: Sequence[float], source: Source, *, title: str = "") -> Figure:
    """The volume by day; two scans make a line, and no line goes beyond the last scan."""
    with rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(5.6, 3.4))
        _plot(axis, days, ml)
        axis.set_title(title)
        return finished(figure, source)


def orthogonal(baseline: Scan, change: Change, source: Source) -> Figure:
    """The map of change in three planes through the middle of all that is in either mask."""
    middle = np.round(np.mean(np.nonzero(change.map), axis=1)).astype(int) if change.map.any() else (0, 0, 0)
    planes: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
    places = dict(zip(("sagittal", "coronal", "axial"), map(int, middle), strict=True))
    with rc_context(STYLE):
        figure, axes = plt.subplots(1, 3, figsize=(8.4, 3.6))
        for axis, plane in zip(axes, planes, strict=True):
            _picture(axis, baseline, baseline.image.values, plane, places[plane])
            _coloured(axis, change, baseline, plane, places[plane])
            axis.set_title(plane, fontsize=9, loc="center")
        _legend(figure)
        return finished(figure, source)


def report(baseline: Scan, change: Change, source: Source, patient: str) -> Figure:
    """One page of A4: volumes, pictures, the change in words, how it was found, and that it is no medical device."""
    shown = most_changed(change, 4)
    figure = plt.figure(figsize=A4)
    figure.text(0.07, 0.955, "Follow-up of a tumour's volume", fontsize=17, weight="bold")
    figure.text(0.07, 0.932, f"Patient {patient}", fontsize=11, parse_math=False)
    if source.synthetic:
        box = {"facecolor": ORANGE, "edgecolor": "none", "pad": 4}
        figure.text(0.93, 0.955, "SYNTHETIC", ha="right", fontsize=12, weight="bold", color="white", bbox=box)
    grid = figure.add_gridspec(3, len(shown), left=0.07, right=0.93, top=0.9, bottom=0.47, hspace=0.06, wspace=0.04)
    _fill(np.array([[figure.add_subplot(grid[row, column]) for column in range(len(shown))] for row in range(3)]),
          baseline, change, shown)  # fmt: skip
    for place, (kind, colour) in enumerate(COLOURS.items()):
        figure.text(0.07 + 0.12 * place, 0.452, f"\N{BLACK SQUARE} {WORDS[kind]}", color=colour, fontsize=9)
    plot = figure.add_axes((0.12, 0.235, 0.36, 0.175))
    _plot(plot, (0.0, change.days if change.days > 0 else 1.0), (change.baseline_ml, change.follow_up_ml))
    if change.days <= 0:
        plot.set_xticks([0, 1], ["baseline", "follow-up"])
        plot.set_xlabel("")
    said = "\n".join(textwrap.fill(sentence, 46) for sentence in change.sentences())
    figure.text(0.53, 0.41, said, fontsize=9.5, va="top", linespacing=1.45)
    how = change.registration
    details = (
        f"Laid over each other: {how.method}, correlation {how.before:.2f} before and {how.after:.2f} after. "
        f"Voxels of the baseline: {' x '.join(f'{edge:.2f}' for edge in baseline.image.spacing)} mm. "
        "Volumes are those of the masks, each on its own scan; their error is that of whoever drew them."
    )
    figure.text(0.07, 0.165, textwrap.fill(details, 112), fontsize=8, va="top", color=GREY)
    figure.text(0.07, 0.105, textwrap.fill(WARNING, 72), fontsize=11, weight="bold", color=ORANGE, va="top")
    figure.text(0.07, 0.045, textwrap.fill(source.credit, 120), fontsize=7, color=GREY, va="top", parse_math=False)
    plt.close(figure)
    return figure


def write_pdf(figure: Figure, path: Path) -> None:
    """Store a page whole: beside the file first, then moved over it."""
    from matplotlib.backends.backend_pdf import PdfPages

    unfinished = path.with_name(f".new-{path.name}")
    with PdfPages(unfinished, metadata={"Title": "Follow-up of a tumour's volume", "Subject": WARNING}) as pages:
        pages.savefig(figure)
    unfinished.replace(path)


def most_changed(change: Change, count: int) -> list[int]:
    """Axial slices, bottom first: those with the most change, apart from each other; the middle one where none is."""
    amount = ((change.map == NEW) | (change.map == GONE)).sum(axis=(0, 1)).astype(float)
    amount += 0.1 * (change.map == KEPT).sum(axis=(0, 1))
    if not amount.any():
        return [change.map.shape[2] // 2]
    places: list[int] = []
    apart = max(1, int(np.count_nonzero(amount) / (2 * count)))
    for index in np.argsort(-amount, kind="stable"):
        if amount[index] and len(places) < count and all(abs(index - other) >= apart for other in places):
            places.append(int(index))
    return sorted(places)


def _fill(axes: NDArray[Any], baseline: Scan, change: Change, shown: Sequence[int]) -> None:
    rows = ("baseline and its mask", "follow-up and its mask", "change")
    for column, index in enumerate(shown):
        for row, name in enumerate(rows):
            axis = axes[row, column]
            image = change.follow_up.values if row == 1 else baseline.image.values
            _picture(axis, baseline, image, "axial", index)
            if column == 0:
                axis.text(-0.04, 0.5, name, rotation=90, ha="right", va="center", transform=axis.transAxes, fontsize=9)
            if row == len(rows) - 1:
                _coloured(axis, change, baseline, "axial", index)
                continue
            kinds = (KEPT, GONE) if row == 0 else (KEPT, NEW)
            mask = cut(np.isin(change.map, kinds), "axial", index)
            if mask.any():
                axis.contour(mask, levels=[0.5], colors=[OUTLINE], linewidths=1.2)


def _picture(axis: Axes, baseline: Scan, values: NDArray[np.float32], plane: Plane, index: int) -> None:
    x, y, z = baseline.image.spacing
    aspect = {"axial": y / x, "coronal": z / x, "sagittal": z / y}[plane]
    brightest = max(float(np.percentile(values, 99.7)), 1e-6)
    axis.imshow(cut(values, plane, index), cmap="gray", vmin=0, vmax=brightest, aspect=aspect)
    axis.set_axis_off()
    side(axis, plane)


def _coloured(axis: Axes, change: Change, baseline: Scan, plane: Plane, index: int) -> None:
    from matplotlib.colors import to_rgb

    kinds = cut(change.map, plane, index)
    colour = np.zeros((*kinds.shape, 4))
    for kind, name in COLOURS.items():
        colour[kinds == kind] = (*to_rgb(name), 0.6)
    x, y, z = baseline.image.spacing
    axis.imshow(colour, aspect={"axial": y / x, "coronal": z / x, "sagittal": z / y}[plane], interpolation="nearest")


def _legend(figure: Figure) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=colour, label=WORDS[kind]) for kind, colour in COLOURS.items()]
    figure.axes[-1].legend(handles=handles, loc="lower right", fontsize=7, framealpha=0.8)


def _plot(axis: Axes, days: Sequence[float], ml: Sequence[float]) -> None:
    axis.plot(days, ml, marker="o", color=BLUE, linewidth=2)
    for day, amount in zip(days, ml, strict=True):
        axis.annotate(f"{amount:.1f} ml", (day, amount), (0, 8), textcoords="offset points", ha="center")
    axis.set(xlabel="days", ylabel="ml", ylim=(0, 1.25 * max(*ml, 0.1)))
    axis.margins(x=0.18)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#dddddd")
