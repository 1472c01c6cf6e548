"""A deployment of its own, made and unmade by the command that administrators use."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import pytest
import yaml

from tests.debian import debian_engine
from tests.deployed.conftest import stack
from tests.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine import rig

__all__ = ["debian_engine", "stack"]

NAME = "sb-pytest"
COMMAND = [sys.executable, "-c", "from sciencebox.cli import app; app()"]


@pytest.fixture(scope="package")
def client(debian_engine: rig.Engine) -> Iterator[docker.DockerClient]:
    """The container engine."""
    client = docker.DockerClient(base_url=debian_engine.url, version="auto", timeout=60)
    yield client
    client.close()


@dataclass
class Deployment:
    """A settings file, and the command for it."""

    folder: Path
    client: docker.DockerClient
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
        found = self.client.containers.list(
            ignore_removed=True, filters={"label": f"com.docker.compose.project={NAME}"}
        )
        return {container.labels["com.docker.compose.service"]: container.id for container in found}

    def images(self) -> dict[str, str]:
        """Ids of the images by tag."""
        found = self.client.images.list(filters={"label": "sciencebox.inputs"})
        return {tag: image.id for image in found for tag in image.tags}


@pytest.fixture(scope="module")
def deployment(debian_engine: rig.Engine, client: docker.DockerClient, stack: Path) -> Iterator[Deployment]:
    """A deployment that is not up yet. Nothing of it is left after the tests."""
    folder = Path("/var/tmp") / f"{NAME}-{os.getpid()}"
    folder.mkdir()
    (folder / "data/cvmfs").mkdir(parents=True)
    (folder / "data/cvmfs/sciencebox.local").symlink_to(stack)
    https, http = free_ports(2)
    made = Deployment(
        folder,
        client,
        {
            "name": NAME,
            "data_root": str(folder / "data"),
            "server": {"https_port": https, "http_port": http, "hostname": "localhost"},
            "engine": {"socket": str(debian_engine.socket)},
            "gpus": {"simulate": 1},
            "stack": {"variant": "cpu"},
            "accounts": {"demo_users": ["ada"]},
        },
    )
    yield made
    ended = made.run("destroy", "--yes")
    shutil.rmtree(folder)
    assert ended.returncode == 0, ended.stdout
