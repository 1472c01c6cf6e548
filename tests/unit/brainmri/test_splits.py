"""No patient on two sides, whatever the data; and a guard that says which one is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from brainmri.data import PARTS, DataError, Dataset, Slice, Source
from brainmri.splits import LeakageError, assert_both_kinds, assert_no_leakage, split
from hypothesis import given
from hypothesis import strategies as st

SOURCE = Source("test", "none")


def dataset_of(groups: list[tuple[str, str, int]], grouping: str = "patient") -> Dataset:
    """A data set of (group, label, number of slices)."""
    slices = tuple(
        Slice(Path(f"{group}-{number}.png"), label, group, SOURCE)
        for group, label, count in groups
        for number in range(count)
    )
    return Dataset(Path("somewhere"), slices, grouping, SOURCE)  # type: ignore[arg-type]


sizes = st.lists(st.integers(1, 9), min_size=3, max_size=12)


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    """Three or more patients with a glioma and three or more without, with one to nine slices each."""
    with_tumour = [(f"g{n}", "glioma", count) for n, count in enumerate(draw(sizes))]
    without = [(f"n{n}", "none", count) for n, count in enumerate(draw(sizes))]
    return dataset_of(draw(st.permutations(with_tumour + without)))


@given(datasets(), st.integers(0, 9), st.integers(0, 2**31 - 1))
def test_every_slice_is_in_one_part_and_every_patient_too(dataset: Dataset, fold: int, seed: int) -> None:
    parts = split(dataset, "glioma", fold=fold, seed=seed).parts
    together = np.concatenate(list(parts.values()))
    assert sorted(together) == list(range(len(dataset)))
    owners = [set(dataset.groups[index]) for index in parts.values()]
    assert sum(map(len, owners)) == len(set.union(*owners))


@given(datasets(), st.integers(0, 2**31 - 1))
def test_the_same_seed_gives_the_same_split(dataset: Dataset, seed: int) -> None:
    once, again = (split(dataset, "glioma", seed=seed).parts for _ in range(2))
    assert all(np.array_equal(once[part], again[part]) for part in PARTS)


@given(datasets(), st.data())
def test_the_guard_names_the_patient_that_was_moved(dataset: Dataset, data: st.DataObject) -> None:
    parts = dict(split(dataset, "glioma").parts)
    groups, counts = np.unique(dataset.groups[parts["train"]], return_counts=True)
    moved = data.draw(st.sampled_from(sorted(groups)))
    one = parts["train"][dataset.groups[parts["train"]] == moved][0]
    parts["test"] = np.append(parts["test"], one)
    with pytest.raises(LeakageError, match=rf"{moved} in train and test"):
        assert_no_leakage(parts, dataset.groups)
    assert counts.sum() == len(parts["train"])


def test_the_guard_names_a_few_and_counts_the_rest() -> None:
    groups = np.array([f"p{n}" for n in range(20)] * 2)
    parts = {"train": np.arange(20), "test": np.arange(20, 40)}
    with pytest.raises(LeakageError, match=r"20 of 20 groups.*and 15 more"):
        assert_no_leakage(parts, groups)  # type: ignore[arg-type]


def test_both_classes_are_in_every_part_and_shares_are_alike() -> None:
    dataset = dataset_of(
        [(f"g{n}", "glioma", 4) for n in range(15)] + [(f"n{n}", "none", 4) for n in range(25)], grouping="block"
    )
    truth = dataset.shows("glioma")
    chosen = split(dataset, "glioma")
    assert [truth[index].mean() for index in chosen.parts.values()] == pytest.approx([0.375] * 3)
    assert chosen.how == "block split, fold 1 of 5, seed 0"


def test_folds_test_every_slice_once() -> None:
    dataset = dataset_of([(f"{kind}{n}", kind, 3) for kind in ("glioma", "none") for n in range(7)])
    tested = np.concatenate([split(dataset, "glioma", fold=fold).test for fold in range(5)])
    assert sorted(tested) == list(range(len(dataset)))


def test_too_few_patients_is_said() -> None:
    dataset = dataset_of([("a", "glioma", 9), ("b", "glioma", 9), ("c", "none", 9), ("d", "none", 9)])
    with pytest.raises(DataError, match=r"has 'glioma' in only 2 patient\(s\).*Add data"):
        split(dataset, "glioma")


def given_split(*rows: tuple[str, str, str | None]) -> Dataset:
    """A data set of (group, label, part)."""
    slices = tuple(
        Slice(Path(f"{number}.png"), label, group, SOURCE, part)  # type: ignore[arg-type]
        for number, (group, label, part) in enumerate(rows)
    )
    return Dataset(Path("somewhere"), slices, "patient", SOURCE)


def test_a_split_by_the_authors_is_kept() -> None:
    chosen = split(
        given_split(("a", "glioma", "train"), ("b", "none", "validation"), ("c", "glioma", "test")), "glioma"
    )
    assert [list(index) for index in chosen.parts.values()] == [[0], [1], [2]]
    assert "as given in labels.csv" in chosen.how


def test_a_part_without_one_of_the_two_kinds_is_named() -> None:
    rows = [(f"{kind}{part}", kind, part) for part in PARTS for kind in ("glioma", "none")]
    whole = given_split(*rows)
    assert_both_kinds(split(whole, "glioma").parts, whole.shows("glioma"), "glioma")
    for lacking, words in (
        ("gliomatest", "test has no slice with 'glioma'"),
        ("nonetest", "test has only slices with"),
    ):
        dataset = given_split(*(row for row in rows if row[0] != lacking))
        with pytest.raises(DataError, match=words):
            assert_both_kinds(split(dataset, "glioma").parts, dataset.shows("glioma"), "glioma")


def test_a_leak_in_a_given_split_is_refused() -> None:
    rows = [("a", "glioma", "train"), ("b", "none", "validation"), ("a", "glioma", "test")]
    with pytest.raises(LeakageError, match="a in train and test"):
        split(given_split(*rows), "glioma")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("a", "glioma", "train"), ("b", "none", None)], "not for 1.png"),
        ([("a", "glioma", "train"), ("b", "none", "test")], "assigns no slice to validation"),
    ],
)
def test_an_incomplete_given_split_is_refused(rows: list[tuple[str, str, str | None]], words: str) -> None:
    with pytest.raises(DataError, match=words):
        split(given_split(*rows), "glioma")
