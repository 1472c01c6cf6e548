"""The services that are timed, ours and the plain one, each as an address and a token."""

from __future__ import annotations

import io
import os
import secrets
import tarfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from rich.console import Console
from sciencebox.host import build, images
from sciencebox.host.compose import network_environment
from sciencebox.host.steps import Screen
from sciencebox.settings import Settings

from tests.service import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker

    from tests.service import Service

PLAIN_IMAGE = "sciencebox/plain:0.1.0"
NETWORK = "sciencebox-bench-plain"
HUB, PROXY = f"{NETWORK}-hub", f"{NETWORK}-proxy"
ROOT = Path(__file__).parents[2]
CONFIG = Path(__file__).with_name("plain_hub.py")
READY_S = 120


@dataclass
class Hub:
    """A hub's address, reached without TLS, and a token that may start sessions."""

    url: str
    token: str
    http: requests.Session = field(default_factory=requests.Session)

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """A request to the REST API."""
        headers = {"Authorization": f"token {self.token}"}
        return self.http.request(method, f"{self.url}/hub/api/{path}", headers=headers, timeout=READY_S, **options)

    def close(self) -> None:
        """Let go of every connection."""
        self.http.close()

    def add(self, name: str) -> None:
        """Make a user, unless there is one."""
        assert self.ask("POST", f"users/{name}").status_code in {201, 409}

    def start(self, name: str, options: dict[str, Any]) -> tuple[float, float]:
        """Start a session. When it was asked for and when its server first answered, in seconds since the epoch."""
        asked = time.time()
        answer = self.ask("POST", f"users/{name}/server", json=options)
        assert answer.status_code in {201, 202}, answer.text
        deadline = asked + READY_S
        while self.http.get(f"{self.url}/user/{name}/api", allow_redirects=False, timeout=10).status_code != 200:
            assert time.time() < deadline, f"the session of {name} does not answer"
            time.sleep(0.01)
        return asked, time.time()

    def stop(self, name: str) -> None:
        """Stop a session, and wait until it is gone."""
        self.ask("DELETE", f"users/{name}/server")
        wait_until(lambda: not self.ask("GET", f"users/{name}").json()["servers"], f"{name} has no session")


def ours(service: Service) -> Hub:
    """The deployed service, behind its own proxy but without Caddy, for the plain one has no TLS."""
    admin = service.admin()
    token = admin.ask("POST", "api/users/admin/tokens", json={"note": "benchmark"}).json()["token"]
    label = [f"com.docker.compose.project={service.name}", "com.docker.compose.service=proxy"]
    (proxy,) = service.engine.containers.list(ignore_removed=True, filters={"label": label})
    return Hub(f"http://{_address(proxy)}:8000", token)


def provide_plain_image(client: docker.DockerClient) -> None:
    """Build the image that ours is measured against, as ours are built, unless it is there as it should be."""
    settings, file = Settings(), "tests/images/plain/Dockerfile"
    content = images.File("images/plain/Dockerfile", (ROOT / file).read_bytes())
    stands_on = str(client.images.get(images.tag(images.BASE)).id)
    plan = images.Plan("plain", PLAIN_IMAGE, (content,), images.inputs_hash([content], stands_on))
    screen = Screen(Console())
    with screen.working("Plain image"):
        done = build.build_images(client, [plan], settings, network_environment(settings, os.environ), screen)
    screen.finished("Plain image", done)


@contextmanager
def plain(client: docker.DockerClient, socket: str) -> Iterator[Hub]:
    """JupyterHub with DockerSpawner, on the same engine."""
    token = secrets.token_hex(16)
    _remove(client)
    client.networks.create(NETWORK)
    try:
        proxy = client.containers.run(
            images.tag("proxy"),
            ["configurable-http-proxy", "--ip=0.0.0.0", "--api-ip=0.0.0.0", "--api-port=8001",
             f"--default-target=http://{HUB}:8081"],
            name=PROXY, network=NETWORK, environment={"CONFIGPROXY_AUTH_TOKEN": token}, detach=True,
        )  # fmt: skip
        environment = {
            "TOKEN": token, "HUB": HUB, "PROXY": PROXY, "NETWORK": NETWORK,
            "IMAGES": f"{images.tag('session')} {PLAIN_IMAGE}",
        }  # fmt: skip
        hub = client.containers.create(
            images.tag("hub"), ["python", "-m", "jupyterhub", "-f", "/srv/plain_hub.py"], name=HUB, network=NETWORK,
            environment=environment, working_dir="/tmp",
            volumes={socket: {"bind": "/var/run/docker.sock"}},
        )  # fmt: skip
        hub.put_archive("/srv", _packed(CONFIG))
        hub.start()
        proxy.reload()
        found = Hub(f"http://{_address(proxy)}:8000", token)
        wait_until(lambda: _answers(found), "the plain hub answers")
        yield found
    finally:
        _remove(client)


def _answers(hub: Hub) -> bool:
    try:
        return hub.ask("GET", "").ok
    except requests.ConnectionError:
        return False


def _address(container: Any) -> str:
    container.reload()
    networks = container.attrs["NetworkSettings"]["Networks"].values()
    return str(next(network["IPAddress"] for network in networks))


def _remove(client: docker.DockerClient) -> None:
    for container in client.containers.list(all=True):
        if container.name in {HUB, PROXY} or NETWORK in container.attrs["NetworkSettings"]["Networks"]:
            container.remove(force=True, v=True)
    for network in client.networks.list(names=[NETWORK]):
        network.remove()


def _packed(file: Path) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(file, file.name)
    return packed.getvalue()
