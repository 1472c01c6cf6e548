"""Writing a data set: its folder appears when it is complete, and what was begun is removed when it cannot be."""

from __future__ import annotations

import csv
import shutil
import tempfile
from contextlib import contextmanager
from errno import EEXIST, ENOTEMPTY
from pathlib import Path
from typing import TYPE_CHECKING

from brainmri.data import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

COLUMNS = ("slice", "tumour", "patient")


def must_be_new(root: Path) -> None:
    """Raise DataError for a folder that is there."""
    if root.exists():
        raise DataError(f"{root} exists. Name a new folder: nothing is overwritten.")


@contextmanager
def new_folder(root: Path, *, shared: bool = False) -> Iterator[Path]:
    """A folder to write into, which becomes `root` at the end; after an error nothing is left.

    A `shared` one may be made by another process at the same time: the first stays, for they are the same.
    """
    root.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        yield unfinished
        unfinished.chmod(0o755)
        try:
            unfinished.replace(root)
        except OSError as error:
            if not shared or error.errno not in (EEXIST, ENOTEMPTY):
                raise
            shutil.rmtree(unfinished)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def write_labels(folder: Path, rows: Iterable[Sequence[str]]) -> None:
    """Write labels.csv: name, tumour and patient of each slice."""
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows([COLUMNS, *rows])
