"""A trained network as an ONNX file for other programs: the network that answers, and what they have to know of it.

The file says in its metadata what the network's card says. It is opened again and asked the same as the network: where
their answers differ, there is no file.
"""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from brainmri import commands, data, segment, synthetic
from brainmri.volume import library

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    Array = NDArray[np.float32]

ENDING = ".onnx"
INPUT, OUTPUT = "image", "probability"
LARGEST_DIFFERENCE = 1e-4  # of a probability: what other orders of adding up make of single precision, and no more
ASKED = 4  # slices at most
AS_IT_IS = (
    "`brainmri predict` takes the mean over three sizes of an image and its mirror image, and the threshold was chosen "
    "for that mean; this file answers about the image as it is."
)
RESEARCH = "For research: this is not a medical device."


@dataclass(frozen=True)
class Portable:
    """A network that takes (n, channels, edges ...) and gives probabilities, with what its card says, by name.

    `images` are some that it is asked about, in words `asked`.
    """

    network: nn.Module
    images: Array
    asked: str
    facts: Mapping[str, Any]

    @property
    def summary(self) -> str:
        """What the network is, what it learnt from, and what it is not for."""
        return f"{self.facts['task']}, learnt from {self.facts['learnt_from']}. {RESEARCH}"


class Probabilities(nn.Module):
    """A network whose logits (n, classes, ...) become probabilities: a softmax, or for a single class a sigmoid."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The probability of each class."""
        logits = self.network(image)
        return torch.sigmoid(logits) if logits.shape[1] == 1 else torch.softmax(logits, dim=1)


def facts(card: Mapping[str, Any], **own: Any) -> dict[str, Any]:
    """What every card says, and what the `own` of a task does.

    A network that began with synthetic heads learnt from synthetic data, too.
    """
    before = bool(card.get("pretrained"))
    licence = card.get("licence", "see learnt_from")
    named = {"version": "brainmri", "size_name": "size", "loss": "loss", "seed": "seed", "hardware": "hardware"}
    return {
        "task": card["task"],
        **own,
        "learnt_from": card["data_name"] + (", and before that from SYNTHETIC DATA: made-up heads" if before else ""),
        "licence": f"{licence}; the made-up heads: {synthetic.LICENCE}" if before else licence,
        "synthetic": "yes" if card["data_name"].startswith("SYNTHETIC") else "in part" if before else "no",
        **{name: card[key] for key, name in named.items() if key in card},
        "made": card["made"],
        "use": RESEARCH,
    }


def of_slices(card: Mapping[str, Any], **own: Any) -> dict[str, Any]:
    """What is to be known of a network that takes single slices."""
    pixels = card["size"]["pixels"]
    return facts(
        card,
        input=f"{INPUT} (n, 1, {pixels}, {pixels}), single precision: grey slices, padded with black to a square and "
        f"brought to {pixels} x {pixels} pixels",
        spacing_mm="any",
        normalisation=segment.NORMALISED,
        **{"asking": AS_IT_IS, **own},
    )


def slices(folder: Path | None, pixels: int) -> tuple[Array, str]:
    """Some slices (n, 1, pixels, pixels) as a network takes them, of a folder, else drawn; and what they are."""
    if folder:
        found = commands.images(folder)[:ASKED]
        return _normalised(found, pixels), ", ".join(item.image.name for item in found)
    with TemporaryDirectory() as scratch:
        drawn = synthetic.make(Path(scratch) / "heads", patients=2, slices=1)
        return _normalised(drawn.slices, pixels), "SYNTHETIC heads"


def write(portable: Portable, path: Path) -> float:
    """Write the file; returns the largest difference of its answers from those of the network, at most 1e-4.

    Raises DataError where a library is missing, ValueError where the answers differ and OSError where the file cannot
    be written; then none is left.
    """
    onnx = library("onnx")
    unfinished = path.with_name(f".{path.name}.new")
    network = portable.network.cpu().eval()
    try:
        onnx.save(_translated(portable, network), unfinished)
        onnx.checker.check_model(unfinished, full_check=True)
        with torch.inference_mode():
            wanted = network(torch.from_numpy(portable.images)).numpy()
        difference = float(np.abs(answer(unfinished, portable.images) - wanted).max())
        if not difference <= LARGEST_DIFFERENCE:
            raise ValueError(
                f"The exported network answers otherwise: by {difference:.1e}, about {portable.asked}. Nothing was "
                "written; this is a fault in the translation, not in your data."
            )
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return difference


def answer(path: Path, images: Array) -> Array:
    """What an exported network makes of images. Raises DataError where ONNX Runtime is missing."""
    runtime = library("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # left alone, it binds threads to cores the session lacks
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found: Array = session.run([OUTPUT], {INPUT: images})[0]
    return found


def _translated(portable: Portable, network: nn.Module) -> Any:
    """The network as ONNX has it, for any number of images of one size."""
    onnx = library("onnx")
    two = torch.from_numpy(np.resize(portable.images, (2, *portable.images.shape[1:])))  # one would be taken for fixed
    with _hushed():
        program = torch.onnx.export(
            network, (two,), input_names=[INPUT], output_names=[OUTPUT], dynamo=True, verbose=False,
            dynamic_shapes=({0: torch.export.Dim("n")},),
        )  # fmt: skip
    assert program is not None  # noqa: S101 (it is for dynamo=True)
    model = program.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]  # lines and paths of the code that it was translated from
    model.doc_string = portable.summary
    onnx.helper.set_model_props(model, {name: _text(value) for name, value in portable.facts.items()})
    return model


def _normalised(chosen: tuple[data.Slice, ...] | list[data.Slice], pixels: int) -> Array:
    return np.stack([segment.normalise(image) for image in data.load(chosen, pixels)])[:, None]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@contextmanager
def _hushed() -> Iterator[None]:
    """PyTorch's exporter warns of libraries that nothing here has any need for."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
