"""Training, validation and test sets that never share a patient, and the guard that proves it.

Slices of one patient look alike. With a patient on both sides a network is asked about patients it has seen, and
its figures are inflated by tens of per cent (Yagis et al. 2021, doi 10.1038/s41598-021-01681-w).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from brainmri.data import PARTS, DataError, Dataset, Part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


class LeakageError(ValueError):
    """One patient or block lies on more than one side of a split; the message names it."""


@dataclass(frozen=True)
class Split:
    """Positions of the slices of each part in their data set, and how they were chosen."""

    train: NDArray[np.intp]
    validation: NDArray[np.intp]
    test: NDArray[np.intp]
    by: Literal["patient", "block"]
    how: str

    @property
    def parts(self) -> dict[Part, NDArray[np.intp]]:
        """The three sets by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def split(dataset: Dataset, label: str, *, folds: int = 5, fold: int = 0, seed: int = 0) -> Split:
    """Divide a data set by its groups: one fold of `folds` for the test, the next for validation, the rest to train.

    Groups stay whole; the share of `label` is kept alike in the parts as far as whole groups allow. Where labels.csv
    has a column `split`, that division is taken as it is. The result always passes `assert_no_leakage`, or this
    raises LeakageError; DataError where there are too few groups to divide.
    """
    if any(item.part for item in dataset):
        return _given(dataset)
    truth, groups = dataset.shows(label), dataset.groups
    if folds < 3:
        raise ValueError(f"folds is {folds}; three parts need at least 3")
    for value, name in ((1, label), (0, f"not {label}")):
        count = len(np.unique(groups[truth == value]))
        if count < 3:
            raise DataError(
                f"{dataset.root} has '{name}' in only {count} {dataset.grouping}(s); training, validation and test "
                "need one each. Add data."
            )
    folds = min(folds, *(len(np.unique(groups[truth == value])) for value in (0, 1)))
    number = _fold_numbers(truth, groups, folds, seed)
    test, validation = fold % folds, (fold + 1) % folds
    result = Split(
        train=np.flatnonzero((number != test) & (number != validation)),
        validation=np.flatnonzero(number == validation),
        test=np.flatnonzero(number == test),
        by=dataset.grouping,
        how=f"{dataset.grouping} split, fold {fold % folds + 1} of {folds}, seed {seed}",
    )
    assert_no_leakage(result.parts, groups)
    return result


def split_patients(patients: NDArray[np.str_], *, folds: int, fold: int = 0, seed: int = 0) -> Split:
    """Divide cases by their patients: one fold of `folds` for the test, the next for validation, the rest to train.

    `patients` has one name a case. Raises DataError for fewer than three patients.
    """
    from sklearn.model_selection import GroupKFold

    count = len(np.unique(patients))
    if count < 3:
        raise DataError(f"{count} patient(s): training, validation and test need one each. Add cases.")
    folds = max(3, min(folds, count))
    divide = GroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    number = np.empty(len(patients), dtype=np.intp)
    for index, (_, held_out) in enumerate(divide.split(patients, groups=patients)):
        number[held_out] = index
    test, validation = fold % folds, (fold + 1) % folds
    result = Split(
        train=np.flatnonzero((number != test) & (number != validation)),
        validation=np.flatnonzero(number == validation),
        test=np.flatnonzero(number == test),
        by="patient",
        how=f"patient split, fold {test + 1} of {folds}, seed {seed}",
    )
    assert_no_leakage(result.parts, patients)
    return result


def assert_no_leakage(parts: Mapping[Part, NDArray[np.intp]], groups: NDArray[np.str_]) -> None:
    """Raise LeakageError naming every group that lies in more than one part, and in which.

    `parts` holds positions in `groups`, which has one patient or block a slice.
    """
    where: dict[str, list[str]] = {}
    for part, indices in parts.items():
        for group in np.unique(groups[indices]):
            where.setdefault(str(group), []).append(part)
    shared = {group: sides for group, sides in where.items() if len(sides) > 1}
    if shared:
        named = "; ".join(f"{group} in {' and '.join(sides)}" for group, sides in sorted(shared.items())[:5])
        more = f"; and {len(shared) - 5} more" if len(shared) > 5 else ""
        raise LeakageError(
            f"{len(shared)} of {len(where)} groups are on more than one side of the split: {named}{more}. "
            "Move each to one side: figures from this split would be too good."
        )


def assert_no_copies(parts: Mapping[Part, NDArray[np.intp]], images: NDArray[Any], names: Sequence[str]) -> None:
    """Raise LeakageError naming slices of the same pixels that lie in different parts, whoever they are said to be of.

    `images` and `names` have one entry a slice. Slices that are nearly alike are found by `brainmri check`.
    """
    first: dict[bytes, tuple[str, Part]] = {}
    for part, indices in parts.items():
        for index in indices:
            digest = hashlib.sha256(np.ascontiguousarray(images[index])).digest()
            name, where = first.setdefault(digest, (names[index], part))
            if where != part:
                raise LeakageError(
                    f"{name} and {names[index]} are the same image, but one is in the part for {where} and the other "
                    f"in that for {part}: figures from this split would be too good. Keep one; `brainmri check` lists "
                    "all such pairs."
                )


def assert_both_kinds(parts: Mapping[Part, NDArray[np.intp]], truth: NDArray[np.int8], label: str) -> None:
    """Raise DataError naming a part whose slices all show `label`, or none of which does; `truth` is 1 where one does.

    Such a part can be neither learnt from nor asked about. To be called before a training, which takes hours.
    """
    for part, indices in parts.items():
        shown = int(truth[indices].sum())
        if shown in (0, len(indices)):
            what = f"no slice with {label!r}" if not shown else f"only slices with {label!r}"
            raise DataError(
                f"The part of the split for {part} has {what}. Training, validation and test need slices with and "
                "without it: change the split, or add data."
            )


def _given(dataset: Dataset) -> Split:
    """The division written in labels.csv."""
    unassigned = [item.image.name for item in dataset if item.part is None]
    if unassigned:
        raise DataError(
            f"{dataset.root / 'labels.csv'} gives a split for some slices but not for {', '.join(unassigned[:5])}. "
            "Fill in the column split for all, or for none."
        )
    parts: dict[Part, NDArray[np.intp]] = {
        part: np.array([index for index, item in enumerate(dataset) if item.part == part], dtype=np.intp)
        for part in PARTS
    }
    empty = [part for part, indices in parts.items() if not len(indices)]
    if empty:
        raise DataError(f"{dataset.root / 'labels.csv'} assigns no slice to {' and '.join(empty)}. Assign some.")
    assert_no_leakage(parts, dataset.groups)
    return Split(**parts, by=dataset.grouping, how=f"{dataset.grouping} split as given in labels.csv")


def _fold_numbers(
    truth: Sequence[int] | NDArray[np.int8], groups: NDArray[np.str_], folds: int, seed: int
) -> NDArray[np.intp]:
    """The fold of each slice."""
    from sklearn.model_selection import StratifiedGroupKFold

    number = np.empty(len(groups), dtype=np.intp)
    folder = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    for index, (_, held_out) in enumerate(folder.split(groups, truth, groups)):
        number[held_out] = index
    return number
