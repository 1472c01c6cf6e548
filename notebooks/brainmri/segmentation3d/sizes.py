"""How much is done in each size, and what is done where a GPU has less memory than that takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from brainmri import preflight
from brainmri.runs import named_size
from brainmri.segmentation3d import networks
from brainmri.segmentation3d.objectives import Adversarial, Supervised

if TYPE_CHECKING:
    from torch import nn

    from brainmri.preflight import Need
    from brainmri.segmentation3d.cases import Target
    from brainmri.segmentation3d.training import Plan

STEP = 16  # by which the edge of a patch is made smaller


@dataclass(frozen=True)
class Size:
    """How much is done. `spacing` in mm, `edge` of a patch in voxels, `cases` of the made-up cohort.

    `levels` are those of the U-Net, `blocks` the residual blocks on each level of the one with an autoencoder. `rate`
    is the learning rate, `folds` into how many the patients are divided, `checked` how many cases the curve is of.
    `channels` and `classes` follow from what is looked for in which images.
    """

    spacing: float
    edge: int
    filters: int
    levels: int
    blocks: tuple[int, ...]
    critic: int
    cases: int
    epochs: int
    steps: int
    batch: int
    rate: float
    folds: int = 4
    checked: int = 3
    deep_supervision: bool = False
    weight_decay: float = 1e-5
    channels: int = networks.CHANNELS
    classes: int = networks.CLASSES


SIZES = {
    "smoke": Size(
        spacing=5.0, edge=32, filters=4, levels=3, blocks=(1, 1, 1), critic=4, cases=6, epochs=2, steps=2, batch=2,
        rate=3e-3, folds=3, checked=1,
    ),
    "quick": Size(
        spacing=2.5, edge=48, filters=8, levels=4, blocks=(1, 2, 2, 4), critic=8, cases=48, epochs=12, steps=40,
        batch=2, rate=2e-3,
    ),
    # After Myronenko 2018: 1 mm, 32 filters, 300 epochs, the VAE with his blocks and dropout; his patches are larger.
    "full": Size(
        spacing=1.0, edge=128, filters=32, levels=5, blocks=(1, 2, 2, 4), critic=32, cases=200, epochs=300, steps=250,
        batch=2, rate=3e-4, folds=5, checked=8, deep_supervision=True,
    ),
}  # fmt: skip


def named(name: str) -> Size:
    """The numbers behind a size's name. Raises ValueError for a name that there is none of."""
    return named_size(SIZES, name)


def segmenter(family: str, size: Size) -> nn.Module:
    """A new network of a family. Seed PyTorch before."""
    seen = {"channels": size.channels, "classes": size.classes}
    if family == "vae":
        return networks.VaeUNet(size.edge, size.filters, tuple(size.blocks), **seen)
    return networks.unet(size.filters, size.levels, deep_supervision=size.deep_supervision and family != "gan", **seen)


def critic(size: Size) -> networks.Critic:
    """A new critic of a GAN."""
    return networks.Critic(size.critic, channels=size.channels, classes=size.classes)


def made_for(size: Size, target: Target) -> Size:
    """The size for what is looked for in which images."""
    return replace(size, channels=len(target.modalities), classes=1 + len(target.regions))


def answering(network: nn.Module, size: Size) -> nn.Module:
    """A segmenter that gives the same answers, without what only helped it to learn: autoencoder, coarser answers."""
    if isinstance(network, networks.VaeUNet):
        return network.without_autoencoder()
    plain = segmenter("segmentation3d", replace(size, deep_supervision=False))
    kept = plain.state_dict().keys()
    plain.load_state_dict({name: value for name, value in network.state_dict().items() if name in kept})
    return plain.train(network.training)


def learner(family: str, size: Size, loss: str, seed: int) -> Supervised | Adversarial:
    """A new family of networks, which `training.Training` trains."""
    torch.manual_seed(seed)
    network = segmenter(family, size)
    if family == "gan":
        return Adversarial(network, critic(size), loss, rate=size.rate, weight_decay=size.weight_decay)
    return Supervised(network, loss, rate=size.rate, weight_decay=size.weight_decay)


def plan(size: Size, seed: int) -> Plan:
    """How long a network of this size is trained: the same for every family."""
    from brainmri.segmentation3d.training import Plan

    return Plan(size.epochs, size.steps, size.batch, seed, size.classes)


def need(family: str, size: Size) -> Need:
    """Memory that a training step takes on a GPU. The critic of a GAN sees the MRI once more, and the mask."""
    shape = (size.batch, size.channels, *(size.edge,) * 3)
    taken = preflight.need(segmenter(family, size), shape)
    if family != "gan":
        return taken
    with_mask = (size.batch, size.channels + size.classes, *(size.edge,) * 3)
    judge = preflight.need(critic(size).patches, with_mask)
    return replace(taken, weights=taken.weights + judge.weights, activations=taken.activations + 3 * judge.activations)


def for_this_session(family: str, name: str) -> tuple[Size, str]:
    """The numbers behind a size's name, made to fit the GPU where there is one; and what was done, in words."""
    size = named(name)
    if not torch.cuda.is_available():
        return size, ""
    return fitting(family, size, torch.cuda.mem_get_info()[1])


def fitting(family: str, size: Size, memory: int) -> tuple[Size, str]:
    """The size with smaller batches, then smaller patches, until a step fits into so many bytes; and what was done.

    Raises MemoryError where nothing fits.
    """
    smaller = size
    while advice := need(family, smaller).advice(memory):
        if smaller.batch > 1:
            smaller = replace(smaller, batch=smaller.batch // 2)
        elif smaller.edge > 2 * STEP:
            smaller = replace(smaller, edge=smaller.edge - STEP)
        else:
            raise MemoryError(advice)
    said = f"To fit the GPU's memory: batches of {smaller.batch} patches of {smaller.edge} voxels' edge."
    return smaller, "" if smaller == size else said
