"""Four-modality cases in the layouts of BraTS and the Decathlon, and what is refused of them, in words."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
from brainmri.data import DataError
from brainmri.segmentation3d.cases import CORE, OEDEMA, Target, read_cohort, read_scan

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (6, 5, 4)
OF_2018 = ("_t1", "_t1ce", "_t2", "_flair", "_seg")
OF_2023 = ("-t1n", "-t1c", "-t2w", "-t2f", "-seg")


def volume(values: np.ndarray, spacing: float = 1.0) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image(values, np.diag([spacing, spacing, spacing, 1.0]))


def labels(*values: int) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask.flat[: len(values)] = values
    return mask


def write_case(root: Path, name: str, endings: tuple[str, ...] = OF_2018, mask: np.ndarray | None = None) -> Path:
    """A case whose modalities are filled with 1, 2, 3 and 4."""
    folder = root / name
    folder.mkdir(parents=True)
    for number, ending in enumerate(endings[:4], start=1):
        nibabel.save(volume(np.full(SHAPE, number, dtype=np.float32)), folder / f"{name}{ending}.nii.gz")
    nibabel.save(volume(labels(1, 2) if mask is None else mask), folder / f"{name}{endings[4]}.nii.gz")
    return folder


@pytest.mark.parametrize(
    ("endings", "enhancing", "said"), [(OF_2018, 4, "BraTS 2018-2021"), (OF_2023, 3, "BraTS 2023")]
)
def test_brats_is_read_whatever_the_year(tmp_path: Path, endings: tuple[str, ...], enhancing: int, said: str) -> None:
    folder = write_case(tmp_path, "BraTS-GLI-00001-000", endings, labels(1, 2, enhancing))
    for path in list(folder.iterdir()):
        (folder / f"._{path.name}").write_bytes(b"Mac OS X")  # as archives of a Mac have it
    (folder / f"BraTS-GLI-00001-000{endings[0]}.nii.gz").rename(folder / f"BraTS-GLI-00001-000{endings[0]}.NII.GZ")
    cohort = read_cohort(tmp_path)
    (case,) = cohort.cases
    assert cohort.layout.startswith(said)
    assert f"enhancing = {enhancing}" in cohort.layout
    scan = read_scan(case)
    assert [float(image.mean()) for image in scan.images] == [1, 2, 3, 4]
    assert scan.mask is not None
    assert scan.mask.flat[:4].tolist() == [CORE, OEDEMA, CORE, 0]


@pytest.mark.parametrize(("endings", "values"), [(OF_2018, (1, 2, 3)), (OF_2023, (2, 4))])
def test_a_label_that_the_year_of_the_names_does_not_have_is_no_core(
    tmp_path: Path, endings: tuple[str, ...], values: tuple[int, ...]
) -> None:
    """3 under the older names may be of the Decathlon, whose 1 is oedema; 4 under the newer a cavity, as in 2024."""
    write_case(tmp_path, "one", endings, labels(*values))
    (case,) = read_cohort(tmp_path)
    with pytest.raises(DataError, match=rf"by the names of its files this is a case of {case.told}. Map others"):
        read_scan(case)


def test_names_of_two_years_are_told_apart_case_by_case_and_within_one_by_its_labels(tmp_path: Path) -> None:
    write_case(tmp_path, "older", OF_2018, labels(1, 2, 4))
    write_case(tmp_path, "newer", OF_2023, labels(1, 2, 3))
    cohort = read_cohort(tmp_path)
    assert cohort.layout.startswith("BraTS 2018-2021 (enhancing = 4) and BraTS 2023 (enhancing = 3): core = ")
    for case in cohort:
        assert read_scan(case).mask.flat[:3].tolist() == [CORE, OEDEMA, CORE]  # type: ignore[union-attr]
    for values, region in (((1, 2, 3), CORE), ((1, 2, 4), CORE), ((3, 4), 0)):
        shutil.rmtree(tmp_path)
        write_case(tmp_path, "mixed", ("_t1", "_t1c", "_t2", "_flair", "_seg"), labels(*values))
        cohort = read_cohort(tmp_path)
        assert "(enhancing = 3 or 4)" in cohort.layout
        if region:
            assert read_scan(cohort.cases[0]).mask.flat[:3].tolist() == [CORE, OEDEMA, region]  # type: ignore[union-attr]
            continue
        with pytest.raises(DataError, match="has labels 0, 3, 4"):
            read_scan(cohort.cases[0])


def test_the_enhancing_part_can_be_a_region_of_its_own_in_every_layout(tmp_path: Path) -> None:
    write_case(tmp_path / "a", "one", OF_2018, labels(1, 2, 4))
    write_case(tmp_path / "b", "one", OF_2023, labels(1, 2, 3))
    decathlon(tmp_path / "c", labels(2, 1, 3))
    for folder, said in (("a", "oedema = 2"), ("b", "necrosis = 1"), ("c", "1 = oedema, 2 = necrosis, 3 = enhancing")):
        cohort = read_cohort(tmp_path / folder, enhancing=True)
        assert cohort.target == Target(regions=("necrosis", "oedema", "enhancing"))
        assert said in cohort.layout
        assert read_scan(cohort.cases[0]).mask.flat[:4].tolist() == [1, 2, 3, 0]  # type: ignore[union-attr]


def test_two_scans_of_a_patient_are_one_patient(tmp_path: Path) -> None:
    for name in ("BraTS-GLI-00001-000", "BraTS-GLI-00001-001", "BraTS-GLI-00002-000", "TCGA-DU-7294"):
        write_case(tmp_path, name)
    cohort = read_cohort(tmp_path)
    assert cohort.patients.tolist() == ["BraTS-GLI-00001"] * 2 + ["BraTS-GLI-00002", "TCGA-DU-7294"]
    assert "a patient of its own" not in cohort.layout


def decathlon(root: Path, mask: np.ndarray, modality: dict[str, str] | None = None) -> Path:
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    described = {
        "modality": modality or {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
        "labels": {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"},
    }
    (root / "dataset.json").write_text(json.dumps(described))
    four = np.stack([np.full(SHAPE, number, dtype=np.float32) for number in (4, 1, 2, 3)], axis=-1)
    nibabel.save(volume(four), root / "imagesTr/BRATS_001.nii.gz")
    nibabel.save(volume(mask), root / "labelsTr/BRATS_001.nii.gz")
    return root


def test_the_decathlon_says_itself_what_its_numbers_mean(tmp_path: Path) -> None:
    cohort = read_cohort(decathlon(tmp_path, labels(1, 2, 3)))
    assert cohort.layout == (
        "Medical Segmentation Decathlon: 1 = oedema, 2 = core, 3 = core; each case is taken for a patient of its own"
    )
    scan = read_scan(cohort.cases[0])
    assert [float(image.mean()) for image in scan.images] == [1, 2, 3, 4]
    assert scan.mask is not None
    assert scan.mask.flat[:4].tolist() == [OEDEMA, CORE, CORE, 0]


def other_task(root: Path, values: np.ndarray, mask: np.ndarray, **more: object) -> Path:
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    described = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver", "2": "cancer"}, **more}
    (root / "dataset.json").write_text(json.dumps(described))
    nibabel.save(volume(values), root / "imagesTr/liver_1.nii.gz")
    nibabel.save(volume(mask), root / "labelsTr/liver_1.nii.gz")
    return root


def test_another_task_of_the_decathlon_is_taken_as_it_describes_itself(tmp_path: Path) -> None:
    values = np.arange(-1024, -1024 + np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    cohort = read_cohort(other_task(tmp_path / "a", values, labels(1, 2), outside=-1024, mirror=False))
    assert cohort.target == Target(("CT",), ("liver", "cancer"), mirror=False, outside=-1024)
    assert cohort.layout.startswith(
        "Medical Segmentation Decathlon: 1 = liver, 2 = cancer; up to -1024 there is no patient; each case is taken"
    )
    scan = read_scan(cohort.cases[0])
    assert np.array_equal(scan.images[0], values + 1024), "what is no patient is 0"
    assert scan.mask is not None
    assert scan.mask.flat[:3].tolist() == [1, 2, 0]
    together = other_task(tmp_path / "b", values, labels(1, 2), regions={"liver": [1, 2]})
    cohort = read_cohort(together)
    with pytest.raises(DataError, match="every voxel is -900 or less"):
        read_scan(cohort.cases[0])
    together = other_task(tmp_path / "c", values, labels(1, 2), regions={"liver": [1, 2]}, outside=-1024)
    cohort = read_cohort(together)
    assert cohort.target.regions == ("liver",)
    assert read_scan(cohort.cases[0]).mask.flat[:3].tolist() == [1, 1, 0]  # type: ignore[union-attr]


def test_a_task_as_it_comes_says_whose_it_is_and_water_in_its_ct_is_patient(tmp_path: Path) -> None:
    values = np.full(SHAPE, -1000, dtype=np.float32)
    values[2] = 0  # water
    named = {"name": "Spleen", "reference": "a centre", "licence": "CC-BY-SA 4.0"}
    cohort = read_cohort(other_task(tmp_path, values, labels(1), **named))
    assert cohort.source.credit == "Data: Spleen, a centre, CC-BY-SA 4.0"
    assert "; up to -900 there is no patient; " in cohort.layout
    image = read_scan(cohort.cases[0]).images[0]
    assert (image != 0)[2].all()
    assert not image[0].any()
    (tmp_path / "source.json").write_text('{"name": "ours", "licence": "none"}')
    assert read_cohort(tmp_path).source.credit == "Data: ours, none"


@pytest.mark.parametrize("regions", [{"liver": [1], "all": [1, 2]}, {"whole": [1]}, {"liver": "1"}, [1]])
def test_regions_that_cannot_be_told_apart_are_refused(tmp_path: Path, regions: object) -> None:
    with pytest.raises(DataError, match=r"dataset.json cannot be used"):
        read_cohort(other_task(tmp_path, np.ones(SHAPE, dtype=np.float32), labels(1), regions=regions))


def test_a_missing_modality_is_named_and_so_is_one_that_is_there_twice(tmp_path: Path) -> None:
    path = write_case(tmp_path, "one") / "one_t2.nii.gz"
    shutil.copy(path, path.with_name("one_t2w.nii.gz"))
    with pytest.raises(DataError, match=r"one in .* has two files for t2"):
        read_cohort(tmp_path)
    path.with_name("one_t2w.nii.gz").unlink()
    path.unlink()
    with pytest.raises(DataError, match=r"one in .* has no t2"):
        read_cohort(tmp_path)


def test_a_case_without_a_mask_is_read_but_not_learnt_from(tmp_path: Path) -> None:
    (write_case(tmp_path, "one") / "one_seg.nii.gz").unlink()
    cohort = read_cohort(tmp_path)
    assert read_scan(cohort.cases[0]).mask is None
    with pytest.raises(DataError, match="has no mask"):
        _ = cohort.masked


def not_finite() -> np.ndarray:
    values = np.ones(SHAPE, dtype=np.float32)
    values[0, 0, 0] = np.nan
    return values


@pytest.mark.parametrize(
    ("ending", "replacement", "said"),
    [
        ("_t2", volume(not_finite()), "finite numbers"),
        ("_t2", volume(np.ones((6, 5, 3), dtype=np.float32)), "another grid"),
        ("_flair", volume(np.ones(SHAPE, dtype=np.float32), spacing=2.0), "of another spacing"),
        ("_flair", volume(np.zeros(SHAPE, dtype=np.float32)), "every voxel is 0"),
        ("_t1ce", volume(np.ones((*SHAPE, 2), dtype=np.float32)), "no single volume"),
        ("_seg", volume(labels(1, 9)), "labels 0, 1, 9: BraTS 2018-2021 has 1, 2 and 4"),
        ("_seg", volume(labels(3, 4)), "Map others to these first"),
        ("_seg", volume(np.full(SHAPE, 0.5, dtype=np.float32)), "without interpolation"),
        ("_seg", volume(labels(1), spacing=2.0), "another grid"),
    ],
)
def test_what_cannot_be_used_is_said_with_its_file(
    tmp_path: Path, ending: str, replacement: nibabel.Nifti1Image, said: str
) -> None:
    folder = write_case(tmp_path, "one")
    nibabel.save(replacement, folder / f"one{ending}.nii.gz")
    (case,) = read_cohort(tmp_path).cases
    with pytest.raises(DataError, match=f"one{ending}.nii.gz.*{said}"):
        read_scan(case)


def test_a_file_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    path = write_case(tmp_path, "one") / "one_t1.nii.gz"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match="no readable NIfTI file"):
        read_scan(read_cohort(tmp_path).cases[0])


def test_a_folder_of_something_else_is_refused_with_the_layouts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no case of four modalities. Lay them out as BraTS does"):
        read_cohort(tmp_path)
    with pytest.raises(DataError, match="There is no folder"):
        read_cohort(tmp_path / "nowhere")


def test_a_name_in_two_folders_is_refused(tmp_path: Path) -> None:
    write_case(tmp_path / "a", "one")
    write_case(tmp_path / "b", "one")
    with pytest.raises(DataError, match="has one more than once"):
        read_cohort(tmp_path)
