"""What every image keeps to: size, no compilers, nothing that could raise a user's privileges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sciencebox.host import images

if TYPE_CHECKING:
    from collections.abc import Callable

    from docker import DockerClient

pytestmark = pytest.mark.engine

MB = 1_000_000
IMAGES = ["base", "hub", "proxy", "session"]
BUILD_TOOLS = "gcc cc g++ make npm pip pip3 git docker"


@pytest.mark.parametrize(("name", "limit"), [("base", 200), ("hub", 500), ("proxy", 400), ("session", 700)])
def test_an_image_keeps_to_its_size(engine: DockerClient, name: str, limit: int) -> None:
    assert engine.images.get(images.tag(name)).attrs["Size"] <= limit * MB


@pytest.mark.parametrize("name", IMAGES)
def test_nothing_in_an_image_changes_its_user(shell: Callable[[str, str], str], name: str) -> None:
    assert shell(name, "find / -xdev -type f -perm /6000") == ""


@pytest.mark.parametrize("name", IMAGES)
def test_nothing_is_left_of_a_build(shell: Callable[[str, str], str], name: str) -> None:
    assert shell(name, f"command -v {BUILD_TOOLS} || true") == ""
    assert shell(name, "ls /tmp /var/lib/apt/lists") == "/tmp:\n\n/var/lib/apt/lists:"


@pytest.mark.parametrize("name", IMAGES)
def test_every_file_can_be_read_by_every_user(shell: Callable[[str, str], str], name: str) -> None:
    assert shell(name, "find /opt /usr/local -xdev ! -type l ! -perm -o+r") == ""


@pytest.mark.parametrize("name", ["proxy", "session"])
def test_an_image_does_not_start_as_root(engine: DockerClient, name: str) -> None:
    assert engine.images.get(images.tag(name)).attrs["Config"]["User"] not in {"", "0", "root"}


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_asks_for_no_gpu_and_carries_no_index(engine: DockerClient, name: str) -> None:
    environment = dict(entry.split("=", 1) for entry in engine.images.get(images.tag(name)).attrs["Config"]["Env"])
    assert not {key for key in environment if key.startswith("NVIDIA") or "PROXY" in key.upper() or "INDEX" in key}


def test_the_systems_certificates_are_the_ones_in_use(shell: Callable[[str, str], str]) -> None:
    count = shell(
        "base", 'grep -c "BEGIN CERTIFICATE" "$SSL_CERT_FILE" && [ "$SSL_CERT_FILE" = "$REQUESTS_CA_BUNDLE" ]'
    )
    assert int(count) > 100
