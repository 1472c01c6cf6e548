"""Masks of single slices that people draw: what is suspicious about one, and storing it beside its slice."""

from __future__ import annotations

import io
from itertools import chain, count
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from scipy import ndimage

from brainmri.data import DataError, open_image

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

SMALLEST = 10  # pixels: less is a slip of the hand
LARGEST = 0.4  # of what is inside
TINY = 0.05  # of the largest piece
AIR = 0.08  # of the brightest pixel


def head(image: NDArray[np.float32]) -> Mask:
    """Where a slice shows no air: everything that is bright, and what that surrounds."""
    filled = ndimage.binary_fill_holes(image > AIR * image.max())
    return np.asarray(filled, dtype=bool)


def faults(mask: Mask, inside: Mask, spacing: Sequence[float] | None = None) -> list[str]:
    """What is suspicious about a drawn mask, each a sentence; nothing where all is well.

    `inside` is where it may be, such as the brain, or the `head`. Areas are in mm² where `spacing` (mm) is known, else
    in pixels. Raises ValueError for a mask of another shape than `inside`.
    """
    if mask.shape != inside.shape:
        raise ValueError(f"the mask is {mask.shape}, what it lies in {inside.shape}: draw it on the same slice")
    if not mask.any():
        return ["Nothing is drawn."]
    said, total = [], int(mask.sum())
    if total < SMALLEST:
        said.append(f"It is very small: {_area(total, spacing)}.")
    if total > LARGEST * inside.sum():
        said.append(f"It is very large: {total / max(inside.sum(), 1):.0%} of what it lies in.")
    sizes = _sizes(mask)
    if tiny := [size for size in sizes[1:] if size < TINY * sizes[0]]:
        pieces = "1 tiny piece" if len(tiny) == 1 else f"{len(tiny)} tiny pieces"
        said.append(f"It has {pieces} apart from the rest, {_area(sum(tiny), spacing)} together.")
    if holes := int((ndimage.binary_fill_holes(mask) & ~mask).sum()):
        said.append(f"It has holes of {_area(holes, spacing)}.")
    if outside := int((mask & ~inside).sum()):
        said.append(f"{_area(outside, spacing)} of it, {outside / total:.0%}, lie outside of where it may be.")
    return said


def mended(mask: Mask, inside: Mask) -> Mask:
    """The mask without its tiny pieces and what lies outside, its holes filled."""
    kept = np.asarray(ndimage.binary_fill_holes(mask & inside), dtype=bool)
    pieces, found = ndimage.label(kept)
    if found < 2:
        return kept
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray((sizes >= TINY * sizes.max())[pieces] & kept, dtype=bool)


def store(slice_file: Path, mask: Mask, said: str = "") -> Path:
    """Write a mask, white on black, as DIR/masks/N.png for DIR/slices/N.png; returns its file.

    A mask that is there stays: the new one is called N-2.png, N-3.png and so on, but for names of other slices, and
    `read_folder` goes on to take N.png. `said` is kept in the file. Raises DataError where the mask does not fit the
    slice, or that lies in no folder `slices`, and OSError.
    """
    slice_file = slice_file.absolute()
    if slice_file.parent.name != "slices":
        raise DataError(f"{slice_file} lies in no folder named slices: move it into one, to get its mask beside that.")
    width, height = open_image(slice_file).size
    if mask.shape != (height, width):
        raise DataError(
            f"The mask is {mask.shape[1]} x {mask.shape[0]} pixels, but {slice_file.name} is {width} x {height}. Draw "
            "it on the slice as its file has it."
        )
    folder = slice_file.parent.parent / "masks"
    folder.mkdir(exist_ok=True)
    about, content = PngInfo(), io.BytesIO()
    about.add_text("Comment", said or "drawn by hand with brainmri")
    Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(content, "png", pnginfo=about)
    drawn, slices = ({path.stem for path in place.iterdir()} for place in (folder, slice_file.parent))
    first = [] if slice_file.stem in drawn else [slice_file.stem]  # whatever its ending is
    others = (f"{slice_file.stem}-{number}" for number in count(2))
    for stem in chain(first, (name for name in others if name not in slices)):
        path = folder / f"{stem}.png"
        try:
            file = path.open("xb")
        except FileExistsError:
            continue
        try:
            with file:
                file.write(content.getvalue())
        except OSError:
            path.unlink()
            raise
        break
    return path


def _sizes(mask: Mask) -> list[int]:
    """Pixels of each piece, the largest first."""
    return sorted(np.bincount(ndimage.label(mask)[0].ravel())[1:].tolist(), reverse=True)


def _area(pixels: int, spacing: Sequence[float] | None) -> str:
    if spacing is None:
        return f"{pixels} pixel{'s' if pixels != 1 else ''}"
    return f"{pixels * spacing[0] * spacing[1]:.0f} mm²"
