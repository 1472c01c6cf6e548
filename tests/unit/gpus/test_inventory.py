"""What is read from a driver: its cards and MIG instances, whatever single calls do."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from sciencebox.gpus.device import Device, Health, Inventory, Load, Process
from sciencebox.gpus.inventory import NO_DRIVER, read_inventory, simulated_inventory

from tests.fakes.driver.fake import uuid

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.driver.fake import FakeDriver

GIB = 1024**3
NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND, NO_FUNCTION, LOST, UNKNOWN = 3, 4, 6, 13, 15, 999

CALLS = [
    "nvmlInitWithFlags",
    "nvmlShutdown",
    "nvmlSystemGetDriverVersion",
    "nvmlSystemGetCudaDriverVersion",
    "nvmlDeviceGetCount_v2",
    "nvmlDeviceGetHandleByIndex_v2",
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetName",
    "nvmlDeviceGetMemoryInfo",
    "nvmlDeviceGetPciInfo_v3",
    "nvmlDeviceGetMinorNumber",
    "nvmlDeviceGetMigMode",
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetMPSComputeRunningProcesses_v3",
    "nvmlDeviceGetProcessUtilization",
    "nvmlDeviceGetFieldValues",
    "nvmlDeviceGetRemappedRows",
    "nvmlDeviceGetTotalEccErrors",
    "nvmlDeviceGetMaxMigDeviceCount",
    "nvmlDeviceGetMigDeviceHandleByIndex",
    "nvmlDeviceGetGpuInstanceId",
    "nvmlDeviceGetComputeInstanceId",
    "nvmlDeviceGetAttributes_v2",
    "nvmlDeviceGetUtilizationRates",
    "nvmlDeviceGetTemperature",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetTotalEnergyConsumption",
    "nvmlDeviceGetCurrentClocksThrottleReasons",
]

TWO_INSTANCES = {
    "gpu1.mig": 1,
    "gpu1.minor": 4,
    "gpu1.mig0.uuid": "MIG-00000000-0000-4000-8000-000000000010",
    "gpu1.mig0.profile": "3g.40gb",
    "gpu1.mig0.memory": 40 * GIB,
    "gpu1.mig0.gi": 2,
    "gpu1.mig0.ci": 0,
    "gpu1.mig3.uuid": "MIG-00000000-0000-4000-8000-000000000013",
    "gpu1.mig3.profile": "",
    "gpu1.mig3.memory": 9984 * 1024**2,
    "gpu1.mig3.slices": 1,
    "gpu1.mig3.gi": 9,
    "gpu1.mig3.ci": 1,
    "gpu1.mig3.processes": "77:2048",
}


def card(index: int) -> Device:
    return Device(uuid(index), index, "Fake A100 80GB", 80 * GIB, f"00000000:0{index + 1}:00.0", minor=index)


def test_cards_and_versions(driver: FakeDriver) -> None:
    assert read_inventory(driver.nvml) == Inventory(
        (card(0), card(1)), driver_version="580.95.05", cuda_version=(13, 0)
    )


def test_a_cuda_version_with_a_minor_part(driver: FakeDriver) -> None:
    driver.set({"cuda": 12080})
    assert read_inventory(driver.nvml).cuda_version == (12, 8)


def test_mig_instances_follow_their_gpu(driver: FakeDriver) -> None:
    driver.set(TWO_INSTANCES)
    _, gpu, named, worked_out = read_inventory(driver.nvml).devices
    assert gpu.mig_enabled
    assert gpu.mig_profile is None
    assert named == Device(
        uuid="MIG-00000000-0000-4000-8000-000000000010",
        index=1,
        model="Fake A100 80GB",
        memory_bytes=40 * GIB,
        pci_id="00000000:02:00.0",
        minor=4,
        mig_profile="3g.40gb",
        parent_uuid=uuid(1),
        gpu_instance=2,
        compute_instance=0,
    )
    assert worked_out.mig_profile == "1g.10gb"
    assert (worked_out.gpu_instance, worked_out.compute_instance) == (9, 1)
    assert worked_out.processes == (Process(77, 2048),)


def test_a_part_of_a_mig_instance(driver: FakeDriver) -> None:
    driver.set({**TWO_INSTANCES, "gpu1.mig3.slices": 2, "gpu1.mig3.parts": 1, "gpu1.mig3.memory": 20 * GIB})
    assert read_inventory(driver.nvml).devices[-1].mig_profile == "1c.2g.20gb"


def test_processes_are_told_once_each(driver: FakeDriver) -> None:
    driver.set({"gpu0.processes": "300:1048576,200:4096", "gpu0.mps": f"300:1048576,400:{2**64 - 1}"})
    busy, idle = read_inventory(driver.nvml).devices
    assert busy.processes == (Process(200, 4096), Process(300, 1048576), Process(400, None))
    assert idle.processes == ()


@pytest.mark.parametrize(
    ("state", "computed"),
    [
        ({}, [0, 0]),
        ({"gpu0.computing": "300:37,999:50"}, [0, 0.37]),  # the last of them has ended meanwhile
        ({"gpu0.computing": f"200:3,300:{2**32 - 1}"}, [0.03, None]),  # as drivers are known to say
        ({"fail.nvmlDeviceGetProcessUtilization": NOT_SUPPORTED}, [None, None]),
        ({"fail.nvmlDeviceGetProcessUtilization": LOST}, [None, None]),
    ],
)
def test_how_much_each_process_computes(
    driver: FakeDriver, state: dict[str, object], computed: list[float | None]
) -> None:
    driver.set({"gpu0.processes": "200:4096,300:1048576", **state})
    busy = read_inventory(driver.nvml).devices[0]
    assert [process.utilisation for process in busy.processes] == computed
    assert (busy.health, busy.unknown) == (Health.HEALTHY, {}), "what is only shown is nothing against a card"


@pytest.mark.parametrize(
    ("state", "health", "words"),
    [
        ({"gpu0.ecc": 3}, Health.QUARANTINED, "3 errors"),
        ({"gpu0.remap.failed": 1}, Health.QUARANTINED, "replaced"),
        ({"gpu0.remap.pending": 1}, Health.SUSPECT, "reset"),
        ({"gpu0.fail.nvmlDeviceGetHandleByIndex_v2": LOST}, Health.QUARANTINED, "GPU is lost"),
        ({"gpu0.fail.nvmlDeviceGetMemoryInfo": LOST}, Health.QUARANTINED, "GPU is lost"),
        ({"gpu0.fail.nvmlDeviceGetHandleByIndex_v2": NO_PERMISSION}, Health.SUSPECT, "no access"),
        ({"gpu0.fail.nvmlDeviceGetUUID": UNKNOWN}, Health.SUSPECT, "UUID"),
        ({"gpu0.fail.nvmlDeviceGetComputeRunningProcesses_v3": NO_PERMISSION}, Health.SUSPECT, "who uses it"),
        ({"gpu0.fail.nvmlDeviceGetMigMode": UNKNOWN}, Health.SUSPECT, "MIG"),
        ({"gpu0.fail.nvmlDeviceGetComputeRunningProcesses_v3": NOT_SUPPORTED}, Health.HEALTHY, ""),
        ({"gpu0.fail.nvmlDeviceGetRemappedRows": NOT_SUPPORTED}, Health.HEALTHY, ""),
        ({"gpu0.fail.nvmlDeviceGetRemappedRows": LOST}, Health.HEALTHY, ""),
        ({"gpu0.fail.nvmlDeviceGetTotalEccErrors": NOT_SUPPORTED}, Health.HEALTHY, ""),
        ({"gpu0.hot": 1}, Health.SUSPECT, "too hot"),
        ({"gpu0.recovery": 1}, Health.QUARANTINED, "the driver says that it has to be reset"),
        ({"gpu0.fail.nvmlDeviceGetFieldValues": NOT_SUPPORTED}, Health.HEALTHY, ""),
    ],
)
def test_a_card_that_is_not_well_does_not_touch_the_others(
    driver: FakeDriver, state: dict[str, object], health: Health, words: str
) -> None:
    driver.set(state)
    sick, well = read_inventory(driver.nvml).devices
    assert sick.health is health
    assert words in sick.health_reason
    assert well == card(1)


def test_what_a_card_does(driver: FakeDriver) -> None:
    driver.set({"gpu0.busy": 97, "gpu0.used": GIB, "gpu0.temperature": 71, "gpu0.power": 287_500, "gpu0.energy": 9000})
    driver.set({**TWO_INSTANCES, "gpu1.mig0.used": 2 * GIB, "gpu1.fail.nvmlDeviceGetPowerUsage": NOT_SUPPORTED})
    whole, cut, instance, _ = read_inventory(driver.nvml).devices
    assert whole.load == Load(0.97, GIB, 71, 287.5, 9.0)
    assert cut.load.power_w is None
    assert cut.health is Health.HEALTHY  # what is only shown is nothing against a card
    assert instance.load == Load(memory_used_bytes=2 * GIB)


def test_mig_instances_are_no_better_than_their_gpu(driver: FakeDriver) -> None:
    driver.set({**TWO_INSTANCES, "gpu1.ecc": 1})
    assert [d.health for d in read_inventory(driver.nvml).devices] == [Health.HEALTHY] + [Health.QUARANTINED] * 3


@pytest.mark.parametrize("code", [NOT_SUPPORTED, NOT_FOUND, NO_FUNCTION, LOST, UNKNOWN])
@pytest.mark.parametrize("call", CALLS)
def test_any_call_may_fail(driver: FakeDriver, call: str, code: int) -> None:
    driver.set({**TWO_INSTANCES, "gpu0.processes": "78:2048", f"fail.{call}": code})
    found = read_inventory(driver.nvml)
    if call in {"nvmlInitWithFlags", "nvmlDeviceGetCount_v2"}:
        assert not found.readable
        assert found.reason
        return
    assert found.readable
    assert {0, 1} == {device.index for device in found.devices}
    assert len({device.uuid for device in found.devices}) == len(found.devices)
    for device in found.devices:
        for name in ("model", "memory_bytes", "pci_id", "minor"):
            assert getattr(device, name) is not None or device.unknown.get(name) or device.unknown.get("handle")


@pytest.mark.parametrize("call", ["nvmlDeviceGetUUID", "nvmlDeviceGetHandleByIndex_v2"])
@pytest.mark.parametrize("code", [NOT_SUPPORTED, LOST, UNKNOWN])
def test_a_card_without_a_uuid_is_never_fit_to_be_granted(driver: FakeDriver, call: str, code: int) -> None:
    driver.set({f"fail.{call}": code})
    assert all(device.health is not Health.HEALTHY for device in read_inventory(driver.nvml).devices)


@pytest.mark.parametrize(("code", "words"), [(9, "kernel module"), (18, "upgraded"), (999, "Unknown Error")])
def test_a_driver_that_does_not_start_says_why(driver: FakeDriver, code: int, words: str) -> None:
    driver.set({"fail.nvmlInitWithFlags": code})
    found = read_inventory(driver.nvml)
    assert (found.devices, found.readable) == ((), False)
    assert words in found.reason


def test_a_driver_without_cards(driver: FakeDriver) -> None:
    driver.set({"gpus": 0})
    found = read_inventory(driver.nvml)
    assert (found.devices, found.readable, found.driver_version) == ((), True, "580.95.05")
    assert "no GPU" in found.reason


def test_no_driver(tmp_path: Path) -> None:
    assert read_inventory(str(tmp_path / "libnvidia-ml.so.1")) == Inventory(reason=NO_DRIVER)


def test_a_library_that_cannot_be_loaded(tmp_path: Path) -> None:
    broken = tmp_path / "libnvidia-ml.so.1"
    broken.write_text("not a library")
    found = read_inventory(str(broken))
    assert not found.readable
    assert str(broken) in found.reason


def test_a_driver_that_hangs_is_not_waited_for(driver: FakeDriver) -> None:
    driver.set({"hang": 1})
    begun = time.monotonic()
    first, second = (read_inventory(driver.nvml, deadline_s=0.2) for _ in range(2))
    assert time.monotonic() - begun < 2
    assert not first.readable
    assert not second.readable
    assert "does not answer" in second.reason
    driver.set({"hang": None})
    assert read_inventory(driver.nvml).devices == (card(0), card(1))


def test_many_threads_read_at_once(driver: FakeDriver) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: read_inventory(driver.nvml).devices, range(40)))
    assert set(found) == {(card(0), card(1))}
    assert not [thread for thread in threading.enumerate() if thread.name == "nvml" and not thread.daemon]


def test_simulated_cards_say_so() -> None:
    found = simulated_inventory(2)
    assert [device.uuid for device in found.devices] == ["GPU-SIMULATED-0", "GPU-SIMULATED-1"]
    assert all(d.simulated and d.model == "SIMULATED GPU" and d.memory_bytes == 16 * GIB for d in found.devices)
