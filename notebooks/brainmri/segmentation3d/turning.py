"""A head to turn and to cut, in JupyterLab: ipyniivue, which draws with WebGL 2 in the browser, or else a figure."""

from __future__ import annotations

import html
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmri.segmentation3d.view import colours, middle, surfaces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from brainmri.data import Source
    from brainmri.segmentation3d.samples import Sample

HEIGHT = 420  # pixels
OPACITY = 0.6  # of the mask
MISSED, WHITE = "drawn, not found", (255, 255, 255)


def turned(
    sample: Sample,
    labels: NDArray[np.uint8],
    source: Source,
    regions: Sequence[str],
    drawn: NDArray[np.uint8] | None = None,
) -> Any:
    """Three planes of a case's last modality and the head in space, `labels` (x, y, z) over it, its source below.

    Of the mask that was `drawn`, what `labels` lack is white. Dragging turns the head, clicking moves the planes.
    Without ipyniivue, the surfaces of the regions as a figure.
    """
    if find_spec("ipyniivue") is None:
        shapes = {sample.case.name: labels} if drawn is None else {"drawn": drawn, "found": labels}
        return surfaces(shapes, sample.spacing, source, regions)
    from ipyniivue import NiiVue, ShowRender
    from ipywidgets import HTML, VBox

    names, painted = list(regions), [_rgb(colour) for colour in colours(len(regions))]
    over = labels
    if drawn is not None:
        over = np.where((labels == 0) & (drawn > 0), len(regions) + 1, labels).astype(np.uint8)
        names, painted = [*names, MISSED], [*painted, WHITE]
    shown = NiiVue(height=HEIGHT, multiplanar_show_render=ShowRender.ALWAYS, is_radiological_convention=True)
    shown.load_volumes([
        {"name": "image.nii", "data": _nifti(_grey(sample.images[-1]), sample.spacing), "colormap": "gray"},
        {"name": "mask.nii", "data": _nifti(over, sample.spacing), "opacity": OPACITY},
    ])  # fmt: skip
    red, green, blue = zip((0, 0, 0), *painted, strict=True)
    shown.volumes[1].set_colormap_label({
        "R": list(red), "G": list(green), "B": list(blue), "A": [0, *[255] * len(names)],
        "I": list(range(len(names) + 1)), "labels": ["", *names],
    })  # fmt: skip
    shown.scene.crosshair_pos = [(at + 0.5) / edge for at, edge in zip(middle(labels), labels.shape, strict=True)]
    return VBox([shown, HTML(html.escape(f"{sample.case.name}. {source.credit}"))])


def _grey(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Brightness from 1 to 255 in the brain, 0 outside."""
    brain = image != 0
    low, high = np.percentile(image[brain], [1, 99.5]) if brain.any() else (0.0, 1.0)
    bright = 1 + 254 * np.clip((image.astype(np.float32) - low) / max(float(high - low), 1e-6), 0, 1)
    return np.asarray(np.where(brain, bright, 0), dtype=np.uint8)


def _nifti(values: NDArray[np.uint8], spacing: float) -> bytes:
    import nibabel

    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(values.shape) - 1) / 2
    return bytes(nibabel.Nifti1Image(values, affine).to_bytes())


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour.removeprefix("#")))
