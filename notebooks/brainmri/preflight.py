"""Whether a network and its batch fit into the memory of a GPU, worked out before anything is trained."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn

MIB = 1024**2
FLOAT = 4
WAY_BACK = 4  # slopes as large as the largest result that are there at once
OVERHEAD = 700 * MIB  # CUDA's context with the libraries' work space; 640 MiB were seen on an H100
SPARE = 0.9  # of the memory may be planned with


@dataclass(frozen=True)
class Need:
    """Bytes of GPU memory that a training step takes at its peak."""

    weights: int  # with gradients and both moments of Adam
    activations: int  # kept for the way back, and slopes on it

    @property
    def total(self) -> int:
        """All of it, with what CUDA takes for itself."""
        return self.weights + self.activations + OVERHEAD

    def advice(self, memory: int) -> str:
        """A sentence on what to do, empty where it fits into so many bytes."""
        if self.total <= SPARE * memory:
            return ""
        fits = (SPARE * memory - self.weights - OVERHEAD) / max(self.activations, 1)
        how = f"Use at most {fits:.0%} of the batch" if fits > 0 else "Use a smaller network or smaller images"
        return f"The training needs {self.total / 1024**3:.1f} GiB, the GPU has {memory / 1024**3:.1f} GiB. {how}."


def memory(devices: int = 1) -> int | None:
    """Bytes of the smallest of the GPUs that are computed on; None where there is none."""
    if not torch.cuda.is_available():
        return None
    return min(int(torch.cuda.mem_get_info(number)[1]) for number in range(devices))


def need(
    model: nn.Module, shape: tuple[int, ...], *, mixed: bool = True, checkpointed: tuple[type[nn.Module], ...] = ()
) -> Need:
    """What a step with a batch of `shape` takes. Costs no memory: the network is run on shapes without numbers.

    Of blocks of the kinds `checkpointed` only what goes in is kept; on the way back, one after the other is run again.
    """
    kind = torch.bfloat16 if mixed else torch.float32
    ghost = copy.deepcopy(model).to("meta", kind).train()
    kept: dict[int, int] = {}  # bytes of each storage, once however many tensors look into it
    begun: list[set[int]] = []
    largest, again = 0, 0

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal largest
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        largest = max(largest, storage.nbytes())
        return tensor

    def begin(_block: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        for tensor in inputs:
            keep(tensor)
        begun.append(set(kept))

    def forget(*_: object) -> None:
        nonlocal again
        again = max(again, sum(kept.pop(inside) for inside in kept.keys() - begun.pop()))

    for block in ghost.modules():
        if isinstance(block, checkpointed):
            block.register_forward_pre_hook(begin)
            block.register_forward_hook(forget)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = ghost(torch.empty(shape, device="meta", dtype=kind))
    del result  # until here it held what was kept
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Need(4 * FLOAT * parameters, sum(kept.values()) + again + WAY_BACK * largest)
