"""compose.yaml means the same to Compose 1.29 and to Compose 2."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from sciencebox.host.command import ask
from sciencebox.host.compose import Places, caller_environment, command_line, env_file, overlay
from sciencebox.host.driver import Driver
from sciencebox.host.engine import Compose
from sciencebox.sessions.attach import DriverFiles
from sciencebox.settings import Settings

COMPOSE_FOLDER = Path(__file__).parents[2] / "deploy" / "compose"
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
DRIVER = Driver(
    DriverFiles(
        (f"{LIBRARIES}/libcuda.so.1",),
        nodes=frozenset({"nvidiactl", "nvidia0"}),
        nvml=f"{LIBRARIES}/libnvidia-ml.so.1",
    )
)
SERVERS: dict[str, dict[str, Any]] = {
    "internal": {},
    "acme": {"tls": "acme", "hostname": "box.example", "acme_email": "ada@box.example"},
    "files": {"tls": "files", "certificate": "/c.pem", "key": "/k.pem"},
}


def composes() -> list[Compose]:
    """Every Compose of this machine; SCIENCEBOX_COMPOSE names a further one."""
    commands = [("docker", "compose"), ("docker-compose",)]
    if extra := os.environ.get("SCIENCEBOX_COMPOSE"):
        commands.append((extra,))
    told = [
        (command, ask([*command, "version", "--short"]) if shutil.which(command[0]) else None) for command in commands
    ]
    return [Compose(command, version) for command, version in told if version]


@pytest.fixture(params=composes() or [None], ids=lambda compose: compose.version if compose else "none")
def compose(request: pytest.FixtureRequest) -> Compose:
    """Each Compose in turn."""
    if request.param is None:
        pytest.skip("no Compose here")
    found: Compose = request.param
    return found


def configuration(
    compose: Compose, folder: Path, server: dict[str, Any], *, with_overlay: bool, monitoring: bool = False
) -> dict[str, Any]:
    """The whole configuration as Compose understood it."""
    values = {"name": "box", "data_root": str(folder / "box"), "server": server, "monitoring": {"enabled": monitoring}}
    settings = Settings.model_validate(values)
    places = Places(settings.data_root, COMPOSE_FOLDER)
    places.state.mkdir(parents=True)
    text = env_file(
        settings,
        places,
        socket=Path("/run/docker.sock"),
        hostname="box.example",
        hub_inputs="h",
        caddy_inputs="c",
    )
    places.env_file.write_text(text)
    places.overlay.write_text(overlay(DRIVER) or "")
    line = [*command_line(compose, "box", places, with_overlay=with_overlay, monitoring=monitoring), "config"]
    environment = caller_environment(os.environ, Path("/run/docker.sock"))
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found: dict[str, Any] = yaml.safe_load(done.stdout)
    return found


@pytest.mark.parametrize("tls", SERVERS)
def test_it_is_understood_without_a_word_of_warning(compose: Compose, tmp_path: Path, tls: str) -> None:
    found = configuration(compose, tmp_path, SERVERS[tls], with_overlay=False)
    assert set(found["services"]) == {"caddy", "proxy", "hub"}
    assert found["networks"]["sessions"]["name"] == "box-sessions"
    hub = found["services"]["hub"]
    assert "pid" not in hub
    assert hub["cap_drop"] == ["ALL"]
    assert set(hub["cap_add"]) == {"CHOWN", "DAC_OVERRIDE", "FOWNER"}
    for service in found["services"].values():
        assert service["restart"] == "unless-stopped"
        assert service["read_only"] is True
        assert service["logging"]["options"]["max-size"] == "10m"


def test_the_overlay_adds_the_driver_to_the_hub(compose: Compose, tmp_path: Path) -> None:
    hub = configuration(compose, tmp_path, {}, with_overlay=True)["services"]["hub"]
    assert hub["pid"] == "host"
    assert hub["environment"]["SCIENCEBOX_DEV_ROOT"] == "/dev"
    assert hub["environment"]["SCIENCEBOX_SETTINGS"] == "/etc/sciencebox/sciencebox.yaml"
    assert len(hub["devices"]) == 2
    assert LIBRARIES in str(hub["volumes"])


def test_monitoring_is_for_this_server_s_own_eyes(compose: Compose, tmp_path: Path) -> None:
    services = configuration(compose, tmp_path, {}, with_overlay=False, monitoring=True)["services"]
    assert set(services) == {"caddy", "proxy", "hub", "prometheus"}
    (port,) = services["prometheus"]["ports"]
    assert "127.0.0.1" in str(port)
    assert not any("TOKEN" in str(value) for value in services["prometheus"].get("environment", {}))
