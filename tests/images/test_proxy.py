"""The proxy image in its two roles, without privileges and on a root file system that can't be written."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING

import pytest
from sciencebox.host import images

from tests.images.conftest import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from docker.models.containers import Container

pytestmark = pytest.mark.engine


def address(container: Container) -> str:
    """The container's address on the engine's bridge."""
    container.reload()
    return str(container.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"])


def test_the_routing_table_forwards(container: Callable[..., Container], hub: str) -> None:
    command = ["configurable-http-proxy", "--ip=0.0.0.0", f"--default-target=http://{hub}"]
    running = container(images.tag("proxy"), command, read_only=True)
    url = f"http://{address(running)}:8000/hub/api"
    wait_for(url, running)
    with urllib.request.urlopen(url) as response:
        assert json.load(response) == {"version": "6.1.1"}


def test_caddy_forwards(container: Callable[..., Container], hub: str, tmp_path: Path) -> None:
    caddyfile = tmp_path / "Caddyfile"
    caddyfile.write_text(f"{{\n admin off\n}}\n:80 {{\n reverse_proxy {hub}\n}}\n")
    tmp_path.chmod(0o755)
    running = container(
        images.tag("proxy"),
        read_only=True,
        tmpfs={"/tmp": "", "/data": ""},
        volumes={str(caddyfile): {"bind": "/etc/caddy/Caddyfile", "mode": "ro"}},
    )
    url = f"http://{address(running)}/hub/api"
    wait_for(url, running)
    with urllib.request.urlopen(url) as response:
        assert json.load(response) == {"version": "6.1.1"}
