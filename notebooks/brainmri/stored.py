"""A trained network in its study's folder: `model.pt`, and `model.json`, its card, which says what it learnt from."""

from __future__ import annotations

import hashlib
import re
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from brainmri import __version__, fit
from brainmri.data import DataError
from brainmri.runs import CARD, Run, read_json
from brainmri.splits import LeakageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from brainmri.data import Source

S = TypeVar("S")

# How the sources of made-up data are named.
DRAWN = re.compile(r"(made-up [^,]+), difficulty [^,]+(?:, motion [^,]+)?, seed (\d+)")
WEIGHTS = "model.pt"
NAMED = 5  # of what was learnt from, before the rest is counted


def write(folder: Path, network: nn.Module, card: Mapping[str, Any]) -> None:
    """Store a network with its card, which comes last: where it is, all is there. Raises OSError."""
    fit.save(network.state_dict(), folder / WEIGHTS)
    Run(folder).write_card(card)


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a study's network. Raises DataError where there is none."""
    path = folder / CARD
    if not path.is_file() and (folder / "settings.json").is_file():
        raise DataError(f"{folder} has no {CARD}: its training is not complete. Run it again to go on with it.")
    if not path.is_file():
        raise DataError(f"{folder} has no {CARD}. Give the folder that `brainmri train` wrote.")
    return read_json(path)


def size_of(kind: type[S], card: Mapping[str, Any], folder: Path) -> S:
    """The numbers that a card gives for its network. Raises DataError for a card of a version that had others."""
    try:
        return kind(**card["size"])
    except (KeyError, TypeError) as error:
        version = card.get("version", "unknown")
        raise DataError(
            f"{folder / CARD} is no card of brainmri {__version__}, but of version {version}: train anew, or use the "
            "release that wrote it."
        ) from error


def load(network: nn.Module, folder: Path) -> None:
    """Give a network of the right shape what the stored one learnt. Raises DataError where the file is damaged."""
    path = folder / WEIGHTS
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (EOFError, OSError, RuntimeError, UnpicklingError) as error:
        said = (str(error).splitlines() or ["it ends early"])[0]
        raise DataError(f"{path} is no whole network ({said}). Copy the run's folder again, or train anew.") from error


def digests(images: Iterable[NDArray[np.float32]]) -> list[str]:
    """Tells by its pixels whether a slice was seen before, whatever its name."""
    return [hashlib.sha256(np.round(image, 2).tobytes()).hexdigest()[:16] for image in images]


def refuse_drawn_before(asked: Source, learnt_from: Iterable[str]) -> None:
    """Raise LeakageError for made-up patients of a seed that was learnt from: drawn otherwise, they are the same ones.

    `learnt_from` has the credits of what the network learnt from, as cards have them.
    """
    drawn = DRAWN.search(asked.name)
    before = [found.groups() for credit in learnt_from if (found := DRAWN.search(credit))]
    if drawn and drawn.groups() in before:
        raise LeakageError(
            f"The network learnt from {drawn[1]} of seed {drawn[2]}, and these are the same ones, drawn otherwise: a "
            "figure from them would be too good. Draw others with another --seed."
        )


def refuse_known(asked: Iterable[tuple[str, str]], known: Collection[str], instead: str) -> None:
    """Raise LeakageError naming what the network learnt from; `asked` has name and digest of each.

    `instead` is the sentence that says where honest figures are.
    """
    learnt = set(known)
    seen = [name for name, digest in asked if digest in learnt]
    if seen:
        more = f" and {len(seen) - NAMED} more" if len(seen) > NAMED else ""
        raise LeakageError(
            f"The network learnt from {', '.join(seen[:NAMED])}{more}: a figure from them would be too good. {instead}"
        )
