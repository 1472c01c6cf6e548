"""What can be found out about a folder of slices before anything is trained on it."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from brainmri.data import DataError, Dataset, image_paths, open_image, open_mask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from brainmri.data import Slice


SMALL = (32, 32)  # pixels at which slices are compared
NEARLY = 0.98  # correlation from which on two slices are looked at as perhaps one
CORRECTION = re.compile(r"-\d+$")  # as `masks.store` names a second mask of a slice
CHUNK = 512  # slices that are held against all others at once


@dataclass
class Findings:
    """The facts of a data set (`sizes`: width x height in pixels), and its faults, each a sentence.

    A fault makes figures wrong or stops a training; a remark does not.
    """

    dataset: Dataset
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    masks: int = 0
    empty_masks: int = 0
    look_alikes: list[tuple[int, int, float]] = field(default_factory=list)  # positions of slices, correlation

    @property
    def groups(self) -> dict[str, int]:
        """Number of patients or blocks with each label."""
        members: dict[str, set[str]] = defaultdict(set)
        for item in self.dataset:
            members[item.label].add(item.group)
        return {label: len(groups) for label, groups in sorted(members.items())}


def examine(dataset: Dataset, on_progress: Callable[[int, int], None] | None = None) -> Findings:
    """Decode every slice and compare them all. Never raises for a bad file: it becomes a fault."""
    findings = Findings(dataset)
    same_pixels: dict[bytes, list[int]] = defaultdict(list)
    small: dict[int, NDArray[np.float32]] = {}
    for index, item in enumerate(dataset):
        try:
            image = open_image(item.image)
        except DataError as error:
            findings.faults.append(str(error))
        else:
            findings.sizes[image.size] += 1
            digest = hashlib.sha256(repr(image.size).encode() + image.tobytes()).digest()
            same_pixels[digest].append(index)
            small[index] = np.asarray(image.resize(SMALL, Image.Resampling.BOX), dtype=np.float32).ravel()
            _judge_mask(findings, item)
        if on_progress:
            on_progress(index + 1, len(dataset))
    copies = [indices for indices in same_pixels.values() if len(indices) > 1]
    _judge_copies(findings, copies)
    _judge_look_alikes(findings, small, {pair for indices in copies for pair in combinations(indices, 2)})
    _judge_stray(findings, "masks")
    _judge_stray(findings, "slices")
    _judge_sides(findings)
    _judge_sizes(findings)
    if dataset.grouping == "block":
        findings.remarks.append(
            "No column patient: groups are blocks of neighbouring slices. Say 'block split' of figures from it, "
            "since a patient may reach from one block into the next."
        )
    return findings


def _judge_mask(findings: Findings, item: Slice) -> None:
    if item.mask is None:
        return
    try:
        mask = open_mask(item)
    except DataError as error:
        findings.faults.append(str(error))
    else:
        findings.masks += 1
        findings.empty_masks += mask.getextrema() == (0, 0)


def _judge_stray(findings: Findings, folder: str) -> None:
    """Files that belong to no line of labels.csv: nobody would notice that nothing is learnt from them."""
    place = findings.dataset.root / folder
    known = {item.image.stem for item in findings.dataset}
    stray = [one for one in (image_paths(place) if place.is_dir() else []) if one.stem not in known]
    if folder == "masks":  # a second mask of a slice may lie beside the first
        stray = [one for one in stray if CORRECTION.sub("", one.stem) not in known]
    if stray:
        more = f" and {len(stray) - 3} more" if len(stray) > 3 else ""
        named = ", ".join(one.name for one in stray[:3])
        findings.remarks.append(
            f"No line of labels.csv is about {named}{more} of {folder}: nothing is learnt from what has no line."
        )


def _judge_copies(findings: Findings, copies: list[list[int]]) -> None:
    """The same pixels twice are a remark within a group, and a fault across groups or labels."""
    slices = findings.dataset.slices
    for indices in copies:
        items = [slices[index] for index in indices]
        names = ", ".join(item.image.name for item in items)
        if len({item.label for item in items}) > 1:
            findings.faults.append(f"{names} are the same image with different labels. Keep the right one.")
        elif len({item.group for item in items}) > 1:
            findings.faults.append(
                f"{names} are the same image in different {findings.dataset.grouping}s: a split would put it on both "
                "sides. Keep one."
            )
        else:
            findings.remarks.append(f"{names} are the same image. Keep one.")


def _judge_look_alikes(findings: Findings, small: dict[int, NDArray[np.float32]], copies: set[tuple[int, int]]) -> None:
    """Nearly the same picture in two groups: a remark, and a fault where the two are on two sides of a split."""
    slices, grouping = findings.dataset.slices, findings.dataset.grouping
    pairs = [pair for pair in _alike(small, findings.dataset.groups) if pair[:2] not in copies]
    findings.look_alikes = sorted(pairs, key=lambda pair: -pair[2])
    named = [(f"{slices[a].image.name} and {slices[b].image.name} ({alike:.3f})", slices[a].part, slices[b].part)
             for a, b, alike in findings.look_alikes]  # fmt: skip
    for names, one, other in named:
        if one != other:
            findings.faults.append(
                f"{names} are nearly the same image, in two {grouping}s and two parts of the split ({one}, {other}). "
                "Find out whether they are of one patient, and put them on one side."
            )
    if named:
        some = "; ".join(names for names, _, _ in named[:3])
        plural = "s" if len(named) > 1 else ""
        more = f"; and {len(named) - 3} more" if len(named) > 3 else ""
        findings.remarks.append(
            f"{len(named)} pair{plural} of slices in different {grouping}s look nearly the same: "
            f"{some}{more}. Are these of one patient? Then give them one {grouping}."
        )


def _alike(small: dict[int, NDArray[np.float32]], groups: NDArray[np.str_]) -> Iterator[tuple[int, int, float]]:
    """Positions and correlation of pairs of slices in different groups that are as alike as copies."""
    index = np.array(list(small), dtype=np.intp)
    if not len(index):
        return
    pixels = np.stack(list(small.values()))
    pixels = pixels - pixels.mean(axis=1, keepdims=True)
    pixels /= np.maximum(np.linalg.norm(pixels, axis=1, keepdims=True), 1e-6)
    for start in range(0, len(index), CHUNK):
        alike = pixels[start : start + CHUNK] @ pixels.T
        for row, column in np.argwhere(alike > NEARLY):
            one, other = int(index[start + row]), int(index[column])
            if one < other and groups[one] != groups[other]:
                yield one, other, float(alike[row, column])


def _judge_sides(findings: Findings) -> None:
    sides: dict[str, set[str]] = defaultdict(set)
    for item in findings.dataset:
        if item.part:
            sides[item.group].add(item.part)
    for group, parts in sorted(sides.items()):
        if len(parts) > 1:
            findings.faults.append(
                f"{findings.dataset.grouping} {group} is in {' and '.join(sorted(parts))}: move it to one side of the "
                "split."
            )


def _judge_sizes(findings: Findings) -> None:
    if len(findings.sizes) > 1:
        (width, height), count = findings.sizes.most_common(1)[0]
        others = sum(findings.sizes.values()) - count
        findings.remarks.append(f"{others} images are not {width} x {height} like most; they are scaled when loaded.")
