"""What a user may ask for, and the check of what was asked. Pure: values in, values or an OptionsError out."""

from __future__ import annotations

from dataclasses import dataclass


class OptionsError(ValueError):
    """A field of the spawn form, or of the API's `user_options`, cannot be accepted."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


@dataclass(frozen=True)
class GpuChoice:
    """One line of the GPU choice: a kind of device (model, or model with MIG profile) and how many are free."""

    kind: str
    memory_bytes: int | None
    free: int
    total: int


@dataclass(frozen=True)
class Offer:
    """What this deployment offers at one moment; made from settings and inventory."""

    stacks: tuple[str, ...]
    cores: tuple[int, ...]
    memory_bytes: tuple[int, ...]
    default_cores: int
    default_memory_bytes: int
    gpus: tuple[GpuChoice, ...] = ()
    max_gpus: int = 1
    simulated: bool = False
    no_gpu_reason: str = ""  # one sentence, when `gpus` is empty
    holders: tuple[tuple[str, str], ...] = ()  # (kind, user) of each held device, empty when hidden


@dataclass(frozen=True)
class SessionOptions:
    """A validated request for a session."""

    stack: str
    cores: int
    memory_bytes: int
    gpu: str = "none"  # "none", "any" or the kind of a GpuChoice
    gpu_count: int = 0  # 0 exactly when gpu is "none"
