"""The U-Net in PyTorch (Ronneberger, Fischer and Brox 2015, doi 10.1007/978-3-319-24574-4_28).

With its defaults it is the network of CERN's talk on medical imaging with SWAN On-Premises (2020): one channel in, 64
to 1024 filters on five levels, twice a 3 x 3 convolution with batch normalisation and ReLU on each, 3 x 3 transposed
convolutions with stride 2 upwards, and a 1 x 1 convolution at the end. `unet_keras` has the same in Keras.
"""

from __future__ import annotations

import torch
from torch import nn

EPSILON, MOMENTUM = 1e-3, 0.1  # of every batch normalisation; PyTorch's momentum is 1 - Keras'


class UNet(nn.Module):
    """(n, channels, height, width) to logits (n, classes, height, width). Edges are multiples of 2 ** (levels - 1)."""

    def __init__(self, channels: int = 1, classes: int = 1, filters: int = 64, levels: int = 5) -> None:
        super().__init__()
        widths = [filters * 2**level for level in range(levels)]
        self.down = nn.ModuleList(
            _block(before, width) for before, width in zip([channels, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(_Up(2 * width, width) for width in reversed(widths[:-1]))
        self.merge = nn.ModuleList(_block(2 * width, width) for width in reversed(widths[:-1]))
        self.head = nn.Conv2d(widths[0], classes, kernel_size=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits: their sigmoid is the probability of each class in each pixel."""
        passed: list[torch.Tensor] = []
        for block in self.down:
            passed.append(block(nn.functional.max_pool2d(passed[-1], 2) if passed else image))
        features = passed.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            features = merge(torch.cat([passed.pop(), up(features)], dim=1))
        logits: torch.Tensor = self.head(features)
        return logits


class _Up(nn.Module):
    """Twice the edges. The last row and column are cut off, as `padding="same"` does in Keras."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.convolution = nn.ConvTranspose2d(before, after, kernel_size=3, stride=2)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        wide: torch.Tensor = self.convolution(features)
        return wide[..., :-1, :-1]


def _block(before: int, after: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (before, after):
        layers += [
            nn.Conv2d(width, after, kernel_size=3, padding=1),
            nn.BatchNorm2d(after, eps=EPSILON, momentum=MOMENTUM),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)
