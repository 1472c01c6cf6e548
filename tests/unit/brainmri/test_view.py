"""Every figure names its data; synthetic data says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from brainmri import metrics, view
from brainmri.data import FIGSHARE, Source
from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

MADE_UP = Source("made-up heads", "CC0", synthetic=True)
NAMES = ("no glioma", "glioma")
TRUTH = np.array([0, 0, 0, 1, 1, 1])
SCORE = np.array([0.1, 0.2, 0.9, 0.3, 0.7, 0.95])
PIXELS = np.random.default_rng(0).random((6, 8, 8), dtype=np.float32)

FIGURES: dict[str, Callable[[Source], Figure]] = {
    "montage": lambda source: view.montage(PIXELS, list("abcdef"), source, title="Slices"),
    "curves": lambda source: view.learning_curves([{"loss": 1.0, "val_loss": 2.0, "auc": 0.5}], source),
    "roc": lambda source: view.roc(
        TRUTH, SCORE, metrics.bootstrap_auc(TRUTH, SCORE, range(6)), source, threshold=0.5, subtitle="6 slices"
    ),
    "scores": lambda source: view.scores(TRUTH, SCORE, NAMES, source, threshold=0.5),
    "confusion": lambda source: view.confusion(metrics.confusion(TRUTH, SCORE, 0.5), NAMES, source),
    "reliability": lambda source: view.reliability(metrics.reliability(SCORE, TRUTH), source, error=0.1),
    "heat": lambda source: view.heat(PIXELS, PIXELS, list("abcdef"), source, title="What speaks for it"),
    "mistakes": lambda source: view.mistakes(PIXELS, TRUTH, SCORE, NAMES, source, threshold=0.5),
}


def words(figure: Figure) -> str:
    """All text of a figure, on one line."""
    return " ".join(" ".join(text.get_text().split()) for text in figure.findobj(plt.Text))


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_names_its_data_and_only_synthetic_says_synthetic(name: str) -> None:
    real, made_up = words(FIGURES[name](FIGSHARE)), words(FIGURES[name](MADE_UP))
    assert "10.6084/m9.figshare.1512427" in real
    assert "CC BY 4.0" in real
    assert "SYNTHETIC" not in real
    assert "SYNTHETIC" in made_up.replace("SYNTHETIC DATA", "")
    assert "SYNTHETIC DATA: made-up heads" in made_up
    assert not plt.get_fignums(), "an open figure would be shown twice in a notebook"


def test_mistakes_are_the_wrong_calls_the_surest_first() -> None:
    text = words(view.mistakes(PIXELS, TRUTH, SCORE, NAMES, MADE_UP, threshold=0.5))
    assert "2 of 6 called wrong" in text
    assert text.index("no glioma score 0.90") < text.index("glioma score 0.30")
    assert "0.10" not in text


def test_no_mistakes_is_a_figure_too() -> None:
    assert "0 of 6 called wrong" in words(view.mistakes(PIXELS, TRUTH, TRUTH, NAMES, MADE_UP, threshold=0.5))


def test_roc_marks_the_point_of_the_threshold() -> None:
    figure = FIGURES["roc"](FIGSHARE)
    (point,) = (line for line in figure.axes[0].lines if line.get_marker() == "o")
    counts = metrics.confusion(TRUTH, SCORE, 0.5)
    assert point.get_ydata()[0] == pytest.approx(counts.sensitivity)
    assert point.get_xdata()[0] == pytest.approx(1 - counts.specificity)
    assert "(95 % interval " in words(figure)


def test_of_a_single_patient_no_interval_is_drawn() -> None:
    auc = metrics.bootstrap_auc(TRUTH, SCORE, ["anna"] * 6)
    shown = words(view.roc(TRUTH, SCORE, auc, FIGSHARE, threshold=0.5, subtitle="6 slices"))
    assert "of a single patient or block, which gives no interval" in shown
    assert "nan" not in shown


def test_convolutions_name_the_devices_and_the_gain_and_say_simulated() -> None:
    times = {"CPU, 2 cores": [10.0, 40.0], "NVIDIA A100": [1.0, 2.0]}
    shown = words(view.convolution_times([64, 128], times, simulated=False))
    assert "NVIDIA A100" in shown
    assert "10 x" in shown
    assert "20 x" in shown
    assert "SIMULATED" in words(view.convolution_times([64], {"CPU, 2 cores": [1.0]}, simulated=True))


def test_facts_show_text_as_text() -> None:
    assert "&lt;script&gt;" in view.facts({"name": "<script>"}).data
