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
    `channels` and `classes` follow from what is looked for in which images. `checkpointing` saves memory for time and
    changes nothing else.
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
    checkpointing: bool = False


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
    network: nn.Module
    if family == "vae":
        network = networks.VaeUNet(size.edge, size.filters, tuple(size.blocks), **seen)
    else:
        deep = size.deep_supervision and family != "gan"
        network = networks.unet(size.filters, size.levels, deep_supervision=deep, **seen)
    return networks.checkpointed(network) if size.checkpointing else network


def critic(size: Size) -> networks.Critic:
    """A new critic of a GAN."""
    network = networks.Critic(size.critic, channels=size.channels, classes=size.classes)
    return networks.checkpointed(network, networks.CRITICS_BLOCKS) if size.checkpointing else network


def made_for(size: Size, target: Target) -> Size:
    """The size for what is looked for in which images."""
    return replace(size, channels=len(target.modalities), classes=1 + len(target.regions))


def without_critic(size: Size) -> Size:
    """The size at which a U-Net learns as a GAN's generator does, but for the critic: it has no deep supervision."""
    return replace(size, deep_supervision=False)


def answering(network: nn.Module, size: Size) -> nn.Module:
    """A segmenter that gives the same answers, without what only helped it to learn: autoencoder, coarser answers."""
    if isinstance(network, networks.VaeUNet):
        return network.without_autoencoder()
    plain = segmenter("segmentation3d", replace(size, deep_supervision=False, checkpointing=False))
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


def plan(size: Size, seed: int, patience: int = 0, plateau: int = 0) -> Plan:
    """How long a network of this size is trained: the same for every family."""
    from brainmri.segmentation3d.training import Plan

    return Plan(size.epochs, size.steps, size.batch, seed, size.classes, patience, plateau)


def need(family: str, size: Size) -> Need:
    """Memory that a training step takes on a GPU. The critic of a GAN judges two masks at once, each with its MRI."""
    shape = (size.batch, size.channels, *(size.edge,) * 3)
    plain, kinds = replace(size, checkpointing=False), (networks.BLOCKS, networks.CRITICS_BLOCKS)
    forgetful, critics = kinds if size.checkpointing else ((), ())
    taken = preflight.need(segmenter(family, plain), shape, checkpointed=forgetful)
    if family != "gan":
        return taken
    with_mask = (size.batch, size.channels + size.classes, *(size.edge,) * 3)
    judge = preflight.need(critic(plain).patches, with_mask, checkpointed=critics)
    return replace(taken, weights=taken.weights + judge.weights, activations=taken.activations + 2 * judge.activations)


def for_this_session(family: str, name: str, workers: int = 1) -> tuple[Size, str]:
    """The numbers behind a size's name, made to fit the GPUs where there are some; and what was done, in words.

    Raises ValueError where there are fewer GPUs than workers; without any, workers share the cores.
    """
    if workers < 1:
        raise ValueError(f"{workers} devices cannot train anything; use one or more")
    size, said = shared(named(name), workers)
    held = torch.cuda.device_count()
    if 0 < held < workers:
        raise ValueError(f"this session holds {held} GPU{'s' * (held > 1)}, not {workers}; use as many, or get more")
    memory = preflight.memory(workers)
    if memory is None:
        return size, said
    if workers > 1:
        memory -= preflight.OVERHEAD  # of this process, which asks each card and does not train
    fitted, what = fitting(family, size, memory, workers)
    return fitted, " ".join(filter(None, [said, what]))


def shared(size: Size, workers: int) -> tuple[Size, str]:
    """The size with batches that workers can share evenly, larger ones if need be; and what was done, in words."""
    each = -(-size.batch // workers)
    larger = replace(size, batch=each * workers)
    return larger, "" if larger == size else f"Batches of {larger.batch} patches, so that each device has {each}."


def fitting(family: str, size: Size, memory: int, workers: int = 1) -> tuple[Size, str]:
    """The size for so many bytes, which each of the workers that share a batch has; and what was done, in words.

    Until a step fits: activation checkpointing, which changes nothing in what is learnt, then smaller batches, then
    smaller patches. Raises MemoryError where nothing fits.
    """
    smaller = size
    while advice := need(family, replace(smaller, batch=smaller.batch // workers)).advice(memory):
        if not smaller.checkpointing:
            smaller = replace(smaller, checkpointing=True)
        elif smaller.batch > workers:
            smaller = replace(smaller, batch=smaller.batch // workers // 2 * workers)
        elif smaller.edge > 2 * STEP:
            smaller = replace(smaller, edge=smaller.edge - STEP)
        else:
            raise MemoryError(advice)
    if smaller == size:
        return size, ""
    said = "To fit the GPU's memory: activation checkpointing, which takes longer and gives the same network"
    if smaller != replace(size, checkpointing=True):
        said += f"; batches of {smaller.batch} patches of {smaller.edge} voxels' edge, which does not"
    return smaller, f"{said}."
