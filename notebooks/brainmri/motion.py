"""What a scan looks like whose patient moved: ghosts and blur, for synthetic slices.

A scanner measures a slice line by line in k-space, its Fourier transform. After a movement the lines are those of a
head that lies elsewhere, and a shift is a ramp in the phase (Zaitsev, Maclaren, Herbst 2015, doi 10.1002/jmri.24850).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Field = NDArray[np.float32]

MOVES = 16.0  # of a head that moves much, in the mean; at least one
FAR = 2.0  # pixels of such a move, standard deviation in each direction


def moved(image: Field, amount: float, random: np.random.Generator) -> Field:
    """A slice (rows, columns) of a head that moved by `amount`, from 0, where it is the same, to 1.

    Lines are measured along the rows, from one end of k-space to the other. Where the head lay as its middle was
    measured, which makes most of the image, is where it is shown: a mask stays true.
    """
    if amount == 0:
        return image
    rows, columns = image.shape
    moves = 1 + random.poisson(MOVES * amount)
    shift = np.zeros((rows, 2))
    for line in random.integers(rows, size=moves):
        shift[line:] += random.normal(0, FAR * amount, size=2)
    shift -= shift[rows // 2]
    down, right = (np.fft.fftshift(np.fft.fftfreq(edge)) for edge in (rows, columns))
    turns = (down * shift[:, 0])[:, None] + np.outer(shift[:, 1], right)
    space = np.fft.fftshift(np.fft.fft2(image)) * np.exp(-2j * np.pi * turns)
    return np.abs(np.fft.ifft2(np.fft.ifftshift(space))).astype(np.float32)
