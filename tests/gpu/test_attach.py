"""A container on a real engine computes on a real GPU that was granted to it, and on none that was not."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pynvml
import pytest
import yaml
from sciencebox.host.compose import overlay
from sciencebox.host.driver import read_driver
from sciencebox.sessions.attach import Attachment, attach, choose_mode, engine_facts, find_driver_files, no_gpu
from sciencebox.settings import Settings

from tests.engine import rig
from tests.engine.probe import Probe
from tests.gpu.conftest import CUDA, holding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker import APIClient
    from sciencebox.gpus.device import Device
    from sciencebox.sessions.attach import DriverFiles

BASE = "sciencebox/base:0.1.0"
USER = 20001
HOST = Path("/")
SPAWNER = Path(__file__).parents[2] / "spawner"
MODULES = "/probe/modules"
HELD_MIB = 64
LOOK = """
import json, os
from sciencebox.gpus.inventory import read_inventory
found = read_inventory(os.environ["SCIENCEBOX_NVML"])
card = found.devices[0] if found.devices else None
print(json.dumps({
    "uuid": card and card.uuid,
    "health": card and card.health.value,
    "reason": found.reason or card.health_reason,
    "programs": [process.pid for process in card.processes] if card else [],
}))
"""
# No container needs a network here, and a server's kernel may lack what a packet filter needs.
WITHOUT_NETWORK = ("--bridge=none", "--iptables=false", "--ip6tables=false", "--userland-proxy=false")


@pytest.fixture(scope="module")
def engine() -> Iterator[rig.Engine]:
    """An engine that knows the server's own cards."""
    try:
        cached = rig.cached()
        engine = rig.Engine(cached.program, cached.run, cached.images, (*cached.arguments, *WITHOUT_NETWORK))
        rig.write_cdi_spec(HOST, engine.cdi)
        with rig.running(engine):
            yield engine
    except rig.RigError as error:
        pytest.skip(str(error))


@pytest.fixture
def client(engine: rig.Engine) -> Iterator[APIClient]:
    with contextlib.closing(engine.connect()) as client:
        yield client


@pytest.fixture
def files() -> DriverFiles:
    return find_driver_files(HOST, HOST, HOST / "dev")


def test_the_best_way_that_the_engine_allows_is_chosen(client: APIClient, card: Device, files: DriverFiles) -> None:
    facts = engine_facts(client.info(), client.version())
    assert choose_mode("auto", facts, [card], files).mode == "cdi"


@pytest.mark.parametrize("mode", ["cdi", "bind"])
def test_a_session_computes_on_the_card_that_it_was_granted(
    client: APIClient, card: Device, files: DriverFiles, mode: str
) -> None:
    seen = _seen(client, attach(mode, [card], files))
    assert (seen.get("error"), seen["user"]) == (None, USER)
    assert (seen["cards"], seen["uuid"], seen["doubled"]) == (1, card.uuid, 42)
    assert [node for node in seen["nodes"] if node[-1].isdigit()] == [f"/dev/nvidia{card.minor}"]


def test_a_session_without_a_gpu_finds_none(client: APIClient) -> None:
    seen = _seen(client, no_gpu())
    assert (seen["nodes"], seen["visible"]) == ([], "void")
    assert "libcuda" in seen["error"]


def test_the_hub_sees_cards_and_programs_from_its_container(client: APIClient, card: Device, tmp_path: Path) -> None:
    services = yaml.safe_load(overlay(read_driver(Settings(), {})) or "")
    hub = services["services"]["hub"]
    (tmp_path / "pynvml.py").write_bytes(Path(pynvml.__file__).read_bytes())
    attachment = Attachment(
        "hub",
        environment={**hub["environment"], "PYTHONPATH": f"{MODULES}:/probe/spawner"},
        binds=(*hub["volumes"], f"{tmp_path}:{MODULES}:ro", f"{SPAWNER}:/probe/spawner:ro"),
        devices=tuple(f"{node}:rw" for node in hub["devices"]),
    )
    as_hub = {"module": CUDA, "arguments": ("-c", LOOK), "user": "0:0", "pid_mode": hub["pid"]}
    with holding(HELD_MIB) as pid, Probe.of(client, BASE, **as_hub) as probe:
        seen = probe.run(attachment)
    assert (seen["uuid"], seen["health"], seen["reason"]) == (card.uuid, "healthy", "")
    assert pid in seen["programs"]


def _seen(client: APIClient, attachment: Attachment) -> dict[str, Any]:
    with Probe.of(client, BASE, module=CUDA, arguments=("/probe/cuda.py", "double")) as probe:
        return probe.run(attachment)
