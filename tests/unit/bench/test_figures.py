"""docs/results.md says what studies wrote, and nothing else."""

from __future__ import annotations

import json

from tests.bench.figures import DOCUMENT, FILE, record, render

RESULT = {
    "data": "Data: figshare, CC BY 4.0",
    "split": "block cross-validation, 4 folds",
    "groups": 5,
    "size": "quick",
    "pretrained": True,
    "seed": 0,
    "n": 48,
    "dice": 0.612,
    "dice_low": 0.5,
    "dice_high": 0.7,
    "missed": 3,
    "hardware": "2 cores",
    "seconds": 600,
}


def test_the_document_is_made_from_what_was_recorded() -> None:
    assert DOCUMENT.read_text() == render(json.loads(FILE.read_text()))


def test_a_line_names_the_circumstances_of_its_figure() -> None:
    line = render([RESULT]).splitlines()[-1]
    for words in ("CC BY 4.0", "block cross-validation, 4 folds, 5 groups", "0.61 (0.50 to 0.70)", "2 cores", "10 min"):
        assert words in line


def test_how_far_repeated_trainings_are_apart_is_said() -> None:
    assert "times" not in render([RESULT])
    said = render([RESULT, {**RESULT, "seed": 1, "dice": 0.5}])
    assert "was trained 2 times: Dice 0.50 to 0.61, mean 0.56" in said


REGION = {"dice": 0.8, "dice_low": 0.7, "dice_high": 0.9, "hausdorff_95_median": 4.0, "missed": 0}
IN_3D = {
    "family": "U-Net",
    "regions": {"core": REGION, "oedema": REGION, "whole": REGION},
    "data": "SYNTHETIC DATA: made-up brains",
    "split": "patient split, fold 1 of 4",
    "size": "quick",
    "n": 6,
    "patients": 6,
    "weights": 1234567,
    "steps": 480,
    "seed": 0,
    "hardware": "2 cores",
    "seconds": 600,
    "cases": {f"case-{n}": {region: {"dice": 0.8} for region in ("core", "oedema")} for n in range(6)},
}


def test_families_in_3d_are_held_against_the_u_net_on_the_same_patients() -> None:
    better = {f"case-{n}": {region: {"dice": 0.9} for region in ("core", "oedema")} for n in range(6)}
    said = render([RESULT, IN_3D, {**IN_3D, "family": "conditional GAN", "cases": better}])
    (unet,) = (line for line in said.splitlines() if line.startswith("| U-Net"))
    (gan,) = (line for line in said.splitlines() if line.startswith("| conditional GAN"))
    for words in ("0.80 (0.70 to 0.90)", "4.0 mm", "1,234,567", "480", "2 cores", "10 min"):
        assert words in unet
    assert "p =" not in unet
    assert "missed" not in unet
    stuck = {**IN_3D, "regions": {**IN_3D["regions"], "core": {**REGION, "missed": 6}}}
    assert "0.80 (0.70 to 0.90), 6 missed" in render([RESULT, stuck])
    assert gan.count("+0.100 (+0.100 to +0.100), p = 0.03") == 2
    assert "SYNTHETIC DATA: made-up brains. Size quick; 6 cases" in said
    assert "against its generator alone" not in said
    alone = {**IN_3D, "family": "U-Net, dice loss"}
    told = render([RESULT, IN_3D, alone, {**IN_3D, "family": "conditional GAN", "cases": better}])
    assert "against its generator alone (U-Net, dice loss), seed 0: core +0.100" in told
    assert "other data" not in said


def test_a_network_on_other_data_is_told_apart_from_its_test() -> None:
    elsewhere = {name: IN_3D[name] for name in ("family", "regions", "n", "size")}
    elsewhere |= {"data": "Data: a real case, CC BY 3.0", "trained_on": "SYNTHETIC DATA: made-up brains"}
    said = render([RESULT, IN_3D, elsewhere])
    (line,) = (one for one in said.splitlines() if one.startswith("| U-Net, quick"))
    assert "SYNTHETIC DATA: made-up brains | a real case, CC BY 3.0 | 1" not in line
    assert "| SYNTHETIC DATA: made-up brains | a real case, CC BY 3.0 | 6 | 0.80 | 0.80 | 0.80 |" in line
    assert record([IN_3D, elsewhere], {**elsewhere, "n": 7}) == [IN_3D, {**elsewhere, "n": 7}]


def test_losses_have_a_table_of_their_own_after_that_of_segmentation() -> None:
    one = {
        "dice_at_half": 0.0,
        "dice": 0.31,
        "threshold": 0.1,
        "sensitivity": 0.4,
        "area": 1.5,
        "missed": 4,
        "seconds": 90,
    }
    names = ("data", "size", "seed", "hardware", "seconds")
    compared = {name: RESULT[name] for name in names} | {"task": "losses", "losses": {"bce": one}, "learnt_from": 32}
    compared |= {"n": 16, "groups": 1, "split": "block split, fold 1 of 4", "epochs": 50}
    said = render([RESULT, compared])
    assert "| bce | 0.00 | 0.31 | 0.10 | 0.40 | 150% | 4 | 1.5 min |" in said
    assert "32 slices to learn from, 16 of 1 other group(s) asked about (block split, fold 1 of 4)" in said
    assert "Losses compared" not in render([RESULT])
    assert record([RESULT, compared], {**compared, "n": 15}) == [RESULT, {**compared, "n": 15}]


def test_patients_that_were_left_out_are_told_with_what_was_assumed_of_them() -> None:
    found = {**REGION, "sensitivity": 0.5, "volume_error_median": 0.25, "missed": 1}
    cases = {name: {f"{n:02}-{when}": {"dice": dice} for n in range(6) for when in ("pre", "post")}
             for name, dice in (("alone", 0.1), ("tuned", 0.4))}  # fmt: skip
    result = {
        "left_out": {"alone": {**found, "dice": 0.1}, "tuned": found},
        "cases": cases,
        **{"data": "TCIA", "n": 12, "patients": 6, "spacing_mm": [0.9, 0.9, 6.0], "share": 0.002, "stripped": 0.03},
        **{"steps": [480, 240], "made_up": 32, "seed": 0, "hardware": "1 core", "seconds": 1200},
    }
    said = render([RESULT, result])
    assert "0.9 x 0.9 x 6 mm are assumed" in said
    assert "0.2% of the voxels are tumour; 3.0% of a tumour" in said
    (alone, tuned) = (line for line in said.splitlines() if line.startswith(("| alone", "| tuned")))
    assert alone.endswith("| 1 of 12 |  |")
    assert "0.80 (0.70 to 0.90) | 4 mm | 0.50 | 25% | 1 of 12 | +0.300 (+0.300 to +0.300), p = 0.03" in tuned
    assert record([RESULT, result], {**result, "seconds": 9}) == [RESULT, {**result, "seconds": 9}]


def test_other_weights_after_kills_are_not_passed_over() -> None:
    one = {"same": True, "epochs_done": [1, 1, 2], "tensors": 31}
    result = {"killed": {"U-Net": one, "GAN": {**one, "same": False}}, "kills": 3, "epochs": 40, "seed": 0}
    said = render([RESULT, {**result, "hardware": "1 core"}])
    assert "- U-Net: killed 3 times, in 2 different epochs of 40; the same weights (31 tensors)." in said
    assert "- GAN: killed 3 times, in 2 different epochs of 40; OTHER weights (31 tensors)." in said


def test_the_same_study_again_takes_the_place_of_the_first() -> None:
    again, other = {**RESULT, "dice": 0.7}, {**RESULT, "hardware": "a GPU"}
    assert record([RESULT, other], again) == [other, again]


def test_a_classifier_has_a_table_of_its_own() -> None:
    classes = {name: RESULT[name] for name in ("data", "groups", "size", "seed", "n", "hardware", "seconds")}
    classes |= {"split": "block split, fold 1 of 5, seed 0", "auc": 0.987, "auc_low": 0.97, "auc_high": 0.995}
    classes |= {"epochs": 45, "accuracy": 0.94, "sensitivity": 0.93, "specificity": 0.95}
    said = render([RESULT, classes])
    (line,) = (one for one in said.splitlines() if "block split, fold 1" in one)
    assert "| 0.987 (0.970 to 0.995) | 0.940 | 0.930 | 0.950 |" in line
    assert "Glioma or not" not in render([RESULT])
    assert record([RESULT, classes], {**classes, "auc": 0.9}) == [RESULT, {**classes, "auc": 0.9}]
