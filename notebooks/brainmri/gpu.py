"""What this session has: cores, GPUs, the driver, and whether driver and software stack fit together.

The spawner describes the session in `SCIENCEBOX_SESSION`; the driver's own library is asked for the rest. What
follows from those facts (`verdict`) is a pure function.
"""

from __future__ import annotations

import ctypes
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

Version = tuple[int, int]

STACK_ROOT = "/cvmfs/"
# The oldest driver branch for each major version of CUDA: NVIDIA, CUDA Compatibility, "minor version compatibility".
OLDEST_DRIVER = {11: "450", 12: "525", 13: "580"}
# Results of cuInit that a user may meet: CUDA driver API, enum cudaError_enum.
CUDA_ERRORS = {
    100: "it sees no GPU in this session",
    101: "it was given a GPU number that does not exist",
    999: "it failed for an unknown reason; often the GPU has to be reset by the administrator",
    802: "the GPUs are not ready yet; the fabric manager of the server may not be running",
    803: "the libcuda in this session does not fit the kernel module of the server's driver",
}


@dataclass(frozen=True)
class Gpu:
    """A GPU that the session holds. Memory in bytes."""

    uuid: str
    model: str
    memory_bytes: int
    mig_profile: str | None = None
    simulated: bool = False

    def __str__(self) -> str:
        share = f", MIG {self.mig_profile}" if self.mig_profile else ""
        mark = " (SIMULATED)" if self.simulated else ""
        return f"{self.model}{share}, {self.memory_bytes / 1024**3:.0f} GiB{mark}"


@dataclass(frozen=True)
class Session:
    """What the spawner gave to this session; `known` is false outside ScienceBox.

    `hidden`: the environment of this kernel keeps CUDA from seeing any GPU, as a release for the CPU does.
    """

    known: bool
    release: str | None
    cores: int
    memory_bytes: int | None
    gpus: tuple[Gpu, ...]
    simulated: bool
    hidden: bool = False


@dataclass(frozen=True)
class Driver:
    """The driver's library as loaded into this process.

    `library` is the file that was loaded, `cuda` the newest CUDA version it can serve, `devices` how many GPUs it
    offers. `error` says what failed; then the fields after that point are None.
    """

    library: str | None = None
    cuda: Version | None = None
    devices: int | None = None
    error: str | None = None


@dataclass(frozen=True)
class Verdict:
    """Whether GPU code can run here, and the sentence for the user that says why or what to do."""

    usable: bool
    simulated: bool
    sentence: str


def session(environ: Mapping[str, str] = os.environ) -> Session:
    """The session as the spawner describes it. Without that description: this process's cores and no GPU.

    Raises ValueError where SCIENCEBOX_SESSION is not what the spawner writes.
    """
    text = environ.get("SCIENCEBOX_SESSION")
    hidden = environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if not text:
        return Session(False, None, len(os.sched_getaffinity(0)), None, (), False, hidden)
    try:
        values = json.loads(text)
        gpus = tuple(
            Gpu(g["uuid"], g["model"], int(g["memory_bytes"]), g.get("mig_profile"), bool(g.get("simulated")))
            for g in values["gpus"]
        )
        simulated = bool(values["simulated"]) or any(gpu.simulated for gpu in gpus)
        memory = values["memory_bytes"]
        memory = None if memory is None else int(memory)
        return Session(True, values["release"], int(values["cores"]), memory, gpus, simulated, hidden)
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"SCIENCEBOX_SESSION cannot be read ({type(error).__name__}: {error}). It is set when the session "
            "starts: do not change it; restart the session if you did."
        ) from error


def driver(library: str = "libcuda.so.1") -> Driver:
    """Load the driver's library and ask it for its CUDA version and number of GPUs. Never raises."""
    try:
        cuda = ctypes.CDLL(library)
    except OSError:
        return Driver(error="there is no libcuda in this session")
    path = loaded_library(Path(library).name, Path("/proc/self/maps").read_text(encoding="utf-8")) or library
    value = ctypes.c_int()
    if not hasattr(cuda, "cuDriverGetVersion") or cuda.cuDriverGetVersion(ctypes.byref(value)) != 0:
        return Driver(path, error=f"{path} does not tell its version")
    version = (value.value // 1000, value.value % 1000 // 10)
    code = int(cuda.cuInit(0))
    if code != 0:
        return Driver(path, version, error=CUDA_ERRORS.get(code, f"cuInit failed with error {code}"))
    if (code := int(cuda.cuDeviceGetCount(ctypes.byref(value)))) != 0:
        return Driver(path, version, error=CUDA_ERRORS.get(code, f"cuDeviceGetCount failed with error {code}"))
    return Driver(path, version, value.value)


def loaded_library(name: str, maps: str) -> str | None:
    """The file from which a library was loaded, found in the text of /proc/self/maps.

    The file may carry the full version: for libcuda.so.1 it is libcuda.so.580.65.06.
    """
    stem = name.partition(".so")[0] + ".so"
    for line in maps.splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and Path(fields[5]).name.startswith(stem):
            return fields[5]
    return None


def cuda_version(text: str | None) -> Version | None:
    """'13.0' as (13, 0); None for a framework that was built without CUDA."""
    if not text:
        return None
    major, _, rest = text.partition(".")
    return int(major), int(rest.split(".")[0] or 0)


def verdict(session: Session, driver: Driver, stack_cuda: Version | None) -> Verdict:  # noqa: PLR0911 (one a case)
    """Can GPU code of a stack built for CUDA `stack_cuda` run in this session, and if not, what helps?

    CUDA promises that a program built for one version runs with any driver of the same major version or a later one.
    """
    if session.simulated:
        return Verdict(
            False,
            True,
            "The GPU of this session is SIMULATED: it shows the service and computes nothing. "
            "Everything here runs on the CPU.",
        )
    if not session.gpus and not driver.devices:
        how = "stop this server and start it again with a GPU" if session.known else "use a machine with one"
        return Verdict(False, False, f"This session has no GPU. To get one, {how}. Everything here runs on the CPU.")
    if driver.library is None or driver.cuda is None:
        return Verdict(False, False, f"A GPU was granted, but {driver.error}. Tell your administrator.")
    if stack_cuda is None or session.hidden:
        return Verdict(
            False, False, "A GPU is here, but this kernel's software is built for the CPU. Choose a release with CUDA."
        )
    if driver.cuda[0] < stack_cuda[0]:
        return Verdict(False, False, _too_old(driver.cuda, stack_cuda))
    if driver.error:
        return Verdict(False, False, f"The driver cannot use the GPU: {driver.error}. Tell your administrator.")
    if driver.library.startswith(STACK_ROOT):
        return Verdict(
            False,
            False,
            f"libcuda was loaded from the software stack ({driver.library}), but it has to be the one of the "
            "server's driver. Remove its folder from LD_LIBRARY_PATH and restart the kernel.",
        )
    return Verdict(
        True,
        False,
        f"The driver (CUDA {_dotted(driver.cuda)}) and the stack (CUDA {_dotted(stack_cuda)}) fit together.",
    )


def processor(cpuinfo: str, cores: int) -> str:
    """The processor's name from the text of /proc/cpuinfo, with the cores that this session may use."""
    names = [line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name")]
    return f"{cores} core{'s' if cores != 1 else ''} of {names[0] if names else 'an unnamed processor'}"


def _too_old(has: Version, needs: Version) -> str:
    branch = OLDEST_DRIVER.get(needs[0])
    newer = f"driver {branch} or newer" if branch else "a newer driver"
    return (
        f"The server's driver is too old: it serves CUDA {_dotted(has)}, this kernel needs CUDA {needs[0]} "
        f"({newer}). Ask your administrator for it, or use a kernel that is built for CUDA {has[0]}."
    )


def _dotted(version: Version) -> str:
    return f"{version[0]}.{version[1]}"
