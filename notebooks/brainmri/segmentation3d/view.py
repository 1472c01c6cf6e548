"""Figures of volumes: three planes with core and oedema over them, surfaces, curves, and families side by side.

Planes are shown as radiologists look at them, and say by a letter what is on the left.
"""

from __future__ import annotations

import html
from colorsys import hsv_to_rgb
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib import rc_context
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex, to_rgba
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from scipy import ndimage

from brainmri.segmentation3d.cases import REGIONS
from brainmri.view import BLUE, GREEN, GREY, ORANGE, STYLE, finished, side
from brainmri.volume import cut

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from IPython.display import HTML
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from brainmri.data import Plane, Source
    from brainmri.segmentation3d.inference import Answer
    from brainmri.segmentation3d.report import Result
    from brainmri.segmentation3d.samples import Sample

    Place = tuple[int, int, int]

PLANES: dict[Plane, int] = {"axial": 2, "coronal": 1, "sagittal": 0}
COLOURS = (ORANGE, BLUE, GREEN, "#cc79a7", "#f0e442", "#56b4e9")  # of the first regions, in their order
FAMILY_COLOURS = (BLUE, GREEN, ORANGE, "#cc79a7", GREY)
OPAQUE, CLEAR = 0.7, 0.2  # surfaces: of the first region, and of those that may lie around it
LARGEST_SPREAD = 0.5  # that numbers from 0 to 1 can have
NAMES = {"t1": "T1", "t1ce": "T1 after contrast", "t2": "T2", "flair": "FLAIR"}


def colours(count: int) -> list[str]:
    """One for each region, those of many regions around the circle of hues."""
    if count <= len(COLOURS):
        return list(COLOURS[:count])
    return [to_hex(hsv_to_rgb(number / count, 0.55 + 0.45 * (number % 2), 0.95)) for number in range(count)]


def middle(labels: NDArray[np.uint8]) -> Place:
    """The voxel through which planes show most tumour; the volume's middle where there is none."""
    tumour = labels > 0
    if not tumour.any():
        return tuple(edge // 2 for edge in labels.shape)  # type: ignore[return-value]
    counts = (tumour.sum(axis=tuple({0, 1, 2} - {axis})) for axis in range(3))
    return tuple(int(count.argmax()) for count in counts)  # type: ignore[return-value]


def modalities(sample: Sample, source: Source, *, title: str = "", regions: Sequence[str] = REGIONS) -> Figure:
    """The modalities of a case in an axial plane through most of its mask, and its mask over the last."""
    at = middle(_labels(sample))
    count = len(sample.images)
    with rc_context(STYLE):
        figure, axes = plt.subplots(1, count + 1, figsize=(2.2 * (count + 1), 3.1))
        for axis, image, name in zip(axes, sample.images, sample.case.images, strict=False):
            _show(axis, image, at, "axial")
            axis.set_title(NAMES.get(name, name), fontsize=9, loc="center")
        _show(axes[-1], sample.images[-1], at, "axial")
        _cover(axes[-1], _labels(sample), at, "axial", regions)
        axes[-1].set_title("its mask", fontsize=9, loc="center")
        _legend(axes[-1], regions)
        return finished(figure, source, title)


def planes(
    sample: Sample,
    rows: Mapping[str, NDArray[Any]],
    source: Source,
    *,
    modality: str = "flair",
    title: str = "",
    regions: Sequence[str] = REGIONS,
) -> Figure:
    """A row for each entry, in three planes, over one modality: labels (integers) as colours, other values as heat.

    Those are standard deviations of a probability.
    """
    at = middle(_labels(sample) if sample.labels is not None else next(iter(rows.values())))
    image = sample.images[tuple(sample.case.images).index(modality)]
    with rc_context(STYLE):
        figure, axes = plt.subplots(len(rows), 3, figsize=(8.4, 2.75 * len(rows) + 0.9), squeeze=False)
        for line, (name, values) in zip(axes, rows.items(), strict=True):
            for axis, plane in zip(line, PLANES, strict=True):
                _show(axis, image, at, plane)
                if np.issubdtype(values.dtype, np.integer):
                    _cover(axis, values, at, plane, regions)
                else:
                    _heat(axis, values, at, plane)
                axis.set_title(f"{name}, {plane}", fontsize=9, loc="center")
            if not np.issubdtype(values.dtype, np.integer):
                scale = ScalarMappable(Normalize(0, LARGEST_SPREAD), "inferno")
                figure.colorbar(scale, ax=list(line), shrink=0.8, label="standard deviation\nof the probability")
        if any(np.issubdtype(values.dtype, np.integer) for values in rows.values()):
            _legend(axes[0, 2], regions)
        return finished(figure, source, title)


def answered(sample: Sample, answer: Answer, result: Result, *, title: str) -> Figure:
    """A case as it was drawn and found, and how far ways of asking differ, if there were several; its Dice and ml."""
    rows: dict[str, NDArray[Any]] = {"drawn": _labels(sample), "found": result.labels(sample, answer)}
    if answer.spread.any():
        rows["spread"] = answer.spread.max(axis=0)
    found = result.found[sample.case.name]
    dice = ", ".join(f"{region} {found[region].dice:.2f}" for region in result.names)
    ml = ", ".join(f"{name} {found[name].volume_ml:.1f} ({found[name].true_ml:.1f})" for name in result.names)
    title = f"{title}: {sample.case.name}, Dice {dice}\nml found (drawn): {ml}"
    modality = tuple(sample.case.images)[-1]
    return planes(sample, rows, result.source, modality=modality, title=title, regions=result.names)


def surfaces(
    labels: Mapping[str, NDArray[np.uint8]], spacing: float, source: Source, regions: Sequence[str] = REGIONS
) -> Figure:
    """Regions as surfaces in space, a panel for each entry; all but the first are transparent."""
    from skimage.measure import marching_cubes

    painted = colours(len(regions))
    with rc_context(STYLE):
        figure, axes = plt.subplots(
            1, len(labels), figsize=(4.6 * len(labels), 4.4), subplot_kw={"projection": "3d"}, squeeze=False
        )
        box = np.any([one > 0 for one in labels.values()], axis=0)
        ends = [
            np.flatnonzero(box.any(axis=tuple({0, 1, 2} - {axis})))[[0, -1]] if box.any() else (0, 1)
            for axis in range(3)
        ]
        for axis, (name, values) in zip(axes.flat, labels.items(), strict=True):
            for region in range(len(regions), 0, -1):
                inside = np.pad(ndimage.binary_fill_holes(values == region), 1).astype(np.float32)
                if inside.any():
                    points, faces, _, _ = marching_cubes(inside, 0.5)
                    x, y, z = (points - 1).T * spacing
                    alpha = OPAQUE if region == 1 else CLEAR
                    axis.plot_trisurf(x, y, faces, z, color=painted[region - 1], alpha=alpha, linewidth=0)
            for set_range, (first, last) in zip((axis.set_xlim, axis.set_ylim, axis.set_zlim), ends, strict=True):
                set_range(first * spacing, (last + 1) * spacing)
            axis.set_box_aspect([last - first + 1 for first, last in ends])
            axis.set(xlabel="right, mm", ylabel="front, mm", zlabel="up, mm", title=name)
        _legend(axes[0, 0], regions, "upper left")
        return finished(figure, source)


def curves(
    series: Mapping[str, Mapping[str, Sequence[float]]], source: Source, *, guess: float | None = None
) -> Figure:
    """A panel for each entry, in it a line for each series of values, by epoch; `guess` is a level worth a line."""
    with rc_context(STYLE):
        figure, axes = plt.subplots(1, len(series), figsize=(4.2 * len(series), 3.3), squeeze=False)
        for axis, (title, lines) in zip(axes.flat, series.items(), strict=True):
            for (name, values), colour in zip(lines.items(), cycle(FAMILY_COLOURS), strict=False):
                axis.plot(np.arange(1, len(values) + 1), values, marker=".", color=colour, label=name)
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            axis.set(xlabel="epoch", title=title)
            axis.legend(fontsize=8)
        if guess is not None:
            axes.flat[-1].axhline(guess, color=GREY, linestyle=":", label="guessing")
            axes.flat[-1].legend(fontsize=8)
        return finished(figure, source)


def families(results: Mapping[str, Result], source: Source) -> Figure:
    """Dice of each case as a dot, by region and way of training, with the mean and its interval."""
    with rc_context(STYLE):
        names = next(iter(results.values())).names
        figure, axes = plt.subplots(1, len(names), figsize=(4.6 * len(names), 3.9), sharey=True, squeeze=False)
        for axis, region in zip(axes.flat, names, strict=True):
            for place, (result, colour) in enumerate(zip(results.values(), cycle(FAMILY_COLOURS), strict=False)):
                values, summed = result.dice(region), result.regions[region]
                spread = place + np.linspace(-0.18, 0.18, len(values)) if len(values) > 1 else [place]
                axis.plot(spread, values, "o", color=colour, alpha=0.4, markersize=4)
                error = [[summed["dice"] - summed["dice_low"]], [summed["dice_high"] - summed["dice"]]]
                axis.errorbar(place, summed["dice"], error, fmt="_", color=colour, lw=2, ms=16, mew=2, capsize=4)
            axis.set_xticks(range(len(results)), list(results), rotation=18, fontsize=8)
            axis.set(ylim=(-0.03, 1.03), title=region[0].upper() + region[1:])
            axis.grid(axis="y", color="#dddddd")
        axes[0, 0].set_ylabel("Dice")
        return finished(figure, source, "A dot a case; the bar is the mean with its 95 % interval")


def table(rows: Sequence[Mapping[str, str]]) -> HTML:
    """Rows with the same names as a table, a column for each row: few ways of training, many figures."""
    from IPython.display import HTML

    lines = []
    for number, name in enumerate(rows[0]):
        tag = "th" if number == 0 else "td"
        cells = "".join(f'<{tag} style="text-align:left">{html.escape(row[name])}</{tag}>' for row in rows)
        lines.append(f'<tr><th scope="row" style="text-align:left">{html.escape(name)}</th>{cells}</tr>')
    return HTML(f"<table>{''.join(lines)}</table>")  # type: ignore[no-untyped-call]


def _labels(sample: Sample) -> NDArray[np.uint8]:
    if sample.labels is None:
        raise ValueError(f"{sample.case.name} has no mask to be shown")
    return sample.labels


def _cut(values: NDArray[Any], at: Place, plane: Plane) -> NDArray[Any]:
    return cut(values, plane, at[PLANES[plane]])


def _show(axis: Axes, image: NDArray[np.float32], at: Place, plane: Plane) -> None:
    image = image.astype(np.float32)
    low, high = np.percentile(image[image != 0], [1, 99.5]) if image.any() else (0.0, 1.0)
    shown = np.where(image == 0, low, image)
    axis.imshow(_cut(shown, at, plane), cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    axis.set_axis_off()
    side(axis, plane)


def _cover(axis: Axes, labels: NDArray[np.uint8], at: Place, plane: Plane, regions: Sequence[str]) -> None:
    shown = _cut(labels, at, plane)
    painted = np.zeros((*shown.shape, 4))
    for region, colour in enumerate(colours(len(regions)), start=1):
        painted[shown == region] = to_rgba(colour, 0.55)
    axis.imshow(painted, interpolation="nearest")


def _heat(axis: Axes, values: NDArray[np.float32], at: Place, plane: Plane) -> None:
    share = np.clip(_cut(values, at, plane) / LARGEST_SPREAD, 0, 1)
    axis.imshow(share, cmap="inferno", vmin=0, vmax=1, alpha=np.sqrt(share), interpolation="nearest")


def _legend(axis: Axes, regions: Sequence[str], place: str = "lower right") -> None:
    shown = zip(regions, colours(len(regions)), strict=True)
    patches = [Patch(color=colour, label=name) for name, colour in shown]
    axis.legend(handles=patches, fontsize=7, loc=place)
