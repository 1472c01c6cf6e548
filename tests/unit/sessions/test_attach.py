"""What the engine is told for each way of attaching GPUs, how the way is chosen, and what its errors mean."""

from __future__ import annotations

import os
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from docker.types import HostConfig
from sciencebox.gpus.device import Device
from sciencebox.sessions.attach import (
    Attachment,
    DriverFiles,
    EngineFacts,
    attach,
    choose_mode,
    engine_facts,
    find_driver_files,
    no_gpu,
)
from sciencebox.sessions.refusals import AttachError, explain_engine_error

CARD = Device("GPU-a", 0, minor=0)
OTHER = Device("GPU-b", 1, minor=3)
SLICE = Device("MIG-c", 1, minor=3, mig_profile="1g.10gb", parent_uuid="GPU-b", gpu_instance=7, compute_instance=0)
SIMULATED = Device("GPU-SIMULATED-0", 0, simulated=True)

DRIVER = DriverFiles(
    libraries=("/drv/usr/lib/libcuda.so.1", "/drv/usr/lib/libnvidia-ml.so.1"),
    dev_root="/drv/dev",
    nodes=frozenset({"nvidia0", "nvidia3", "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"}),
    mig_minors={"gpu3/gi7/access": 66, "gpu3/gi7/ci0/access": 67, "gpu0/gi7/access": 21},
)
NO_DRIVER = DriverFiles(reason="libcuda.so.1 was not found in /usr/lib.")
BINDS = (
    "/drv/usr/lib/libcuda.so.1:/usr/local/nvidia/lib64/libcuda.so.1:ro",
    "/drv/usr/lib/libnvidia-ml.so.1:/usr/local/nvidia/lib64/libnvidia-ml.so.1:ro",
)
BIND_ENVIRONMENT = {"NVIDIA_VISIBLE_DEVICES": "void", "LD_LIBRARY_PATH": "/usr/local/nvidia/lib64"}
COMMON_NODES = (
    "/drv/dev/nvidiactl:/dev/nvidiactl:rw",
    "/drv/dev/nvidia-uvm:/dev/nvidia-uvm:rw",
    "/drv/dev/nvidia-uvm-tools:/dev/nvidia-uvm-tools:rw",
)

WITH_CDI = EngineFacts("28.5.2", frozenset({"nvidia.com/gpu=GPU-a", "nvidia.com/gpu=0"}), frozenset({"runc"}))
WITH_RUNTIME = EngineFacts("28.5.2", frozenset(), frozenset({"runc", "nvidia"}))
DEBIAN = EngineFacts("20.10.24+dfsg1", frozenset(), frozenset({"runc"}))


@pytest.mark.parametrize(
    ("mode", "devices", "expected"),
    [
        ("cdi", [], Attachment("none", {"NVIDIA_VISIBLE_DEVICES": "void"})),
        ("simulated", [SIMULATED], Attachment("simulated", {"NVIDIA_VISIBLE_DEVICES": "void"})),
        (
            "cdi",
            [CARD, SLICE],
            Attachment(
                "cdi",
                {"NVIDIA_VISIBLE_DEVICES": "void"},
                device_requests=({"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=GPU-a", "nvidia.com/gpu=MIG-c"]},),
            ),
        ),
        (
            "nvidia",
            [CARD, OTHER],
            Attachment(
                "nvidia",
                {"NVIDIA_VISIBLE_DEVICES": "GPU-a,GPU-b", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"},
                runtime="nvidia",
            ),
        ),
        (
            "bind",
            [OTHER],
            Attachment(
                "bind",
                BIND_ENVIRONMENT,
                binds=BINDS,
                devices=("/drv/dev/nvidia3:/dev/nvidia3:rw", *COMMON_NODES),
            ),
        ),
        (
            "bind",
            [SLICE],
            Attachment(
                "bind",
                BIND_ENVIRONMENT,
                binds=BINDS,
                devices=(
                    "/drv/dev/nvidia3:/dev/nvidia3:rw",
                    *COMMON_NODES,
                    "/drv/dev/nvidia-caps/nvidia-cap66:/dev/nvidia-caps/nvidia-cap66:rw",
                    "/drv/dev/nvidia-caps/nvidia-cap67:/dev/nvidia-caps/nvidia-cap67:rw",
                ),
            ),
        ),
    ],
)
def test_what_the_engine_is_told(mode: str, devices: list[Device], expected: Attachment) -> None:
    labels = {"sciencebox.attach": mode} if devices else {}
    assert attach(mode, devices, DRIVER) == replace(expected, labels=labels)


@pytest.mark.parametrize("mode", ["cdi", "nvidia", "bind"])
def test_the_client_library_accepts_it(mode: str) -> None:
    made = attach(mode, [CARD], DRIVER)
    host: dict[str, Any] = HostConfig(
        "1.41",
        binds=list(made.binds),
        devices=list(made.devices),
        device_requests=list(made.device_requests),
    )
    if mode == "cdi":  # an engine refuses a CDI request with a count or options
        assert host["DeviceRequests"][0]["Count"] == 0
        assert not host["DeviceRequests"][0]["Options"]
    for device in host.get("Devices", []):
        assert device["CgroupPermissions"] == "rw"


def test_without_a_gpu_nothing_is_attached_and_no_hook_may_add_one() -> None:
    assert no_gpu() == Attachment("none", {"NVIDIA_VISIBLE_DEVICES": "void"})


def test_a_tools_node_that_is_not_there_is_not_asked_for() -> None:
    plain = replace(DRIVER, nodes=frozenset({"nvidia0", "nvidiactl", "nvidia-uvm"}))
    assert not [device for device in attach("bind", [CARD], plain).devices if "tools" in device]


@pytest.mark.parametrize(
    ("devices", "driver", "cause"),
    [
        ([CARD], NO_DRIVER, "libcuda.so.1 was not found in /usr/lib."),
        ([Device("GPU-x", 0)], DRIVER, "does not tell the device node of GPU-x"),
        ([replace(SLICE, gpu_instance=9)], DRIVER, "gpu3/gi9/access"),
    ],
)
def test_what_cannot_be_bound_is_refused(devices: list[Device], driver: DriverFiles, cause: str) -> None:
    with pytest.raises(AttachError) as refused:
        attach("bind", devices, driver)
    assert cause in refused.value.operator_message
    assert cause not in refused.value.user_message


@pytest.mark.parametrize(
    ("wanted", "facts", "devices", "driver", "mode", "reason"),
    [
        ("auto", WITH_CDI, [CARD], DRIVER, "cdi", "knows every GPU by name"),
        ("auto", WITH_CDI, [CARD, OTHER], DRIVER, "bind", "without NVIDIA's container toolkit"),
        ("auto", WITH_RUNTIME, [CARD], DRIVER, "nvidia", "NVIDIA's runtime"),
        ("auto", replace(WITH_CDI, version="24.0.7"), [CARD], DRIVER, "bind", "without NVIDIA's container toolkit"),
        ("auto", DEBIAN, [CARD], DRIVER, "bind", "without NVIDIA's container toolkit"),
        ("auto", DEBIAN, [CARD], NO_DRIVER, None, "libcuda.so.1 was not found"),
        ("auto", DEBIAN, [], DRIVER, None, "no GPU to attach"),
        ("auto", DEBIAN, [SIMULATED], NO_DRIVER, "simulated", "SIMULATED"),
        ("cdi", WITH_CDI, [CARD], NO_DRIVER, "cdi", "settings"),
        ("cdi", DEBIAN, [CARD], DRIVER, None, "no CDI; version 25 has. `gpus.attach: bind` or `auto` would work."),
        ("cdi", WITH_CDI, [OTHER], NO_DRIVER, None, "does not name GPU-b; write it with `nvidia-ctk cdi generate"),
        ("nvidia", WITH_CDI, [CARD], DRIVER, None, "nvidia-ctk runtime configure"),
        ("bind", WITH_CDI, [CARD], NO_DRIVER, None, "`gpus.attach: cdi` or `auto` would work."),
        ("bind", WITH_CDI, [SLICE], replace(DRIVER, mig_minors={}), None, "no capability gpu3/gi7/access"),
    ],
)
def test_the_way_is_chosen(
    wanted: Any, facts: EngineFacts, devices: list[Device], driver: DriverFiles, mode: str | None, reason: str
) -> None:
    choice = choose_mode(wanted, facts, devices, driver)
    assert choice.mode == mode
    assert reason in choice.reason


def test_an_engine_that_has_cdi_but_does_not_list_devices_is_believed_when_told_to() -> None:
    facts = EngineFacts("26.1.5", cdi_folders=("/etc/cdi",))
    assert choose_mode("cdi", facts, [CARD], DRIVER).mode == "cdi"
    assert choose_mode("auto", facts, [CARD], DRIVER).mode == "bind"


def test_facts_are_read_from_the_engine() -> None:
    info = {
        "DiscoveredDevices": [
            {"Source": "cdi", "ID": "nvidia.com/gpu=GPU-a"},
            {"Source": "other", "ID": "nvidia.com/gpu=GPU-b"},
        ],
        "Runtimes": {"runc": {"path": "runc"}, "nvidia": {"path": "nvidia-container-runtime"}},
        "CDISpecDirs": ["/etc/cdi"],
    }
    facts = engine_facts(info, {"Version": "28.5.2"})
    assert facts == EngineFacts(
        "28.5.2", frozenset({"nvidia.com/gpu=GPU-a"}), frozenset({"runc", "nvidia"}), ("/etc/cdi",)
    )


@pytest.mark.parametrize("info", [{}, {"DiscoveredDevices": None, "Runtimes": None, "CDISpecDirs": None}])
def test_an_engine_that_says_little_has_little(info: dict[str, Any]) -> None:
    assert engine_facts(info, {"Version": "20.10.24+dfsg1"}) == EngineFacts("20.10.24+dfsg1")


def driver_root(root: Path, folder: str) -> Path:
    libraries = root / folder
    libraries.mkdir(parents=True)
    for name in ("libcuda.so.580.95.05", "libnvidia-ml.so.580.95.05", "libGLX_nvidia.so.580.95.05", "libc.so.6"):
        (libraries / name).write_bytes(b"")
    for name in ("libcuda", "libnvidia-ml"):
        (libraries / f"{name}.so.1").symlink_to(f"{name}.so.580.95.05")
    return root


TRIPLET = f"usr/lib/{platform.machine()}-linux-gnu"


@pytest.mark.parametrize("folder", [TRIPLET, f"{TRIPLET}/nvidia/current", "usr/lib64", "usr/lib"])
def test_the_drivers_libraries_are_found_and_nothing_else(tmp_path: Path, folder: str) -> None:
    found = find_driver_files(driver_root(tmp_path, folder), Path("/host/root"), tmp_path / "dev", tmp_path / "proc")
    names = ("libcuda.so.1", "libcuda.so.580.95.05", "libnvidia-ml.so.1", "libnvidia-ml.so.580.95.05")
    assert found.libraries == tuple(f"/host/root/{folder}/{name}" for name in names)
    assert found.nvml == str(tmp_path / folder / "libnvidia-ml.so.1")
    assert found.dev_root == str(tmp_path / "dev")
    assert not found.reason


def test_links_that_lead_out_of_the_folder_do_not_hide_the_files_that_are_there(tmp_path: Path) -> None:
    driver_root(tmp_path, f"{TRIPLET}/nvidia/current")
    (tmp_path / TRIPLET / "libcuda.so.1").symlink_to("/etc/alternatives/nvidia--libcuda.so.1-not-here")
    found = find_driver_files(tmp_path, Path("/"), Path("/dev"), tmp_path / "proc")
    assert found.libraries[0] == f"/{TRIPLET}/nvidia/current/libcuda.so.1"


def test_libraries_that_have_no_link_in_the_usual_folder_are_found_beside_those_that_have(tmp_path: Path) -> None:
    driver_root(tmp_path, f"{TRIPLET}/nvidia/current")
    (tmp_path / TRIPLET / "libcuda.so.1").symlink_to("nvidia/current/libcuda.so.1")
    found = find_driver_files(tmp_path, Path("/"), Path("/dev"), tmp_path / "proc")
    assert found.libraries[0] == f"/{TRIPLET}/libcuda.so.1"
    assert f"/{TRIPLET}/nvidia/current/libnvidia-ml.so.1" in found.libraries


def test_a_server_without_a_driver_says_where_it_was_looked_for(tmp_path: Path) -> None:
    found = find_driver_files(tmp_path, Path("/"), Path("/dev"), tmp_path / "proc")
    assert (found.libraries, found.nvml) == ((), None)
    assert f"/{TRIPLET}" in found.reason


def test_mig_capabilities_are_read(tmp_path: Path) -> None:
    caps = tmp_path / "driver/nvidia-caps"
    caps.mkdir(parents=True)
    (caps / "mig-minors").write_text("config 1\nmonitor 2\ngpu0/gi1/access 12\ngpu0/gi1/ci0/access 13\n")
    found = find_driver_files(tmp_path, Path("/"), Path("/dev"), tmp_path)
    assert found.mig_minors["gpu0/gi1/ci0/access"] == 13


@pytest.mark.skipif(os.geteuid() != 0, reason="making a device node needs root")
def test_device_nodes_are_seen(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidiactl"):
        os.mknod(tmp_path / name, 0o20666, os.makedev(195, 0))
    (tmp_path / "nvidia-uvm").write_bytes(b"")  # a file of that name is no device
    assert find_driver_files(tmp_path, Path("/"), tmp_path).nodes == {"nvidia0", "nvidiactl"}


ENGINE_ERRORS = {
    "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=GPU-a, nvidia.com/gpu=GPU-b": (
        "The server's list of GPUs is out of date, so yours could not be attached; tell the administrator.",
        "lacks nvidia.com/gpu=GPU-a, nvidia.com/gpu=GPU-b; write it anew with `nvidia-ctk cdi generate",
    ),
    'could not select device driver "nvidia" with capabilities: [[gpu compute utility]]': (
        "This server cannot attach GPUs at the moment; tell the administrator.",
        "no device driver `nvidia`",
    ),
    'could not select device driver "cdi" with capabilities: [[]]': (
        "This server cannot attach GPUs at the moment; tell the administrator.",
        "no device driver `cdi`",
    ),
    "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: "
    "unable to start container process: error during container init: error running prestart hook #0: exit status 1, "
    "stdout: , stderr: Auto-detected mode as 'legacy'\nnvidia-container-cli: device error: GPU-a: unknown device": (
        "NVIDIA's container toolkit could not attach your GPU; tell the administrator.",
        "nvidia-container-cli failed: device error: GPU-a: unknown device.",
    ),
    'error gathering device information while adding custom device "/dev/nvidia7": no such file or directory': (
        "The device of your GPU is missing on the server; tell the administrator.",
        "/dev/nvidia7 does not exist: is the driver loaded?",
    ),
    "failed to create shim task: OCI runtime create failed: exec: no such file": (
        "The session's container could not be started; tell the administrator.",
        "The runtime refused the container: OCI runtime create failed: exec: no such file",
    ),
    "mkdir /var/lib/docker/overlay2/x: no space left on device": (
        "The server's disk is full, so no session can start; tell the administrator.",
        "`docker system df`",
    ),
    "No such image: sciencebox/session:0.1.0": (
        "The software image of sessions is missing on the server; tell the administrator.",
        "The image sciencebox/session:0.1.0 is not built; run `make deploy`.",
    ),
    'invalid mount config for type "bind": bind source path does not exist: /srv/data': (
        "A folder that every session needs is missing on the server; tell the administrator.",
        "/srv/data does not exist on the server",
    ),
    "network sciencebox-sessions not found": (
        "The network of sessions is missing on the server; tell the administrator.",
        "no network sciencebox-sessions",
    ),
    "driver failed programming external connectivity on endpoint x: Bind for 127.0.0.1:8888 failed: "
    "port is already allocated": (
        "A network port that the session needs is taken; try again, or tell the administrator.",
        "127.0.0.1:8888",
    ),
    'Conflict. The container name "/sciencebox-session-ada" is already in use by container "0123abcd".': (
        "Your last session is still being removed; try again in a minute.",
        "sciencebox-session-ada exists already",
    ),
    "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available": (
        "The server has fewer cores than were asked for; choose fewer.",
        "more cores are offered than the server's 2.00",
    ),
    "applying cuda memory limits is only supported in cgroup v2": (
        "Shares of a GPU do not work on this server; choose a whole GPU, or tell the administrator.",
        "cgroup v2",
    ),
    "something that nobody has seen before": (
        "The container engine could not start the session; tell the administrator.",
        "something that nobody has seen before",
    ),
}


@pytest.mark.parametrize("text", ENGINE_ERRORS)
def test_engine_errors_are_explained(text: str) -> None:
    user, cause = ENGINE_ERRORS[text]
    explained = explain_engine_error(text)
    assert explained.user_message == user
    assert cause.lower() in explained.operator_message.lower()
    assert text in explained.operator_message  # nothing of the original is lost to the operator
