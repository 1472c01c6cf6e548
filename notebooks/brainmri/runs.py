"""Where a training keeps what must outlive the kernel: ~/sciencebox-runs/<notebook>/<run>/."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from brainmri import tracking
from brainmri.data import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from brainmri.data import Dataset, Slice

S = TypeVar("S")

HOME = tracking.HOME
CARD = "model.json"  # beside a network: what it is, and what it learnt from
END = 1024  # bytes
KERAS_NETWORK = "model.keras"


def named_size(sizes: Mapping[str, S], name: str) -> S:
    """The numbers behind a size's name. Raises ValueError for a name that there is none of."""
    if name not in sizes:
        raise ValueError(f"size is {name!r}; use one of {', '.join(sizes)}")
    return sizes[name]


@dataclass(frozen=True)
class Run:
    """The folder of one training. Different settings never share one, so a checkpoint always fits.

    What is written into it is logged by MLflow, too, where its settings name a task (see `tracking`).
    """

    folder: Path

    def checkpoint(self, epochs: int) -> Path:
        """Weights and optimizer after so many epochs."""
        return self.folder / f"epoch-{epochs:04d}.weights.h5"

    def state(self, epochs: int) -> Path:
        """Network and optimiser after so many epochs, as PyTorch stores them."""
        return self.folder / f"epoch-{epochs:04d}.pt"

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Store what the result depends on."""
        write_whole(self.folder / "settings.json", settings_text(settings) + "\n")

    def read_history(self) -> list[dict[str, float]]:
        """Loss and metrics of each complete epoch."""
        path = self.folder / "history.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []

    def write_history(self, history: list[dict[str, float]]) -> None:
        """Replace the stored epochs."""
        write_whole(self.folder / "history.json", json.dumps(history, indent=1))
        tracking.log_epochs(self.folder, history)

    @property
    def hardware(self) -> list[str]:
        """What its epochs were trained on: several where a training went on elsewhere, none before the first."""
        path = self.folder / "hardware.json"
        return list(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else []

    def trained_on(self, hardware: str) -> None:
        """Remember what an epoch was trained on: whoever finds the training complete may have something else."""
        if hardware not in self.hardware:
            write_whole(self.folder / "hardware.json", json.dumps([*self.hardware, hardware]))

    def end(self) -> None:
        """Say that no more epochs will come."""
        tracking.log_epochs(self.folder, self.read_history(), complete=True)

    def write_split(self, how: str, slices: Sequence[Slice], parts: Mapping[str, Iterable[int]]) -> None:
        """Store which patients or blocks, and which of the `slices`, are in each part of a split, or in each fold."""
        sides = {name: [slices[index] for index in indices] for name, indices in parts.items()}
        told = {
            name: {"groups": sorted({one.group for one in side}), "slices": [one.image.name for one in side]}
            for name, side in sides.items()
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / "split.json", json.dumps({"split": how, "parts": told}, indent=1) + "\n")

    def write_card(self, card: Mapping[str, Any]) -> None:
        """Store what is to be known of the run's network. Comes last: where it is, all is there."""
        write_whole(self.folder / CARD, json.dumps(dict(card), indent=2) + "\n")

    def write_result(self, result: Mapping[str, Any]) -> Path:
        """Store the figures of the run with what they were obtained from."""
        path = self.folder / "result.json"
        write_whole(path, as_json(result) + "\n")
        tracking.log_result(self.folder, result)
        return path


def hardware_of(runs: Iterable[Run], here: str) -> str:
    """What trainings ran on, in words; `here` where they do not tell."""
    return " and ".join(dict.fromkeys(name for run in runs for name in run.hardware)) or here


def open_run(notebook: str, settings: Mapping[str, Any], root: Path | None = None) -> Run:
    """The run with exactly these settings: a new folder, or the one that an earlier kernel began.

    `settings` holds everything that the result depends on (JSON values); `name` in it becomes part of the folder's
    name. `root` is ~/sciencebox-runs unless given.
    """
    key = hashlib.sha256(settings_text(settings).encode()).hexdigest()[:8]
    folder = (root or Path.home() / HOME) / notebook / f"{settings.get('name', 'run')}-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(folder)
    run.write_settings(settings)
    return run


def read_json(path: Path) -> dict[str, Any]:
    """What a run's file says. Raises DataError where that is nothing."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(said, dict):
            raise TypeError("it holds no object")
    except (OSError, TypeError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}). Copy the run's folder again, or train anew.") from error
    return said


def as_json(figures: Mapping[str, Any]) -> str:
    """Figures for files and programs: JSON knows no infinite distance and no interval of one patient, and has null."""
    return json.dumps(_finite(figures), indent=2)


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings as they are stored: equal ones as equal text."""
    return json.dumps(dict(settings), indent=2, sort_keys=True)


def fingerprint(dataset: Dataset) -> str:
    """Changes when a slice or mask is added, removed, relabelled, regrouped or replaced (see `trace`).

    So it does with the images that masks were drawn on, which say how the masks lie.
    """
    digest = hashlib.sha256()
    for item in dataset:
        mask = trace(item.mask, whole=True) if item.mask else None
        drawn_on = [trace(item.drawn_on)] if item.mask and item.drawn_on else []
        facts = (item.image.name, trace(item.image), item.label, item.group, item.part, mask, *drawn_on)
        digest.update(repr(facts).encode())
    return digest.hexdigest()[:16]


def trace(path: Path, *, whole: bool = False) -> str:
    """Tells whether a file is what it was: by the `whole` of it, as masks are corrected by hand, else by its end.

    Images may be many and large; at its end, a file of PNG or gzip has a checksum of all that is before it.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        if not whole:
            file.seek(max(0, size - END))
        return f"{size}-{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, (list, tuple)) else value


def write_whole(path: Path, text: str) -> None:
    """Write a file that is never seen half-written: beside it first, then moved over it."""
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
