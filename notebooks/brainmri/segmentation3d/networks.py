"""Three networks for core and oedema in 3D. Each takes (n, 4, x, y, z) and gives logits (n, 3, x, y, z).

For another target, `channels` are its images, and `classes` its regions and what is none of them.
The three classes are background, core and oedema, for a softmax: a voxel is one of them and never two, as BraTS' labels
have it. A sigmoid for each region would have to be told that afterwards.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch
from monai.networks.blocks import Convolution
from monai.networks.blocks.dynunet_block import UnetResBlock, UnetUpBlock
from monai.networks.blocks.segresnet_block import ResBlock
from monai.networks.nets import DynUNet, PatchDiscriminator, SegResNet, SegResNetVAE
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from brainmri.segmentation3d.cases import MODALITIES, REGIONS

if TYPE_CHECKING:
    from collections.abc import Callable

N = TypeVar("N", bound=nn.Module)

CHANNELS, CLASSES = len(MODALITIES), 1 + len(REGIONS)  # unless a network is made for another target
LATENT = 128  # means, and as many deviations, of the autoencoder's code (Myronenko 2018)
BLOCKS = (UnetResBlock, UnetUpBlock, ResBlock)  # of the segmenters, none within another
CRITICS_BLOCKS = (Convolution,)
SCALES = 2  # coarser answers that deep supervision asks for as well


def unet(
    filters: int, levels: int = 4, *, deep_supervision: bool = False, channels: int = CHANNELS, classes: int = CLASSES
) -> DynUNet:
    """The 3D U-Net with residual blocks, in nnU-Net's form (Isensee et al. 2021, doi 10.1038/s41592-020-01008-z).

    Edges are multiples of 2 ** (levels - 1). With `deep_supervision` a training step gives (n, 1 + SCALES, 3, x, y, z):
    the answer, and those of coarser levels brought to its size.
    """
    return DynUNet(
        spatial_dims=3,
        in_channels=channels,
        out_channels=classes,
        kernel_size=[3] * levels,
        strides=[1] + [2] * (levels - 1),
        upsample_kernel_size=[2] * (levels - 1),
        filters=[filters * 2**level for level in range(levels)],
        res_block=True,
        deep_supervision=deep_supervision,
        deep_supr_num=min(SCALES, levels - 2),
    )


class Regularised(NamedTuple):
    """What the U-Net with an autoencoder gives while it learns: logits and the two terms that keep its code honest."""

    logits: torch.Tensor
    reconstruction: torch.Tensor
    divergence: torch.Tensor


class VaeUNet(SegResNetVAE):  # type: ignore[misc]
    """A U-Net whose encoder also has to give the image back, by a variational autoencoder.

    Myronenko 2018, doi 10.1007/978-3-030-11726-9_28. While it learns, it gives Regularised; in evaluation logits alone,
    to which the autoencoder's branch contributes nothing. MONAI's network, which fixes the code's variance by default,
    adds the two terms up, and gives a pair in evaluation, which a sliding window cannot take.
    """

    def __init__(
        self,
        edge: int,
        filters: int,
        blocks: tuple[int, ...] = (1, 2, 2, 4),
        dropout: float = 0.2,
        *,
        channels: int = CHANNELS,
        classes: int = CLASSES,
    ) -> None:
        super().__init__(
            input_image_size=(edge,) * 3,
            vae_estimate_std=True,
            vae_nz=LATENT,
            init_filters=filters,
            in_channels=channels,
            out_channels=classes,
            dropout_prob=dropout or None,
            norm=("GROUP", {"num_groups": min(8, filters)}),
            blocks_down=blocks,
            blocks_up=(1,) * (len(blocks) - 1),
        )
        self.channels, self.classes = channels, classes

    def forward(self, image: torch.Tensor) -> torch.Tensor | Regularised:
        """Logits, and while learning the terms of the autoencoder, for patches of the size that it was made for."""
        code, passed = self.encode(image)
        logits: torch.Tensor = self.decode(code, passed[::-1])
        return Regularised(logits, *self._terms(image, code)) if self.training else logits

    def _terms(self, image: torch.Tensor, code: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The squared error of the image given back, and the divergence of the code from a normal one, by voxel."""
        flat = self.vae_down(code).flatten(1)
        mean, deviation = self.vae_fc1(flat), functional.softplus(self.vae_fc2(flat))
        drawn = mean + deviation * torch.randn_like(mean)
        features = self.act_mod(self.vae_fc3(drawn)).view(-1, self.smallest_filters, *self.fc_insize)
        features = self.vae_fc_up_sample(features)
        for up, layers in zip(self.up_samples, self.up_layers, strict=True):
            features = layers(up(features))
        back = self.vae_conv_final(features)
        variance = deviation.float().square() + 1e-8
        divergence = (mean.float().square() + variance - variance.log() - 1).sum(dim=1).mean() / image[0, 0].numel()
        return functional.mse_loss(back.float(), image.float()), divergence

    def without_autoencoder(self) -> SegResNet:
        """The same U-Net with the same weights and without the branch, which gives the same answers."""
        plain = SegResNet(
            init_filters=self.init_filters,
            in_channels=self.channels,
            out_channels=self.classes,
            dropout_prob=self.dropout_prob,
            norm=self.norm,
            blocks_down=self.blocks_down,
            blocks_up=self.blocks_up,
        )
        kept = {name: value for name, value in self.state_dict().items() if not name.startswith("vae_")}
        plain.load_state_dict(kept)
        return plain.train(self.training)


class Critic(nn.Module):
    """Tells drawn masks from made ones, patch by patch, looking at mask and MRI together.

    The discriminator of pix2pix (Isola et al. 2017, doi 10.1109/CVPR.2017.632) in 3D, as in Vox2Vox (Cirillo et al.
    2020, doi 10.1007/978-3-030-72084-1_25).
    """

    def __init__(self, filters: int, layers: int = 2, *, channels: int = CHANNELS, classes: int = CLASSES) -> None:
        super().__init__()
        self.patches = PatchDiscriminator(
            spatial_dims=3, channels=filters, in_channels=channels + classes, num_layers_d=layers, norm="INSTANCE"
        )

    def forward(self, images: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """A logit for each patch: how much `shares` (n, 3, x, y, z), which add up to 1, look drawn."""
        judged: torch.Tensor = self.patches(torch.cat([images, shares], dim=1))[-1]
        return judged


def checkpointed(network: N, blocks: tuple[type[nn.Module], ...] = BLOCKS) -> N:
    """The network with activation checkpointing: the same answers and slopes from less memory, for more time.

    Of each block only what goes in is kept for the way back, where the block is run again (Chen et al. 2016, arXiv
    1604.06174).
    """
    for block in network.modules():
        if isinstance(block, blocks):
            block.forward = partial(_run, block.forward)  # type: ignore[method-assign]
    return network


def _run(forward: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> torch.Tensor:
    if not torch.is_grad_enabled():
        return forward(*inputs)
    answer: torch.Tensor = checkpoint(forward, *inputs, use_reentrant=False)
    return answer
