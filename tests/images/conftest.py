"""Containers of the built images, run as the spawner runs them: as a foreign user without any privilege."""

from __future__ import annotations

import ipaddress
import json
import os
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import docker
import pytest
from sciencebox.host import images

from tests.debian import debian_engine
from tests.fakes import hub_api
from tests.stack.conftest import environment, stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from docker import DockerClient
    from docker.models.containers import Container

    from tests.engine import rig

__all__ = ["debian_engine", "environment", "stack"]

UID = 20001
HOME = "/home/ada"
ANSWER_S = 60
UNPRIVILEGED: dict[str, Any] = {"cap_drop": ["ALL"], "security_opt": ["no-new-privileges"]}


@pytest.fixture(scope="package")
def engine(debian_engine: rig.Engine) -> Iterator[DockerClient]:
    """The container engine."""
    client = docker.DockerClient(base_url=debian_engine.url, version="auto", timeout=120)
    yield client
    client.close()


@pytest.fixture(scope="package")
def hub(engine: DockerClient) -> Iterator[str]:
    """A stand-in for the hub's API, at an address that containers reach."""
    gateway = ipaddress.ip_network(engine.networks.get("bridge").attrs["IPAM"]["Config"][0]["Subnet"])[1]
    server = hub_api.serve()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"{gateway}:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def container(engine: DockerClient) -> Iterator[Callable[..., Container]]:
    """A function that starts a container, which is removed after the test."""
    started: list[Container] = []

    def start(image: str, command: list[str] | None = None, **options: Any) -> Container:
        started.append(engine.containers.run(image, command, detach=True, **UNPRIVILEGED | options))
        return started[-1]

    yield start
    for one in started:
        one.remove(force=True)


@pytest.fixture
def shell(engine: DockerClient) -> Callable[[str, str], str]:
    """A function that runs a shell command in an image, as root, and returns what it prints."""

    def run(name: str, command: str) -> str:
        output = engine.containers.run(images.tag(name), ["bash", "-c", command], user="0", remove=True)
        return str(output.decode().strip())

    return run


@dataclass
class Session:
    """A running single-user server of the user ada."""

    container: Container
    url: str
    home: Path

    def ask(self, path: str, token: str | None = hub_api.TOKEN, method: str = "GET") -> tuple[int, Any]:
        """Status and JSON body of a request below the server's address."""
        headers = {"Authorization": f"token {token}"} if token else {}
        request = urllib.request.Request(self.url + path, method=method, headers=headers)
        with _answer(request) as response:
            return response.status, json.loads(response.read() or "null")


@contextmanager
def _answer(request: urllib.request.Request) -> Iterator[Any]:
    """The response whatever its status is."""
    try:
        response = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        yield response


@pytest.fixture
def session(tmp_path: Path, container: Callable[..., Container], hub: str) -> Callable[..., Session]:
    """A function that starts a session with the given facts, and returns when its server answers."""
    if os.geteuid() != 0:
        pytest.skip("a home for another user can only be made by root")

    def start(facts: dict[str, Any], *, volumes: dict[str, Any] | None = None, **options: Any) -> Session:
        home, passwd = tmp_path / "home", tmp_path / "passwd"
        home.mkdir()
        os.chown(home, UID, UID)
        passwd.write_text(f"root:x:0:0::/root:/bin/bash\nada:x:{UID}:{UID}::{HOME}:/bin/bash\n")
        tmp_path.chmod(0o755)
        binds = {str(passwd): {"bind": "/etc/passwd", "mode": "ro"}}
        if "tmpfs" not in options:
            binds[str(home)] = {"bind": HOME, "mode": "rw"}
        environment = hub_api.environment(hub) | {
            "HOME": HOME,
            "USER": "ada",
            "SCIENCEBOX_SESSION": json.dumps(facts),
            "JUPYTERHUB_ALLOW_TOKEN_IN_URL": "1",
        }
        started = container(
            images.tag("session"),
            user=f"{UID}:{UID}",
            working_dir=HOME,
            environment=environment | options.pop("environment", {}),
            volumes=binds | (volumes or {}),
            **options,
        )
        started.reload()
        address = started.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
        running = Session(started, f"http://{address}:8888/user/ada/", home)
        wait_for(running.url + "api", started)
        return running

    return start


def wait_for(url: str, container: Container) -> None:
    """Return when the address answers 200; fail with the container's log when it ended or takes too long."""
    deadline = time.monotonic() + ANSWER_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            container.reload()
            if container.status == "exited":
                break
            time.sleep(0.05)
    pytest.fail(f"{url} does not answer:\n{container.logs().decode()}")
