"""Containers of a real engine see the cards that were granted to them and no others, whatever the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sciencebox.gpus.inventory import read_inventory
from sciencebox.sessions.attach import (
    Attachment,
    DriverFiles,
    attach,
    choose_mode,
    engine_facts,
    find_driver_files,
    no_gpu,
)

from tests.engine import rig
from tests.engine.probe import Probe
from tests.fakes.driver.fake import uuid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from docker import APIClient
    from sciencebox.gpus.device import Device
    from sciencebox.sessions.attach import ModeChoice, Wanted

    from tests.fakes.driver.fake import FakeDriver


pytestmark = pytest.mark.engine

UNKNOWN = "GPU-00000000-0000-4000-8000-00000000ffff"


@pytest.fixture
def probe(client: APIClient, base: str) -> Iterator[Probe]:
    """Containers of the engine with CDI."""
    with Probe.of(client, base) as probe:
        yield probe


@pytest.fixture
def debian_probe(debian_client: APIClient, base: str) -> Iterator[Probe]:
    """Containers of the distribution's engine."""
    with Probe.of(debian_client, base) as probe:
        yield probe


@pytest.fixture
def greedy_probe(debian_client: APIClient, base: str) -> Iterator[Probe]:
    """Containers of a CUDA image, which asks for all cards, under NVIDIA's runtime, which gives them."""
    with Probe.of(debian_client, base) as probe:
        image = debian_client.commit(probe.create(no_gpu()), changes=["ENV NVIDIA_VISIBLE_DEVICES=all"])["Id"]
    with Probe.of(debian_client, image, "nvidia") as probe:
        yield probe
    debian_client.remove_image(image, force=True)


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
    probe: Probe, cards: tuple[Device, ...], files: DriverFiles, index: int
) -> None:
    seen = probe.run(attach("cdi", [cards[index]], files))
    assert seen["nodes"] == ["/dev/nvidia-uvm", f"/dev/nvidia{index}", "/dev/nvidiactl"]
    assert seen["usable"] == seen["nodes"]
    assert seen["library"].endswith("/libcuda.so.580.95.05")
    assert (seen["cuda"], seen["cards"], seen["visible"]) == ([13, 0], 1, "void")


@pytest.mark.usefixtures("cdi")
def test_cdi_gives_several_cards(probe: Probe, cards: tuple[Device, ...], files: DriverFiles) -> None:
    assert probe.run(attach("cdi", cards, files))["cards"] == 2


@pytest.mark.parametrize("engine_of", ["probe", "debian_probe"])
@pytest.mark.parametrize("index", [0, 1])
def test_bind_gives_the_granted_card_and_the_drivers_library(
    request: pytest.FixtureRequest, engine_of: str, cards: tuple[Device, ...], files: DriverFiles, index: int
) -> None:
    probe: Probe = request.getfixturevalue(engine_of)
    seen = probe.run(attach("bind", [cards[index]], files))
    assert seen["nodes"] == ["/dev/nvidia-uvm", f"/dev/nvidia{index}", "/dev/nvidiactl"]
    assert seen["usable"] == seen["nodes"]
    assert seen["library"].startswith("/usr/local/nvidia/lib64/libcuda.so")
    assert (seen["cuda"], seen["cards"], seen["visible"]) == ([13, 0], 1, "void")


@pytest.mark.usefixtures("cdi")
def test_a_session_without_a_gpu_sees_none(probe: Probe) -> None:
    seen = probe.run(no_gpu())
    assert (seen["nodes"], seen["library"], seen["visible"]) == ([], None, "void")


def test_nvidias_runtime_adds_no_card_that_was_not_granted(
    greedy_probe: Probe, cards: tuple[Device, ...], files: DriverFiles
) -> None:
    assert greedy_probe.run(Attachment("none"))["cards"] == 2  # so the runtime works, and would leak every card
    assert greedy_probe.run(no_gpu())["nodes"] == []
    assert greedy_probe.run(attach("bind", [cards[1]], files))["nodes"] == [
        "/dev/nvidia-uvm",
        "/dev/nvidia1",
        "/dev/nvidiactl",
    ]


def test_nvidias_runtime_adds_the_granted_card(
    greedy_probe: Probe, cards: tuple[Device, ...], files: DriverFiles
) -> None:
    seen = greedy_probe.run(attach("nvidia", [cards[1]], files))
    assert [node for node in seen["nodes"] if node[-1].isdigit()] == ["/dev/nvidia1"]
    assert seen["visible"] in {"void", cards[1].uuid}  # the runtime's CDI mode voids what it has fulfilled


@pytest.mark.usefixtures("no_cdi")
def test_auto_follows_the_engines_cdi_specification(
    engine: rig.Engine, driver: FakeDriver, choose: Callable[[Wanted], ModeChoice]
) -> None:
    assert choose("auto").mode == "bind"
    assert "nvidia-ctk cdi generate" in choose("cdi").reason
    rig.write_cdi_spec(driver.root, engine.cdi)
    assert choose("auto").mode == "cdi"


@pytest.mark.usefixtures("cdi")
def test_a_card_that_left_the_cdi_specification_is_explained(probe: Probe) -> None:
    request = {"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={UNKNOWN}"]}
    error = probe.refused(Attachment("cdi", device_requests=(request,)))
    assert "out of date" in error.user_message
    assert f"lacks nvidia.com/gpu={UNKNOWN}" in error.operator_message


def test_an_engine_without_nvidias_runtime_is_explained(
    probe: Probe, cards: tuple[Device, ...], files: DriverFiles
) -> None:
    error = probe.refused(attach("nvidia", cards, files))
    assert "cannot attach GPUs" in error.user_message
    assert "no runtime `nvidia`" in error.operator_message


def test_a_device_node_that_is_gone_is_explained(
    probe: Probe, driver: FakeDriver, cards: tuple[Device, ...], files: DriverFiles
) -> None:
    node = driver.dev / "nvidia1"
    away = node.rename(driver.dev / "away")
    try:
        error = probe.refused(attach("bind", [cards[1]], files))
    finally:
        away.rename(node)
    assert "device of your GPU is missing" in error.user_message
    assert f"{node} does not exist" in error.operator_message


def test_a_missing_image_is_explained(probe: Probe) -> None:
    error = probe.refused(no_gpu(), image="sciencebox/session:never-built")
    assert "`make deploy`" in error.operator_message


def test_a_missing_network_is_explained(probe: Probe) -> None:
    error = probe.refused(no_gpu(), network="sciencebox-test-no-such-network")
    assert "no network sciencebox-test-no-such-network" in error.operator_message


def test_names_of_cards_are_those_of_the_driver(cards: tuple[Device, ...]) -> None:
    assert [card.uuid for card in cards] == [uuid(0), uuid(1)]
