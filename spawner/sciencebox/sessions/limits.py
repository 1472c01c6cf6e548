"""Whether a share of a GPU is kept to its memory, and how a container is told to be.

NVML bounds the memory of a control group (`nvmlDeviceSetMemoryLimits_v1`). The hook `apply-cuda-memory-limits` of
NVIDIA's container toolkit, from version 1.20 on, calls it while a container starts, if a variable asks for it. So four
things are needed, and where one is missing nothing is promised.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import TYPE_CHECKING

from sciencebox.settings import MIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sciencebox.gpus.device import Device
    from sciencebox.sessions.attach import EngineFacts

CALL = b"nvmlDeviceSetMemoryLimits_v1\0"
HOOK = "apply-cuda-memory-limits"
LIMIT = "NVIDIA_GPU_MEMORY_LIMIT"
SIZE_UNKNOWN = "the driver does not tell how much memory the GPU has"


def look(facts: EngineFacts, mode: str | None, library: str | None) -> str:
    """See `why_unlimited`; the driver's library and the engine's CDI specifications are read for it."""
    return why_unlimited(facts, mode, driver_can=driver_can_limit(library), has_hook=has_hook(facts.cdi_folders))


def why_unlimited(facts: EngineFacts, mode: str | None, *, driver_can: bool, has_hook: bool) -> str:
    """What is missing, in a clause; nothing where a share's memory is bounded."""
    if facts.cgroups != "2":
        return (
            f"the engine uses control groups of version {facts.cgroups or 1}, and the driver bounds those of version 2"
        )
    if mode != "cdi":
        return f"GPUs are attached by {mode or 'nothing'}, and limits come by CDI"
    if not has_hook:
        return f"the CDI specification has no hook `{HOOK}`; NVIDIA's container toolkit writes it from version 1.20 on"
    if not driver_can:
        return "the driver cannot bound the memory of a session; a newer one can"
    return ""


def environment(devices: Sequence[Device]) -> dict[str, str]:
    """What bounds the GPU memory of a container, in MiB; nothing where its size is unknown. A session has one share."""
    share = next((device for device in devices if device.share), None)
    return {LIMIT: str(share.memory_bytes // MIB)} if share and share.memory_bytes else {}


def driver_can_limit(library: str | None) -> bool:
    """Whether NVML has the call. The file is searched, not loaded: what was loaded stays, also when it is upgraded."""
    if library is None:
        return False
    try:
        with Path(library).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(CALL) >= 0
    except (OSError, ValueError):
        return False


def has_hook(folders: Iterable[str]) -> bool:
    """Whether a CDI specification in these folders calls the hook."""
    return any(_calls_it(path) for folder in folders for path in sorted(Path(folder).glob("*.*")))


def _calls_it(specification: Path) -> bool:
    try:
        return specification.suffix in {".yaml", ".json"} and HOOK in specification.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
