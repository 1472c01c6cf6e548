"""Containers of a real engine see the cards that were granted to them and no others, whatever the way."""

from __future__ import annotations

import contextlib
import json
import uuid as uuids
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import pytest
from sciencebox.gpus.inventory import read_inventory
from sciencebox.sessions.attach import (
    Attachment,
    DriverFiles,
    attach,
    choose_mode,
    engine_facts,
    explain_engine_error,
    find_driver_files,
    no_gpu,
)

from tests.engine import rig
from tests.fakes.driver.fake import uuid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from docker import APIClient
    from sciencebox.gpus.device import Device
    from sciencebox.sessions.attach import ModeChoice, Wanted

    from tests.fakes.driver.fake import FakeDriver

    Create = Callable[..., str]
    Run = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.engine

UNKNOWN = "GPU-00000000-0000-4000-8000-00000000ffff"
GPU_PY = Path(__file__).parents[2] / "notebooks/brainmri/gpu.py"
PROBE = """
import glob, json, os, sys
sys.path.insert(0, "/probe")
import gpu
driver = gpu.driver()
print(json.dumps({
    "nodes": sorted(glob.glob("/dev/nvidia*")),
    "usable": sorted(path for path in glob.glob("/dev/nvidia*") if os.access(path, os.R_OK | os.W_OK)),
    "library": driver.library,
    "cuda": driver.cuda,
    "cards": driver.devices,
    "visible": os.environ.get("NVIDIA_VISIBLE_DEVICES"),
}))
"""


@pytest.fixture
def create(client: APIClient, base: str) -> Iterator[Create]:
    """Create a container as a session is: a foreign user without privileges. It is removed after the test."""
    made: list[str] = []

    def create(attachment: Attachment, *, image: str = base, network: str | None = None) -> str:
        host = client.create_host_config(
            binds=[f"{GPU_PY}:/probe/gpu.py:ro", *attachment.binds],
            devices=list(attachment.devices),
            device_requests=list(attachment.device_requests),
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            network_mode=network or "none",
        )
        container = client.create_container(
            image,
            ["python3", "-c", PROBE],
            user="20001:20001",
            environment=attachment.environment,
            labels={**attachment.labels, "sciencebox.test": "attach"},
            name=f"sciencebox-test-{uuids.uuid4().hex[:12]}",
            host_config=host,
        )
        made.append(container["Id"])
        return str(container["Id"])

    yield create
    for container in made:
        client.remove_container(container, force=True, v=True)


@pytest.fixture
def run(client: APIClient, create: Create) -> Run:
    """What a program sees in a container with this attachment."""

    def run(attachment: Attachment, **options: Any) -> dict[str, Any]:
        container = create(attachment, **options)
        client.start(container)
        status = client.wait(container, timeout=60)["StatusCode"]
        output = client.logs(container).decode()
        assert status == 0, output
        seen: dict[str, Any] = json.loads(output)
        return seen

    return run


@pytest.fixture
def cards(driver: FakeDriver) -> tuple[Device, ...]:
    return read_inventory(driver.nvml).devices


@pytest.fixture
def files(driver: FakeDriver) -> DriverFiles:
    return find_driver_files(driver.root, driver.root, driver.dev)


@pytest.fixture
def choose(client: APIClient, cards: tuple[Device, ...], files: DriverFiles) -> Callable[[Wanted], ModeChoice]:
    """The way that the live engine allows."""

    def choose(wanted: Wanted) -> ModeChoice:
        return choose_mode(wanted, engine_facts(client.info(), client.version()), cards, files)

    return choose


@pytest.mark.usefixtures("cdi")
@pytest.mark.parametrize("index", [0, 1])
def test_cdi_gives_the_granted_card_and_the_drivers_library(
    run: Run, cards: tuple[Device, ...], files: DriverFiles, index: int
) -> None:
    seen = run(attach("cdi", [cards[index]], files))
    assert seen["nodes"] == ["/dev/nvidia-uvm", f"/dev/nvidia{index}", "/dev/nvidiactl"]
    assert seen["usable"] == seen["nodes"]
    assert seen["library"].endswith("/libcuda.so.580.95.05")
    assert (seen["cuda"], seen["cards"], seen["visible"]) == ([13, 0], 1, "void")


@pytest.mark.usefixtures("cdi")
def test_cdi_gives_several_cards(run: Run, cards: tuple[Device, ...], files: DriverFiles) -> None:
    assert run(attach("cdi", cards, files))["cards"] == 2


@pytest.mark.parametrize("index", [0, 1])
def test_bind_gives_the_granted_card_and_the_drivers_library(
    run: Run, cards: tuple[Device, ...], files: DriverFiles, index: int
) -> None:
    seen = run(attach("bind", [cards[index]], files))
    assert seen["nodes"] == ["/dev/nvidia-uvm", f"/dev/nvidia{index}", "/dev/nvidiactl"]
    assert seen["usable"] == seen["nodes"]
    assert seen["library"].startswith("/usr/local/nvidia/lib64/libcuda.so")
    assert (seen["cuda"], seen["cards"], seen["visible"]) == ([13, 0], 1, "void")


@pytest.mark.usefixtures("cdi")
def test_a_session_without_a_gpu_sees_none_although_its_image_asks_for_all(
    client: APIClient, create: Create, run: Run
) -> None:
    greedy = client.commit(create(no_gpu()), changes=["ENV NVIDIA_VISIBLE_DEVICES=all"])["Id"]
    try:
        seen = run(no_gpu(), image=greedy)
    finally:
        client.remove_image(greedy, force=True)
    assert (seen["nodes"], seen["library"], seen["visible"]) == ([], None, "void")


@pytest.mark.usefixtures("no_cdi")
def test_auto_follows_the_engines_cdi_specification(
    engine: rig.Engine, driver: FakeDriver, choose: Callable[[Wanted], ModeChoice]
) -> None:
    assert choose("auto").mode == "bind"
    assert "nvidia-ctk cdi generate" in choose("cdi").reason
    rig.write_cdi_spec(driver.root, engine.cdi)
    assert choose("auto").mode == "cdi"


@pytest.mark.usefixtures("cdi")
def test_a_card_that_left_the_cdi_specification_is_explained(client: APIClient, create: Create) -> None:
    request = {"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={UNKNOWN}"]}
    error = refused(client, create, Attachment("cdi", device_requests=(request,)))
    assert "out of date" in error.user_message
    assert f"lacks nvidia.com/gpu={UNKNOWN}" in error.operator_message


def test_an_engine_without_nvidias_hook_is_explained(
    client: APIClient, create: Create, cards: tuple[Device, ...], files: DriverFiles
) -> None:
    error = refused(client, create, attach("nvidia", cards, files))
    assert "cannot attach GPUs" in error.user_message
    assert "no device driver `nvidia`" in error.operator_message


def test_a_device_node_that_is_gone_is_explained(
    client: APIClient, create: Create, driver: FakeDriver, cards: tuple[Device, ...], files: DriverFiles
) -> None:
    node = driver.dev / "nvidia1"
    away = node.rename(driver.dev / "away")
    try:
        error = refused(client, create, attach("bind", [cards[1]], files))
    finally:
        away.rename(node)
    assert "device of your GPU is missing" in error.user_message
    assert f"{node} does not exist" in error.operator_message


def test_a_missing_image_is_explained(client: APIClient, create: Create) -> None:
    with pytest.raises(docker.errors.APIError) as raised:
        create(no_gpu(), image="sciencebox/session:never-built")
    assert "`make deploy`" in explain_engine_error(raised.value.explanation).operator_message


def test_a_missing_network_is_explained(client: APIClient, create: Create) -> None:
    error = refused(client, create, no_gpu(), network="sciencebox-test-no-such-network")
    assert "no network sciencebox-test-no-such-network" in error.operator_message


def test_names_of_cards_are_those_of_the_driver(cards: tuple[Device, ...]) -> None:
    assert [card.uuid for card in cards] == [uuid(0), uuid(1)]


def refused(client: APIClient, create: Create, attachment: Attachment, **options: Any) -> Any:
    """The explanation of the engine's refusal to start it; the container can be removed all the same."""
    container: str | None = None
    with pytest.raises(docker.errors.APIError) as raised:
        container = create(attachment, **options)
        client.start(container)
    if container:
        with contextlib.suppress(docker.errors.NotFound):
            assert client.inspect_container(container)["State"]["Status"] == "created"
    return explain_engine_error(raised.value.explanation)
