"""The whole container of a session, as the engine is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from sciencebox.gpus.device import Device
from sciencebox.sessions.attach import Attachment, DriverFiles, attach, no_gpu
from sciencebox.sessions.identity import Identity
from sciencebox.sessions.launch import Launch, describe
from sciencebox.sessions.options import SessionOptions
from sciencebox.settings import Settings, parse

GIB = 1024**3
SETTINGS = parse("data_root: /srv/box", "sciencebox.yaml")
STATE = Path("/srv/box/state/identities/maria")
MARIA = Identity("maria", 20007, Path("/srv/box/homes/maria"), STATE / "passwd", STATE / "group")
OPTIONS = SessionOptions("SB_1", cores=2, memory_bytes=4 * GIB)
VIEW = "/cvmfs/sciencebox.local/lcg/views/SB_1/x86_64-debian12-gcc12-opt"
CARD = Device("GPU-1", 0, model="NVIDIA A100", memory_bytes=40 * GIB, minor=0)
LABELS = {"sciencebox.user": "maria", "sciencebox.deployment": "sciencebox"}


def _launch(
    settings: Settings = SETTINGS,
    attachment: Attachment | None = None,
    devices: tuple[Device, ...] = (),
    view: str | None = VIEW,
) -> Launch:
    return describe(
        settings, OPTIONS, MARIA, attachment or no_gpu(), devices, view=view, labels=LABELS, until=1_790_000_000.0
    )


def test_the_host_configuration_of_a_session_without_gpu() -> None:
    assert _launch().host == {
        "binds": [
            "/srv/box/homes/maria:/home/maria:rw",
            "/srv/box/state/identities/maria/passwd:/etc/passwd:ro",
            "/srv/box/state/identities/maria/group:/etc/group:ro",
            "/srv/box/data:/data:ro",
            "/srv/box/cvmfs/sciencebox.local:/cvmfs/sciencebox.local:ro",
        ],
        "mem_limit": 4 * GIB,
        "memswap_limit": 4 * GIB,
        "cpu_period": 100_000,
        "cpu_quota": 200_000,
        "pids_limit": 4096,
        "shm_size": 2 * GIB,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "oom_score_adj": 500,
        "init": False,
        "log_config": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}},
    }


def test_a_session_runs_as_its_user_at_home() -> None:
    launch = _launch()

    assert launch.create == {"user": "20007:20007", "working_dir": "/home/maria"}
    assert launch.environment["HOME"] == "/home/maria"
    assert launch.environment["USER"] == "maria"
    assert launch.environment["OMP_NUM_THREADS"] == "2"
    assert launch.environment["OMP_WAIT_POLICY"] == "passive"  # one that spins uses up what the session may compute
    assert launch.labels == LABELS


def test_without_a_gpu_no_runtime_hook_may_add_one() -> None:
    launch = _launch()

    assert launch.environment["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert "devices" not in launch.host
    assert "device_requests" not in launch.host


def test_a_granted_card_and_no_other() -> None:
    attachment = attach("cdi", [CARD], DriverFiles())
    launch = _launch(attachment=attachment, devices=(CARD,))

    assert launch.host["device_requests"] == [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=GPU-1"]}]
    assert launch.environment["NVIDIA_VISIBLE_DEVICES"] == "void"


def test_the_session_knows_what_it_has() -> None:
    facts = json.loads(
        _launch(attachment=attach("cdi", [CARD], DriverFiles()), devices=(CARD,)).environment["SCIENCEBOX_SESSION"]
    )

    assert facts == {
        "release": "SB_1",
        "view": VIEW,
        "until": 1_790_000_000.0,
        "cores": 2,
        "memory_bytes": 4 * GIB,
        "attach": "cdi",
        "simulated": False,
        "gpus": [
            {
                "uuid": "GPU-1",
                "model": "NVIDIA A100",
                "memory_bytes": 40 * GIB,
                "mig_profile": None,
                "simulated": False,
            }
        ],
    }


def test_a_simulated_card_is_called_simulated_and_attaches_nothing() -> None:
    card = replace(CARD, simulated=True)
    launch = _launch(attachment=attach("simulated", [card], DriverFiles()), devices=(card,))

    assert json.loads(launch.environment["SCIENCEBOX_SESSION"])["simulated"] is True
    assert "device_requests" not in launch.host


def test_kernels_come_from_the_view() -> None:
    assert _launch().environment["JUPYTER_PATH"] == f"{VIEW}/share/jupyter"
    assert "JUPYTER_PATH" not in _launch(view=None).environment


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_the_sites_proxy_reaches_sessions_in_both_spellings(name: str) -> None:
    settings = parse("network: {https_proxy: 'http://proxy.hospital.example:3128'}", "sciencebox.yaml")

    assert _launch(settings).environment[name] == "http://proxy.hospital.example:3128"
