"""A deployment of its own on the engine of DOCKER_HOST, made and unmade by the command that administrators use."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker import DockerClient

NAME = "sb-pytest"
COMMAND = [sys.executable, "-c", "from sciencebox.cli import app; app()"]


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerClient]:
    """The container engine."""
    docker = pytest.importorskip("docker")
    if os.geteuid() != 0:
        pytest.skip("a deployment is root's work")
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        pytest.skip(f"no container engine: {error}")
    yield client
    client.close()


@dataclass
class Deployment:
    """A settings file, and the command for it."""

    folder: Path
    client: DockerClient
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def data_root(self) -> Path:
        """Where its data is."""
        return self.folder / "data"

    @property
    def settings(self) -> Path:
        """The settings file."""
        path = self.folder / "site.yaml"
        path.write_text(yaml.safe_dump(self.values), encoding="utf-8")
        return path

    def run(self, command: str, *options: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        """Run the command; its status is for the test to judge."""
        line = [*COMMAND, command, "--settings", str(self.settings), *options]
        return subprocess.run(line, input=answer, capture_output=True, text=True, check=False, timeout=1800)

    def containers(self) -> dict[str, str]:
        """Ids of the service's containers by service."""
        found = self.client.containers.list(filters={"label": f"com.docker.compose.project={NAME}"})
        return {container.labels["com.docker.compose.service"]: container.id for container in found}

    def images(self) -> dict[str, str]:
        """Ids of the images by tag."""
        found = self.client.images.list(filters={"label": "sciencebox.inputs"})
        return {tag: image.id for image in found for tag in image.tags}


@pytest.fixture(scope="module")
def deployment(engine: DockerClient) -> Iterator[Deployment]:
    """A deployment that is not up yet. Nothing of it is left after the tests."""
    folder = Path("/var/tmp") / f"{NAME}-{os.getpid()}"
    folder.mkdir()
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    assert host.startswith("unix://"), host
    https, http = free_ports()
    made = Deployment(
        folder,
        engine,
        {
            "name": NAME,
            "data_root": str(folder / "data"),
            "server": {"https_port": https, "http_port": http, "hostname": "localhost"},
            "engine": {"socket": host.removeprefix("unix://")},
            "gpus": {"simulate": 1},
            "accounts": {"demo_users": ["ada"]},
        },
    )
    yield made
    ended = made.run("destroy", "--yes")
    shutil.rmtree(folder)
    assert ended.returncode == 0, ended.stdout


def free_ports() -> tuple[int, int]:
    """Two ports that nobody has."""
    with socket.socket() as first, socket.socket() as second:
        for probe in (first, second):
            probe.bind(("", 0))
        return first.getsockname()[1], second.getsockname()[1]
