"""Figures of volumes lie as radiologists look at them, name their data, and say SYNTHETIC."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from brainmri.data import Source
from brainmri.segmentation3d import view
from brainmri.segmentation3d.cases import CORE, OEDEMA, Case
from brainmri.segmentation3d.measure import Found
from brainmri.segmentation3d.report import Result, table
from brainmri.segmentation3d.samples import Sample

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MADE_UP = Source("made-up brains", "licence", synthetic=True)


@pytest.fixture
def sample() -> Sample:
    labels = np.zeros((12, 10, 8), dtype=np.uint8)
    labels[7:11, 6:9, 5:7] = OEDEMA  # right, front, up
    labels[8:10, 7:8, 5:7] = CORE
    images = np.ones((4, 12, 10, 8), dtype=np.float32)
    images[:, 0] = 0
    images[3] += labels
    case = Case("one", "one", {modality: (Path("x"), None) for modality in ("t1", "t1ce", "t2", "flair")}, None)
    straight = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]])
    return Sample(case, images, labels, 1.0, np.ones(3), np.zeros(3), labels.shape, straight, np.eye(4))


def texts(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.texts)


def test_the_patients_right_is_on_the_left_and_the_front_up(sample: Sample) -> None:
    figure = view.planes(sample, {"mask": sample.labels}, MADE_UP)
    axial = figure.axes[0]
    cover = np.asarray(axial.images[1].get_array())[..., 3] > 0
    rows, columns = np.nonzero(cover)
    assert rows.mean() < cover.shape[0] / 2  # the front is up
    assert columns.mean() < cover.shape[1] / 2  # the patient's right is on the left
    assert not axial.xaxis_inverted()
    sagittal = np.asarray(figure.axes[2].images[1].get_array())[..., 3] > 0
    assert np.nonzero(sagittal)[1].mean() < sagittal.shape[1] / 2  # the front is on the left
    assert [axis.texts[0].get_text() for axis in figure.axes[:3]] == ["R", "R", "A"]


def test_what_is_uncertain_is_shown_on_one_scale_which_is_said(sample: Sample) -> None:
    spread = np.full(sample.size, 0.25, dtype=np.float32)
    faint, strong = (view.planes(sample, {"spread": share * spread}, MADE_UP) for share in (0.1, 1.0))
    brightest = [np.asarray(figure.axes[0].images[1].get_array()).max() for figure in (faint, strong)]
    assert brightest == pytest.approx([0.05, 0.5])
    assert "standard deviation" in faint.axes[-1].get_ylabel()


def test_surfaces_are_named_by_their_regions(sample: Sample) -> None:
    assert sample.labels is not None
    figure = view.surfaces({"drawn": sample.labels}, 2.5, MADE_UP, ("liver", "spleen"))
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["liver", "spleen"]


def test_every_one_of_many_regions_has_a_colour_of_its_own(sample: Sample) -> None:
    names = [f"organ {number}" for number in range(1, 14)]
    assert len(set(view.colours(13))) == 13
    labels = np.zeros_like(sample.labels)
    labels[5, 5, 5], labels[6, 5, 5] = 12, 13
    figure = view.planes(sample, {"mask": labels}, MADE_UP, regions=names)
    painted = np.asarray(figure.axes[0].images[1].get_array()).reshape(-1, 4)
    assert len(np.unique(painted[painted[:, 3] > 0], axis=0)) == 2
    assert len(figure.axes[2].get_legend().get_texts()) == 13
    view.surfaces({"mask": labels}, 1.0, MADE_UP, names)


def test_every_figure_says_synthetic_and_where_the_data_is_from(sample: Sample) -> None:
    found = {
        f"case-{number}": {region: Found(value, 3.0, value, 0.1, 10.0, 10.0) for region in ("core", "oedema", "whole")}
        for number, value in enumerate((0.8, 0.6))
    }
    result = Result("U-Net", "vae", found, ("a", "b"), "split", MADE_UP, "quick", "2 cores", 480, 60.0, 1000, 0)
    assert sample.labels is not None
    figures = [
        view.modalities(sample, MADE_UP),
        view.planes(sample, {"found": sample.labels, "uncertainty": sample.images[3]}, MADE_UP, title="title"),
        view.surfaces({"drawn": sample.labels, "nothing": np.zeros_like(sample.labels)}, 2.5, MADE_UP),
        view.curves({"Loss": {"U-Net": [2.0, 1.0]}}, MADE_UP, guess=0.5),
        view.families({"U-Net": result, "other": result}, MADE_UP),
    ]
    for figure in figures:
        assert "SYNTHETIC" in texts(figure)
        assert "made-up brains" in texts(figure)
    shown = view.table(table({"U-Net": result, "<other>": result}, "U-Net"))
    assert "&lt;other&gt;" in shown.data
    assert "core: Dice" in shown.data


def test_an_answer_is_shown_beside_the_mask_with_the_dice_of_the_case(sample: Sample) -> None:
    found = {region: Found(value, 3.0, 1.0, 0.1, 10.0, 12.5) for region, value in (("liver PZ", 0.25), ("whole", 1.0))}
    result = Result("U-Net", "vae", {"one": found}, ("a",), "split", MADE_UP, "quick", "2 cores", 1, 1.0, 1, 0)
    asked = SimpleNamespace(probability=np.zeros((1, *sample.size)), spread=np.zeros((1, *sample.size)))
    once = view.answered(sample, asked, result, title="The worst")
    assert "The worst: one, Dice liver PZ 0.25\nml found (drawn): liver PZ 10.0 (12.5)" in texts(once)
    assert [axis.get_title() for axis in once.axes[::3]] == ["drawn, axial", "found, axial"]
    asked.spread[:] = 0.1
    assert view.answered(sample, asked, result, title="x").axes[6].get_title() == "spread, axial"
    assert result.told()["Liver PZ: Dice"] == "0.250 (of a single patient or block, which gives no interval)"
    assert result.told()["Whole: missed altogether"] == "0 of 1"


def test_where_much_is_uncertain_is_said_and_what_was_too_small_to_count_is_not_shown(sample: Sample) -> None:
    found = {region: Found(1.0, 0.0, 1.0, 0.0, 10.0, 10.0) for region in ("core", "whole")}
    result = Result("U-Net", "vae", {"one": found}, ("a",), "split", MADE_UP, "quick", "2 cores", 1, 1.0, 1, 0, 0.003)
    probability, spread = np.zeros((2, 1, *sample.size))
    probability[0, 7:11, 6:9, 5:7] = probability[0, 0, 0, 0] = 0.9  # 24 voxels of a microlitre, and one apart
    answer = SimpleNamespace(probability=probability, spread=spread, unsure=spread[0] > 0.2)
    assert result.doubts([sample], [answer]) == [
        "Each case was asked about in one way: how sure the network is of a place is not known."
    ]
    assert (result.labels(sample, answer) > 0).sum() == 24
    spread[0, 7:9, 6:9, 5] = 0.3
    answer.unsure = spread[0] > 0.2
    assert result.doubts([sample], [answer])[1] == "In no case that is more than 25% of what was found."
    spread[0, 7:9, 6:9, 6] = 0.3
    answer.unsure = spread[0] > 0.2
    assert "in 1 of 1 cases: one (0.0 ml, beside 0.0 ml that were found)" in result.doubts([sample], [answer])[1]


def test_planes_go_through_the_most_tumour(sample: Sample) -> None:
    assert sample.labels is not None
    assert sample.labels[view.middle(sample.labels)] > 0
    assert view.middle(np.zeros((4, 6, 8), dtype=np.uint8)) == (2, 3, 4)
