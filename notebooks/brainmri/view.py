"""Figures that name their data. Synthetic data says so on each.

Each function returns a finished figure; a notebook shows it as the value of its cell. Colours are those of Okabe and
Ito (2008), which people with colour-blindness can tell apart; what a colour says is also said in words.
"""

from __future__ import annotations

import html
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib import rc_context
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from brainmri.metrics import roc_curve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from IPython.display import HTML
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    from brainmri.data import Plane, Source
    from brainmri.metrics import Confusion, Interval

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#777777"
STYLE: dict[Any, Any] = {
    "figure.dpi": 110,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "legend.framealpha": 0.9,
    "legend.edgecolor": "none",
    "figure.constrained_layout.use": True,
}
TITLES = {"loss": "Loss", "auc": "AUC", "dice": "Dice"}
CREDIT_LINE, BANNER = 0.14, 0.25  # inches


def montage(
    pixels: NDArray[np.float32],
    captions: Sequence[str],
    source: Source,
    *,
    title: str = "",
    columns: int = 6,
    colours: Sequence[str] | None = None,
) -> Figure:
    """Slices side by side, each with its caption; `pixels` has shape (n, height, width)."""
    rows = max(1, -(-len(pixels) // columns))
    lines = 1 + max((caption.count("\n") for caption in captions), default=0)
    height = rows * (1.65 + 0.2 * lines) + 0.75
    with rc_context(STYLE):
        figure, axes = plt.subplots(rows, columns, figsize=(1.75 * columns, height), squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for index, (axis, image) in enumerate(zip(axes.flat, pixels, strict=False)):
            axis.imshow(image, cmap="gray", vmin=0, vmax=max(float(np.percentile(image, 99.7)), 1e-6))
            axis.set_title(captions[index], fontsize=9, loc="center", color=colours[index] if colours else "black")
        return finished(figure, source, title)


def outlines(
    pixels: NDArray[np.float32],
    truth: NDArray[np.bool_],
    found: NDArray[np.bool_] | None,
    captions: Sequence[str],
    source: Source,
    *,
    title: str = "",
    columns: int = 6,
) -> Figure:
    """Slices with the border of the drawn mask (blue) and of the found one (orange); all (n, height, width)."""
    figure = montage(pixels, captions, source, title=title, columns=columns)
    for axis, drawn, seen in zip(figure.axes, truth, truth if found is None else found, strict=False):
        for mask, colour in ((drawn, BLUE), (seen, ORANGE))[: 1 if found is None else 2]:
            if mask.any():
                axis.contour(mask, levels=[0.5], colors=[colour], linewidths=1.2)
    return figure


def dice_by_group(rows: Mapping[str, Mapping[str, Sequence[float]]], source: Source) -> Figure:
    """The Dice of each slice as a dot, by patient or block; `rows` has a series of groups for each way of training."""
    with rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(7.2, 3.6))
        groups = sorted({group for series in rows.values() for group in series})
        for number, ((name, series), colour) in enumerate(zip(rows.items(), (BLUE, ORANGE, GREEN), strict=False)):
            shift = 0.22 * (number - (len(rows) - 1) / 2)
            for place, group in enumerate(groups):
                values = np.asarray(series.get(group, []), dtype=np.float64)
                label = name if place == 0 else None
                spread = np.linspace(-0.06, 0.06, len(values)) if len(values) > 1 else np.zeros(len(values))
                axis.plot(place + shift + spread, values, ".", color=colour, alpha=0.6, label=label)
                if len(values):
                    axis.plot([place + shift - 0.09, place + shift + 0.09], [values.mean()] * 2, color=colour, lw=2)
        axis.set_xticks(range(len(groups)), groups, rotation=20 if len(groups) > 4 else 0)
        axis.set(ylim=(-0.03, 1.03), ylabel="Dice", title="One dot a slice, the line is their mean")
        axis.grid(axis="y", color="#dddddd")
        axis.legend()
        return finished(figure, source)


def trials(
    rows: Mapping[str, Mapping[str, Sequence[float]]],
    source: Source,
    *,
    ylabel: str,
    title: str,
    guessing: float | None = None,
) -> Figure:
    """The figure of each training as a dot and their mean as a line; `rows` has a series of questions for each way."""
    with rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(7.2, 3.8))
        questions = list(next(iter(rows.values())))
        for number, ((name, series), colour) in enumerate(zip(rows.items(), (ORANGE, BLUE, GREEN), strict=False)):
            for place, question in enumerate(questions):
                middle = place + 0.3 * (number - (len(rows) - 1) / 2)
                values = np.asarray(series[question], dtype=np.float64)
                spread = middle + np.linspace(-0.06, 0.06, len(values))
                axis.plot(spread, values, "o", color=colour, alpha=0.7, label=name if place == 0 else None)
                axis.plot([middle - 0.11, middle + 0.11], [values.mean()] * 2, color=colour, lw=2.5)
                axis.annotate(f"{values.mean():.2f}", (middle + 0.12, values.mean()), va="center", color=colour)
        if guessing is not None:
            axis.axhline(guessing, color=GREY, linestyle=":", label="guessing")
        axis.set_xticks(range(len(questions)), questions)
        axis.set(ylabel=ylabel, title=title, xlim=(-0.5, len(questions) - 0.5), ylim=(0, 1.05))
        axis.legend(loc="lower left")
        return finished(figure, source)


def histograms(panels: Mapping[str, Mapping[str, NDArray[np.float32]]], source: Source, *, unit: str) -> Figure:
    """How often each grey value is there: a panel for each state, in it a line for each scan. Tails are left out."""
    with rc_context(STYLE):
        figure, axes = plt.subplots(1, len(panels), figsize=(4.6 * len(panels), 3.2), squeeze=False)
        for axis, (title, lines) in zip(axes.flat, panels.items(), strict=True):
            everything = np.concatenate([values.ravel() for values in lines.values()])
            bins = np.linspace(*np.percentile(everything, [0.2, 99.8]), 80).tolist()
            for (name, values), colour in zip(lines.items(), (BLUE, ORANGE, GREEN), strict=False):
                axis.hist(values.ravel(), bins, density=True, histtype="step", linewidth=1.6, color=colour, label=name)
            axis.set(xlabel=unit, ylabel="how often", yticks=[], title=title)
            axis.margins(y=0.35)
            axis.legend(loc="upper left")
        return finished(figure, source)


def learning_curves(history: Sequence[dict[str, float]], source: Source) -> Figure:
    """Loss, and AUC or Dice if it was recorded, for each epoch in training and validation."""
    epochs = np.arange(1, len(history) + 1)
    names = [name for name in TITLES if history and {name, f"val_{name}"} & set(history[0])]
    with rc_context(STYLE):
        figure, axes = plt.subplots(1, len(names), figsize=(4.6 * len(names), 3.4), squeeze=False)
        for axis, name in zip(axes.flat, names, strict=True):
            for prefix, label, colour in (("", "training", BLUE), ("val_", "validation", ORANGE)):
                values = [epoch.get(prefix + name, np.nan) for epoch in history]
                if np.isnan(values).all():
                    continue
                axis.plot(epochs, values, marker=".", color=colour, label=label)
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            axis.set(xlabel="epoch", title=TITLES[name])
            axis.legend()
        return finished(figure, source)


def roc(
    truth: ArrayLike, score: ArrayLike, auc: Interval, source: Source, *, threshold: float, subtitle: str
) -> Figure:
    """The ROC curve with its AUC and interval, and the point that `threshold` stands for."""
    curve = roc_curve(truth, score)
    at = int(np.searchsorted(-curve.threshold, -threshold, side="right")) - 1
    with rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(5.2, 5.0))
        axis.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="guessing")
        axis.plot(
            curve.false_positive_rate,
            curve.true_positive_rate,
            color=BLUE,
            linewidth=2,
            label=f"AUC {auc}",
        )
        axis.plot(
            curve.false_positive_rate[at],
            curve.true_positive_rate[at],
            "o",
            color=ORANGE,
            markersize=8,
            label=f"threshold {threshold:.2f}, chosen on validation",
        )
        axis.set(
            xlabel="1 - specificity (false alarms)",
            ylabel="sensitivity (tumours found)",
            title=subtitle,
            aspect="equal",
            xlim=(-0.01, 1.01),
            ylim=(-0.01, 1.01),
        )
        axis.legend(loc="lower right")
        return finished(figure, source)


def scores(truth: ArrayLike, score: ArrayLike, names: tuple[str, str], source: Source, *, threshold: float) -> Figure:
    """How the scores of both classes are spread; `names` are those of the negative and the positive class."""
    positive, value = np.asarray(truth).astype(bool), np.asarray(score)
    bins = np.linspace(0, 1, 26).tolist()
    with rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(7.2, 3.2))
        axis.hist(value[~positive], bins, color=BLUE, alpha=0.75, label=names[0])
        axis.hist(value[positive], bins, histtype="step", linewidth=2, color=ORANGE, label=names[1])
        axis.axvline(threshold, color="black", linestyle="--", linewidth=1, label=f"threshold {threshold:.2f}")
        axis.set(xlabel=f"score for {names[1]}", ylabel="slices", title="Scores of the test slices")
        axis.legend(loc="upper center")
        return finished(figure, source)


def reliability(
    rows: Sequence[Mapping[str, float]], source: Source, *, error: float, of: str = "tumour", unit: str = "voxels"
) -> Figure:
    """How often something was there where it was said to be so probable; `error` is the expected calibration error."""
    with rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(4.6, 4.2))
        axis.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="as it should be")
        said, there = ([row[name] for row in rows] for name in ("said", "there"))
        axis.plot(said, there, "o-", color=BLUE, label=f"calibration error {error:.3f}")
        axis.set(xlabel=f"probability of {of} as said", ylabel=f"share of {unit} with {of}", aspect="equal")
        axis.legend(loc="lower right")
        return finished(figure, source)


def heat(
    pixels: NDArray[np.float32], maps: NDArray[np.float32], captions: Sequence[str], source: Source, *, title: str = ""
) -> Figure:
    """Slices with a map from 0 (clear) to 1 (strong) laid over each; both have shape (n, height, width)."""
    figure = montage(pixels, captions, source, title=title)
    for axis, strength in zip(figure.axes, maps, strict=False):
        axis.imshow(strength, cmap="inferno", vmin=0, vmax=1, alpha=0.6 * np.clip(strength, 0, 1))
    return figure


def confusion(counts: Confusion, names: tuple[str, str], source: Source) -> Figure:
    """Right and wrong calls as a table; `names` are those of the negative and the positive class."""
    table = np.array(
        [[counts.true_negative, counts.false_positive], [counts.false_negative, counts.true_positive]], dtype=float
    )
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    with rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(4.6, 3.7))
        axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(table):
            colour = "white" if share[row, column] > 0.5 else "black"
            text = f"{count:.0f}\n{share[row, column]:.1%}"
            axis.text(column, row, text, ha="center", va="center", color=colour)
        axis.set_xticks([0, 1], [f"called\n{name}" for name in names])
        axis.set_yticks([0, 1], [f"is\n{name}" for name in names])
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        axis.set_title(f"Accuracy {counts.accuracy:.1%}", loc="center")
        return finished(figure, source)


def mistakes(
    pixels: NDArray[np.float32],
    truth: ArrayLike,
    score: ArrayLike,
    names: tuple[str, str],
    source: Source,
    *,
    threshold: float,
    most: int = 12,
) -> Figure:
    """The slices that were called wrong, the surest mistakes first."""
    positive, value = np.asarray(truth).astype(bool), np.asarray(score)
    wrong = np.flatnonzero((value >= threshold) != positive)
    room = np.where(positive, threshold, 1 - threshold)  # how far on the wrong side a score can be
    sureness = np.abs(value - threshold) / np.maximum(room, 1e-6)
    shown = wrong[np.argsort(-sureness[wrong], kind="stable")][:most]
    captions = [f"{names[int(positive[i])]}\nscore {value[i]:.2f}" for i in shown]
    colours = [ORANGE if positive[i] else BLUE for i in shown]
    title = f"{len(wrong)} of {len(value)} called wrong" + (f", the {most} surest" if len(wrong) > most else "")
    return montage(pixels[shown], captions, source, title=title, colours=colours)


def convolution_times(sizes: Sequence[int], milliseconds: dict[str, Sequence[float]], *, simulated: bool) -> Figure:
    """Time of a convolution by image size, one line a device; with two devices, how much faster the second is."""
    with rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(7.2, 4.2))
        for (device, values), colour, marker in zip(milliseconds.items(), (BLUE, ORANGE), "os", strict=False):
            axis.plot(sizes, values, marker=marker, color=colour, linewidth=2, label=device)
        if len(milliseconds) == 2:
            slow, fast = milliseconds.values()
            for size, before, after in zip(sizes, slow, fast, strict=True):
                faster = f"{before / after:.3g} x"
                axis.annotate(faster, (size, after), (0, -14), textcoords="offset points", ha="center")
        axis.set(xscale="log", yscale="log", xlabel="edge of the images in pixels", ylabel="milliseconds")
        axis.set_xticks(list(sizes), [str(size) for size in sizes])
        axis.minorticks_off()
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.margins(y=0.15)
        axis.grid(axis="y", color="#dddddd")
        axis.set_title("One convolution: median of several runs")
        axis.legend()
        if simulated:
            _banner(figure, "SIMULATED GPU: measured on the CPU only")
        return _laid_out(figure, head=BANNER if simulated else 0, foot=0)


def side(axis: Axes, plane: Plane) -> None:
    """Write on a slice of `volume.cut` what is on its left: R, the patient's right, or A, the front (anterior)."""
    letter = "A" if plane == "sagittal" else "R"
    axis.text(0.03, 0.97, letter, transform=axis.transAxes, color="white", fontsize=9, va="top")


def facts(rows: Mapping[str, object]) -> HTML:
    """A table of names and values for a notebook."""
    from IPython.display import HTML

    cells = "".join(
        f'<tr><th scope="row" style="text-align:left">{html.escape(name)}</th>'
        f'<td style="text-align:left">{html.escape(str(value))}</td></tr>'
        for name, value in rows.items()
    )
    return HTML(f"<table>{cells}</table>")  # type: ignore[no-untyped-call]


def paragraph(sentences: Sequence[str]) -> HTML:
    """Sentences as one paragraph that stands out in a notebook."""
    from IPython.display import HTML

    style = f"border-left:4px solid {GREEN};padding:0.4em 1em;max-width:48em"
    text = html.escape(" ".join(sentences))
    return HTML(f'<p style="{style}">{text}</p>')  # type: ignore[no-untyped-call]


def finished(figure: Figure, source: Source, title: str = "") -> Figure:
    """Name the data at the foot, and say SYNTHETIC at the head where it is."""
    width, height = figure.get_size_inches()
    head = 0.0
    if source.synthetic:
        _banner(figure, "SYNTHETIC")
        head = BANNER
    if title:
        figure.text(0.01, 1 - head / height, title, ha="left", va="top", fontsize=11)
        head += BANNER * (1 + title.count("\n"))
    credit = textwrap.wrap(source.credit, int(19 * width))  # characters of 7 points that fit
    figure.text(0.01, 0.01, "\n".join(credit), ha="left", va="bottom", fontsize=7, color=GREY)
    return _laid_out(figure, head, foot=CREDIT_LINE * (len(credit) + 0.5))


def _laid_out(figure: Figure, head: float, foot: float) -> Figure:
    """Fit the axes between `head` and `foot`, inches at the edges that texts of the figure need."""
    engine, height = figure.get_layout_engine(), figure.get_figheight()
    assert isinstance(engine, ConstrainedLayoutEngine)  # noqa: S101 (STYLE asks for it)
    engine.set(rect=(0, foot / height, 1, 1 - (head + foot) / height))
    figure.draw_without_rendering()
    plt.close(figure)  # else the notebook would show it a second time
    return figure


def _banner(figure: Figure, text: str) -> None:
    style = {"facecolor": ORANGE, "edgecolor": "none", "pad": 2.5}
    figure.text(0.99, 0.99, text, ha="right", va="top", fontsize=9, weight="bold", color="white", bbox=style)
