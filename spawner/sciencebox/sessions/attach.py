"""How granted GPUs reach a container: the way that this server allows, and the arguments for the engine.

Pure but for `find_driver_files`, which looks at the driver's files. Three ways exist, the best first:

- `cdi`: the engine knows the cards by name from a CDI specification (written by NVIDIA's container toolkit);
- `nvidia`: the toolkit's runtime hook adds cards and driver files while the container starts;
- `bind`: the driver alone is installed: device nodes and the driver's libraries are handed over one by one.

Whatever the way, nothing but the granted cards may be seen: `NVIDIA_VISIBLE_DEVICES` is always set, because CUDA images
carry `all` and a runtime hook of the server would obey.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sciencebox.sessions.refusals import WRITE_CDI_SPEC, AttachError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sciencebox.gpus.device import Device

Wanted = Literal["auto", "cdi", "nvidia", "bind"]

CDI_KIND = "nvidia.com/gpu"
FIRST_ENGINE_WITH_CDI = 25
FIRST_ENGINE_THAT_LISTS_CDI = (28, 2)
CAPABILITIES = ("compute", "utility")
LIBRARIES_IN_SESSION = "/usr/local/nvidia/lib64"
ATTACH_LABEL = "sciencebox.attach"
NO_CARD = {"NVIDIA_VISIBLE_DEVICES": "void"}

# What CUDA programs load of the driver, directly or through libcuda. Display and video libraries are left out.
_LIBRARIES = (
    "libcuda.so*",
    "libcudadebugger.so*",
    "libnvidia-gpucomp.so*",
    "libnvidia-ml.so*",
    "libnvidia-nvvm*.so*",
    "libnvidia-opencl.so*",
    "libnvidia-pkcs11*.so*",
    "libnvidia-ptxjitcompiler.so*",
    "libnvidia-sandboxutils.so*",
)
_NEEDED_NODES = ("nvidiactl", "nvidia-uvm")
_OPTIONAL_NODES = ("nvidia-uvm-tools",)


@dataclass(frozen=True)
class EngineFacts:
    """What a container engine says about itself. `cdi_folders` are where it looks for CDI specifications.

    `cgroups` is the version of the kernel's control groups that it uses.
    """

    version: str
    cdi_devices: frozenset[str] = frozenset()
    runtimes: frozenset[str] = frozenset()
    cdi_folders: tuple[str, ...] = ()
    cgroups: str = ""


@dataclass(frozen=True)
class DriverFiles:
    """What the NVIDIA driver has on this server, as paths on the host.

    `nodes` are the names found under `dev_root`; `mig_minors` gives N of /dev/nvidia-caps/nvidia-capN for a MIG
    capability such as `gpu0/gi1/access`. `nvml` is the path of libnvidia-ml as this process sees it. Where there is no
    driver, `libraries` is empty and `reason` says where it was looked for.
    """

    libraries: tuple[str, ...] = ()
    dev_root: str = "/dev"
    nodes: frozenset[str] = frozenset()
    mig_minors: Mapping[str, int] = field(default_factory=dict, hash=False)
    nvml: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class ModeChoice:
    """The way to attach cards, or None and why there is none."""

    mode: str | None
    reason: str


@dataclass(frozen=True)
class Attachment:
    """What the engine is told about GPUs, in the words of docker-py's `create_host_config`."""

    mode: str
    environment: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    binds: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    device_requests: tuple[dict[str, Any], ...] = ()
    runtime: str | None = None


def engine_facts(info: Mapping[str, Any], version: Mapping[str, Any]) -> EngineFacts:
    """Read the engine's answers to `GET /info` and `GET /version`. Keys that an older engine lacks are no error."""
    discovered = info.get("DiscoveredDevices") or []
    return EngineFacts(
        version=str(version.get("Version") or info.get("ServerVersion") or ""),
        cdi_devices=frozenset(str(found["ID"]) for found in discovered if found.get("Source") == "cdi"),
        runtimes=frozenset(info.get("Runtimes") or {}),
        cdi_folders=tuple(info.get("CDISpecDirs") or ()),
        cgroups=str(info.get("CgroupVersion") or ""),
    )


def find_driver_files(seen: Path, on_host: Path, dev_root: Path, proc: Path = Path("/proc")) -> DriverFiles:
    """Look for the driver under `seen`, which is the host's folder `on_host`, and for its device nodes.

    Ask anew for every session: a driver may be upgraded, and the engine makes a folder in place of a file that is gone.
    `dev_root` is a folder of the host; where it cannot be seen from here, this process's /dev stands for it.
    """
    nodes_at = dev_root if dev_root.is_dir() else Path("/dev")
    nodes = frozenset(path.name for path in nodes_at.glob("nvidia*") if path.is_char_device())
    rest = (str(dev_root), nodes, _mig_minors(proc / "driver/nvidia-caps/mig-minors"))
    places = _library_folders()
    for folders in places:
        found = _libraries([seen / folder for folder in folders])
        if "libcuda.so.1" in found:
            libraries = tuple(str(on_host / found[name].relative_to(seen)) for name in sorted(found))
            nvml = found.get("libnvidia-ml.so.1")
            return DriverFiles(libraries, *rest, nvml=str(nvml) if nvml else None)
    looked = ", ".join(str(on_host / folder) for folders in places for folder in folders)
    return DriverFiles((), *rest, reason=f"libcuda.so.1 was not found in {looked}.")


def choose_mode(wanted: Wanted, facts: EngineFacts, devices: Sequence[Device], driver: DriverFiles) -> ModeChoice:
    """The way in which these devices reach a container: what `auto` takes, or whether another wish can be fulfilled."""
    if not devices:
        return ModeChoice(None, "There is no GPU to attach.")
    if all(device.simulated for device in devices):
        return ModeChoice("simulated", "The GPUs are SIMULATED: sessions get none.")
    obstacles = {
        "cdi": _why_not_cdi(facts, devices, trusting=wanted == "cdi"),
        "nvidia": _why_not_nvidia(facts),
        "bind": _why_not_bind(devices, driver),
    }
    if wanted != "auto":
        reason = obstacles[wanted]
        other = next((mode for mode, obstacle in obstacles.items() if not obstacle), None)
        hint = f" `gpus.attach: {other}` or `auto` would work." if other else ""
        return ModeChoice(None, f"{reason}{hint}") if reason else ModeChoice(wanted, "Chosen in the settings.")
    for mode, reason in obstacles.items():
        if not reason:
            return ModeChoice(mode, _WHY[mode])
    return ModeChoice(None, " ".join(obstacles.values()))


def no_gpu() -> Attachment:
    """A session without a GPU: no device, and no hook may add one."""
    return Attachment("none", dict(NO_CARD))


def attach(mode: str, devices: Sequence[Device], driver: DriverFiles) -> Attachment:
    """The engine's arguments for these devices. `mode` is what `choose_mode` chose.

    Raises AttachError when a device lacks what the mode needs; nothing of it is attached then.
    """
    if not devices:
        return no_gpu()
    labels = {ATTACH_LABEL: mode}
    uuids = [device.driver_uuid for device in devices]
    if mode == "simulated":
        return Attachment("simulated", dict(NO_CARD), labels)
    if any(device.simulated for device in devices):
        raise AttachError(
            "A simulated GPU cannot be mixed with real ones.", f"SIMULATED devices among {', '.join(uuids)}"
        )
    if mode == "cdi":
        # The CDI driver refuses a request that has a count or options.
        request: dict[str, Any] = {"Driver": "cdi", "DeviceIDs": [f"{CDI_KIND}={uuid}" for uuid in uuids]}
        return Attachment("cdi", dict(NO_CARD), labels, device_requests=(request,))
    if mode == "nvidia":
        environment = {"NVIDIA_VISIBLE_DEVICES": ",".join(uuids), "NVIDIA_DRIVER_CAPABILITIES": ",".join(CAPABILITIES)}
        return Attachment("nvidia", environment, labels, runtime="nvidia")
    if mode == "bind":
        return _bind(devices, driver, labels)
    raise ValueError(f"no way to attach GPUs is called {mode!r}")


_WHY = {
    "cdi": "The engine knows every GPU by name (CDI).",
    "nvidia": "The engine has NVIDIA's runtime, and its CDI specification does not name every GPU.",
    "bind": "The driver is installed without NVIDIA's container toolkit: its files are handed to sessions.",
}


def _bind(devices: Sequence[Device], driver: DriverFiles, labels: dict[str, str]) -> Attachment:
    obstacle = _why_not_bind(devices, driver)
    if obstacle:
        raise AttachError("The granted GPU cannot be attached; the administrator can see why.", obstacle)
    names = [f"nvidia{device.minor}" for device in devices]
    names += [*_NEEDED_NODES, *(name for name in _OPTIONAL_NODES if name in driver.nodes)]
    names += [f"nvidia-caps/nvidia-cap{driver.mig_minors[c]}" for device in devices for c in _mig_capabilities(device)]
    return Attachment(
        "bind",
        {**NO_CARD, "LD_LIBRARY_PATH": LIBRARIES_IN_SESSION},
        labels,
        binds=tuple(f"{path}:{LIBRARIES_IN_SESSION}/{Path(path).name}:ro" for path in driver.libraries),
        devices=tuple(f"{driver.dev_root}/{name}:/dev/{name}:rw" for name in dict.fromkeys(names)),
    )


def _why_not_cdi(facts: EngineFacts, devices: Sequence[Device], *, trusting: bool) -> str:
    """`trusting`: an engine with CDI that is too old to list what it found is believed to have found every device."""
    version = _version(facts.version)
    if version[0] < FIRST_ENGINE_WITH_CDI:
        return f"The engine {facts.version or 'of unknown version'} has no CDI; version {FIRST_ENGINE_WITH_CDI} has."
    if trusting and version < FIRST_ENGINE_THAT_LISTS_CDI and facts.cdi_folders:
        return ""
    missing = [uuid for uuid in _driver_uuids(devices) if f"{CDI_KIND}={uuid}" not in facts.cdi_devices]
    if not missing:
        return ""
    return f"The engine's CDI specification does not name {', '.join(missing)}; write it with `{WRITE_CDI_SPEC}`."


def _driver_uuids(devices: Sequence[Device]) -> Iterable[str]:
    return dict.fromkeys(device.driver_uuid for device in devices)


def _why_not_nvidia(facts: EngineFacts) -> str:
    if "nvidia" in facts.runtimes:
        return ""
    return (
        "NVIDIA's runtime is not registered with the engine; install the container toolkit and run "
        "`nvidia-ctk runtime configure --runtime=docker`."
    )


def _why_not_bind(devices: Sequence[Device], driver: DriverFiles) -> str:
    if not driver.libraries:
        return f"The driver's files cannot be bound: {driver.reason or 'none were found.'}"
    nameless = [device.uuid for device in devices if device.minor is None]
    if nameless:
        return f"The driver does not tell the device node of {', '.join(nameless)}."
    caps = [c for device in devices for c in _mig_capabilities(device) if c not in driver.mig_minors]
    if caps:
        return f"The driver lists no capability {', '.join(caps)} in /proc/driver/nvidia-caps/mig-minors."
    return ""


def _mig_capabilities(device: Device) -> list[str]:
    """What a MIG instance needs besides the node of its GPU; nothing for a whole GPU.

    NVIDIA, MIG user guide, "/dev based nvidia-capabilities": the access files are named by the GPU's minor number.
    """
    if not device.mig_profile:
        return []
    gpu_instance = f"gpu{device.minor}/gi{device.gpu_instance}"
    return [f"{gpu_instance}/access", f"{gpu_instance}/ci{device.compute_instance}/access"]


def _mig_minors(path: Path) -> dict[str, int]:
    """Lines such as `gpu0/gi1/access 12`; a driver without MIG has no such file."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    pairs = (line.split() for line in lines)
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _library_folders() -> list[list[str]]:
    """Where a driver's libraries may be, each list those of one driver.

    Debian keeps them in a folder of their own, to which links lead from the usual one, through a third that a container
    may not see. The last is no place to mix with others: some distributions have 32-bit libraries there.
    """
    triplet = f"usr/lib/{platform.machine()}-linux-gnu"
    return [[triplet, f"{triplet}/nvidia/current"], ["usr/lib64"], ["usr/lib"]]


def _libraries(folders: Sequence[Path]) -> dict[str, Path]:
    """The driver's libraries by file name, the first of each name; links that lead nowhere are none."""
    found = (path for folder in folders for pattern in _LIBRARIES for path in folder.glob(pattern) if path.is_file())
    first: dict[str, Path] = {}
    for path in found:
        first.setdefault(path.name, path)
    return first


def _version(text: str) -> tuple[int, int]:
    """Major and minor of `20.10.24+dfsg1`; (0, 0) where there is none."""
    match = re.match(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)
