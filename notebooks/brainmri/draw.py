"""A slice to draw a mask on, in a notebook: with a mouse, a pen or a finger, or by keyboard."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets
from PIL import Image

from brainmri.volume import library

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from brainmri.data import Source

anywidget = library("anywidget")


class Drawing(anywidget.AnyWidget):  # type: ignore[misc]
    """A grey slice (height, width) and a mask on it, which is empty or one to correct.

    `mask` is what is drawn so far; `reset` takes it back to what it began with.
    """

    _esm = Path(__file__).with_name("draw.js")
    width = traitlets.Int().tag(sync=True)
    height = traitlets.Int().tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    _picture = traitlets.Bytes().tag(sync=True)
    _drawn = traitlets.Bytes().tag(sync=True, from_json=lambda value, _widget: bytes(value))

    def __init__(self, image: NDArray[Any], source: Source, mask: NDArray[np.bool_] | None = None) -> None:
        self._began = np.zeros(image.shape, dtype=bool) if mask is None else mask.copy()
        if self._began.shape != image.shape:
            raise ValueError(f"the mask is {self._began.shape}, the slice {image.shape}: they must be alike")
        low, high = np.percentile(image, (0, 99.8))
        grey = np.clip((image - low) / max(float(high - low), 1e-6), 0, 1)
        file = io.BytesIO()
        Image.fromarray(np.round(255 * grey).astype(np.uint8)).save(file, "png")
        height, width = image.shape
        super().__init__(
            width=width, height=height, title=source.credit, _picture=file.getvalue(), _drawn=_bytes(self._began)
        )

    @property
    def mask(self) -> NDArray[np.bool_]:
        """What is drawn, (height, width)."""
        return np.frombuffer(self._drawn, dtype=np.uint8).reshape(self.height, self.width) > 0

    def reset(self) -> None:
        """Begin again."""
        self._drawn = _bytes(self._began)


def _bytes(mask: NDArray[np.bool_]) -> bytes:
    return mask.astype(np.uint8).tobytes()
