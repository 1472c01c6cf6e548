"""The GPUs of this server, read from the NVIDIA driver's management library (NVML).

A driver answers differently on every generation of cards, in a container, and while a card fails: any call may fail. So
each value is asked for alone, and a device is listed with whatever is known of it.
"""

from __future__ import annotations

import ctypes
import threading
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pynvml

from sciencebox.gpus.device import Device, Inventory, Load, Process
from sciencebox.gpus.health import HealthFacts, judge
from sciencebox.gpus.processes import container_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIBRARY = "libnvidia-ml.so.1"
NO_DRIVER = "No NVIDIA driver was found on this server."
NO_CARD = "The NVIDIA driver is installed on this server, but it finds no GPU."
DEADLINE_S = 20.0
SIMULATED_MODEL = "SIMULATED GPU"
SIMULATED_MEMORY = 16 * 1024**3
RECENT_S = 10.0  # over which it is told how much each process computed: less than lies between two looks

_MIB = 1024**2
_THERMAL = pynvml.nvmlClocksThrottleReasonHwThermalSlowdown
_NOT_TOLD = {pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, pynvml.NVML_ERROR_NOT_FOUND}
_LOST = {pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED}
_NOBODY = {pynvml.NVML_SUCCESS, pynvml.NVML_ERROR_NOT_FOUND}  # what pynvml raises where there is no sample
_NO_MIG_DEVICE = {pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_ERROR_INVALID_ARGUMENT}
_INIT_FAILED = {
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "The kernel module of the NVIDIA driver is not loaded.",
    pynvml.NVML_ERROR_NO_PERMISSION: "This process may not use the NVIDIA driver: its device nodes are out of reach.",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "The NVIDIA driver was upgraded: its kernel module and its library are "
    "of different versions. Restart the server, then the service.",
}
_HANGS = "The NVIDIA driver does not answer. Look at the server's kernel log for a GPU that failed."

# pynvml keeps the library it loaded in a global, and NVML's initialisation is one for the process.
_one_at_a_time = threading.Lock()


def read_inventory(library: str | None = None, deadline_s: float = DEADLINE_S) -> Inventory:
    """Read every GPU and MIG instance. `library` is the path of libnvidia-ml.so.1; None leaves it to the loader.

    Never raises for what a driver does: where none is installed the inventory is empty; where one cannot be used, or
    hangs as it may when a card fails, the inventory is not `readable`; both say why. May be called from any thread.
    """
    answer: Future[Inventory] = Future()
    arguments = (answer, library or LIBRARY, deadline_s)
    threading.Thread(target=_answer, args=arguments, name="nvml", daemon=True).start()
    try:
        return answer.result(deadline_s)
    except FutureTimeoutError:
        return Inventory(readable=False, reason=_HANGS)


def simulated_inventory(count: int) -> Inventory:
    """GPUs that do not exist, to show the service where there is no card."""
    return Inventory(
        tuple(Device(f"GPU-SIMULATED-{n}", n, SIMULATED_MODEL, SIMULATED_MEMORY, simulated=True) for n in range(count))
    )


def _answer(answer: Future[Inventory], path: str, deadline_s: float) -> None:
    """Read in a thread of its own, which a hanging driver may keep; those that wait behind it give up."""
    if not _one_at_a_time.acquire(timeout=deadline_s):
        return
    try:
        answer.set_result(_open_and_read(path))
    except BaseException as error:
        answer.set_exception(error)
    finally:
        _one_at_a_time.release()


def _open_and_read(path: str) -> Inventory:
    """One reading, with NVML initialised for just as long.

    While it is initialised this process uses the cards, and an administrator could neither reset one nor replace the
    driver.
    """
    try:
        load(path)
    except OSError as error:
        if str(error).startswith(f"{path}: cannot open shared object file: No such file"):
            return Inventory(reason=NO_DRIVER)
        return Inventory(readable=False, reason=f"The library of the NVIDIA driver cannot be loaded: {error}.")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        reason = _INIT_FAILED.get(error.value, f"The NVIDIA driver does not start: {_words(error)}.")
        return Inventory(readable=False, reason=reason)
    try:
        return _read()
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def load(path: str) -> None:
    """Make pynvml use the library at `path`; it has no parameter for that. Raises OSError."""
    library = ctypes.CDLL(path)
    if pynvml.nvmlLib is None or pynvml.nvmlLib._handle != library._handle:
        pynvml.nvmlLib = library
        pynvml._nvmlGetFunctionPointer_cache.clear()


def _read() -> Inventory:
    facts = _Reading()
    driver = facts.ask("driver_version", pynvml.nvmlSystemGetDriverVersion)
    cuda = facts.ask("cuda_version", pynvml.nvmlSystemGetCudaDriverVersion)
    found = Inventory(driver_version=driver, cuda_version=(cuda // 1000, cuda % 1000 // 10) if cuda else None)
    try:
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError as error:
        reason = f"The NVIDIA driver does not tell how many GPUs there are: {_words(error)}."
        return replace(found, readable=False, reason=reason)
    devices = tuple(device for index in range(count) for device in _gpu(index))
    return replace(found, devices=devices, reason="" if devices else NO_CARD)


class _Reading:
    """Values of one device as far as they can be read; `unknown` says why others cannot, by field."""

    def __init__(self) -> None:
        self.unknown: dict[str, str] = {}
        self.failed: dict[str, int] = {}

    def ask(self, field: str, call: Callable[..., Any], *args: Any) -> Any:
        """The call's result, or None."""
        try:
            return call(*args)
        except pynvml.NVMLError as error:
            self.unknown[field] = _words(error)
            self.failed[field] = error.value
            return None

    def unread(self, field: str) -> bool:
        """The driver should have told this and did not; one that knows no such value is another matter."""
        return field in self.failed and self.failed[field] not in _NOT_TOLD


def _gpu(index: int) -> Iterator[Device]:
    """One GPU, followed by its MIG instances."""
    reading = _Reading()
    handle = reading.ask("handle", pynvml.nvmlDeviceGetHandleByIndex, index)
    if handle is None:
        why = reading.unknown["handle"]
        is_lost = reading.failed["handle"] in _LOST
        signs = HealthFacts(lost=why) if is_lost else HealthFacts(unread=f"the driver gives no access to it ({why})")
        health, reason = judge(signs)
        yield Device(_no_uuid(index), index, health=health, health_reason=reason, unknown=reading.unknown)
        return
    memory = reading.ask("memory_bytes", pynvml.nvmlDeviceGetMemoryInfo, handle)
    device = Device(
        uuid=reading.ask("uuid", pynvml.nvmlDeviceGetUUID, handle) or _no_uuid(index),
        index=index,
        model=reading.ask("model", pynvml.nvmlDeviceGetName, handle),
        memory_bytes=None if memory is None else int(memory.total),
        load=_load_of(handle, memory),
        pci_id=reading.ask("pci_id", _pci_id, handle),
        minor=reading.ask("minor", pynvml.nvmlDeviceGetMinorNumber, handle),
        mig_enabled=bool(reading.ask("mig_enabled", _mig_enabled, handle)),
        processes=reading.ask("processes", _processes, handle) or (),
    )
    health, reason = judge(_signs(reading, handle))
    device = replace(device, health=health, health_reason=reason, unknown=reading.unknown)
    instances = list(_mig_instances(device, handle, reading)) if device.mig_enabled else []
    yield device
    yield from instances


def _mig_instances(gpu: Device, handle: Any, of_gpu: _Reading) -> Iterator[Device]:
    for n in range(of_gpu.ask("mig_instances", pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
        try:
            instance = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, n)
        except pynvml.NVMLError as error:
            if error.value not in _NO_MIG_DEVICE:
                of_gpu.unknown[f"mig_instance_{n}"] = _words(error)
            continue
        reading = _Reading()
        uuid = reading.ask("uuid", pynvml.nvmlDeviceGetUUID, instance)
        memory = reading.ask("memory_bytes", pynvml.nvmlDeviceGetMemoryInfo, instance)
        yield replace(
            gpu,
            uuid=uuid or f"{_no_uuid(gpu.index)}-{n}",
            memory_bytes=None if memory is None else int(memory.total),
            load=Load(memory_used_bytes=_used(memory)),
            mig_profile=reading.ask("mig_profile", _mig_profile, instance, gpu.memory_bytes) or "of unknown size",
            parent_uuid=gpu.uuid,
            mig_enabled=False,
            gpu_instance=reading.ask("gpu_instance", pynvml.nvmlDeviceGetGpuInstanceId, instance),
            compute_instance=reading.ask("compute_instance", pynvml.nvmlDeviceGetComputeInstanceId, instance),
            processes=reading.ask("processes", _processes, instance) or (),
            **_instance_health(gpu, reading),
            unknown={**{k: v for k, v in gpu.unknown.items() if k in {"model", "pci_id", "minor"}}, **reading.unknown},
        )


def _instance_health(gpu: Device, reading: _Reading) -> dict[str, Any]:
    """An instance is no better than its GPU."""
    if gpu.health_reason:
        return {"health": gpu.health, "health_reason": gpu.health_reason}
    health, reason = judge(HealthFacts(unread=_unread(reading)))
    return {"health": health, "health_reason": reason}


def _signs(reading: _Reading, handle: Any) -> HealthFacts:
    remapped = reading.ask("remapped_rows", pynvml.nvmlDeviceGetRemappedRows, handle)
    _, _, pending, failed = remapped or (0, 0, 0, 0)
    ecc = reading.ask("uncorrectable_ecc", _uncorrectable_ecc, handle)
    return HealthFacts(
        lost=_lost(reading, handle),
        remap_failed=bool(failed),
        remap_pending=bool(pending),
        uncorrectable_ecc=ecc or 0,
        too_hot=bool(reading.ask("too_hot", _too_hot, handle)),
        recovery=reading.ask("recovery_action", _recovery_action, handle) or 0,
        unread=_unread(reading),
    )


def _lost(reading: _Reading, handle: Any) -> str:
    """Why the card is lost, if it is. One that is says so whatever it is asked: a single answer is not believed."""
    if _LOST.isdisjoint(reading.failed.values()):
        return ""
    again = _Reading()
    again.ask("memory_bytes", pynvml.nvmlDeviceGetMemoryInfo, handle)
    return again.unknown["memory_bytes"] if again.failed.get("memory_bytes") in _LOST else ""


def _unread(reading: _Reading) -> str:
    """Why a device may not be granted although nothing is known against it."""
    if "uuid" in reading.failed:
        return f"the driver does not tell its UUID ({reading.unknown['uuid']})"
    names = {"processes": "who uses it", "mig_enabled": "whether it is cut into MIG instances"}
    unread = [f"{what} cannot be read ({reading.unknown[key]})" for key, what in names.items() if reading.unread(key)]
    return unread[0] if unread else ""


def _used(memory: Any) -> int | None:
    return None if memory is None else int(memory.used)


def _load_of(handle: Any, memory: Any) -> Load:
    """Of a whole GPU, whose memory was read before. What cannot be read is nothing against the card."""
    ask = _Reading().ask
    milliwatts = ask("power", pynvml.nvmlDeviceGetPowerUsage, handle)
    millijoules = ask("energy", pynvml.nvmlDeviceGetTotalEnergyConsumption, handle)
    rates = ask("utilisation", pynvml.nvmlDeviceGetUtilizationRates, handle)
    return Load(
        utilisation=None if rates is None else rates.gpu / 100,
        memory_used_bytes=_used(memory),
        temperature_c=ask("temperature", pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
        power_w=None if milliwatts is None else milliwatts / 1000,
        energy_j=None if millijoules is None else millijoules / 1000,
    )


def _too_hot(handle: Any) -> bool:
    """Whether the card slows itself down because it is too hot, to half its clock or less."""
    return bool(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle) & _THERMAL)


def _recovery_action(handle: Any) -> int:
    """What the driver says has to be done with a card, as after an XID error; drivers from 570 on tell."""
    (found,) = pynvml.nvmlDeviceGetFieldValues(handle, [pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION])
    if found.nvmlReturn != pynvml.NVML_SUCCESS:
        raise pynvml.NVMLError(found.nvmlReturn)
    return int(found.value.uiVal)


def _pci_id(handle: Any) -> str:
    """In the form 00000000:65:00.0."""
    bus = pynvml.nvmlDeviceGetPciInfo(handle).busId
    return bus.decode("ascii", "replace") if isinstance(bus, bytes) else str(bus)


def _mig_enabled(handle: Any) -> bool:
    """The mode that is in force, not the one that waits for a reset. A card that cannot be cut is not."""
    try:
        current, _ = pynvml.nvmlDeviceGetMigMode(handle)
    except pynvml.NVMLError as error:
        if error.value in _NOT_TOLD:
            return False
        raise
    return bool(current == pynvml.NVML_DEVICE_MIG_ENABLE)


def _mig_profile(handle: Any, gpu_memory: int | None) -> str:
    """Such as `1g.10gb`, or `1c.2g.20gb` for a part of an instance.

    Newer drivers put it into the name. Otherwise it is worked out as NVIDIA's go-nvlib does: the slices, and the memory
    in eighths of the GPU's, in whole GB.
    """
    name = pynvml.nvmlDeviceGetName(handle)
    if " MIG " in name:
        return str(name.rpartition(" MIG ")[2])
    size = pynvml.nvmlDeviceGetAttributes(handle)
    memory, whole = int(size.memorySizeMB) * _MIB, gpu_memory or 0
    if whole:
        memory = -(-memory * 8 // whole) * whole // 8
    slices = f"{size.gpuInstanceSliceCount}g.{-(-memory // 1024**3)}gb"
    part = size.computeInstanceSliceCount
    return slices if part == size.gpuInstanceSliceCount else f"{part}c.{slices}"


def _processes(handle: Any) -> tuple[Process, ...]:
    """Programs that compute, by process id on the host.

    Those that only draw are left out: a server's own display would otherwise keep its card from ever being granted.
    """
    found = list(pynvml.nvmlDeviceGetComputeRunningProcesses_v3(handle))
    with suppress(pynvml.NVMLError):  # unknown to older drivers
        found += pynvml.nvmlDeviceGetMPSComputeRunningProcesses_v3(handle)
    memory = {process.pid: process.usedGpuMemory for process in found}
    computed = _computed(handle) if memory else {}
    return tuple(
        Process(pid, memory[pid], None if computed is None else computed.get(pid, 0.0), container_of(pid))
        for pid in sorted(memory)
    )


def _computed(handle: Any) -> dict[int, float | None] | None:
    """How much of the last moments each process computed, from 0 to 1; None where that is not told.

    Who did not compute is left out. Drivers are known to mix in samples that are older than was asked for, or greater
    than the whole (as nvtop and nvitop had to find out).
    """
    since = int((time.time() - RECENT_S) * 1e6)
    try:
        samples = pynvml.nvmlDeviceGetProcessUtilization(handle, since)
    except pynvml.NVMLError as error:
        return {} if error.value in _NOBODY else None
    recent = sorted((sample for sample in samples if sample.timeStamp > since), key=lambda sample: sample.timeStamp)
    return {sample.pid: sample.smUtil / 100 if sample.smUtil <= 100 else None for sample in recent}


def _uncorrectable_ecc(handle: Any) -> int:
    return int(
        pynvml.nvmlDeviceGetTotalEccErrors(handle, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC)
    )


def _no_uuid(index: int) -> str:
    """Stands for the UUID of a GPU that does not tell it; nothing holds a device of this name."""
    return f"GPU-UNKNOWN-{index}"


def _words(error: Any) -> str:
    """What NVML calls the error, or its number where it has no name for it."""
    return str(error)
