"""The desk gives out shares of a GPU where their memory is bounded, or where the settings do without."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from docker.errors import DockerException
from sciencebox.gpus.device import Inventory, Load, Process, share_uuid
from sciencebox.gpus.reconcile import ContainerFacts, labels
from sciencebox.sessions.form import gpu_rows
from sciencebox.sessions.limits import CALL, HOOK
from sciencebox.sessions.options import SessionOptions
from sciencebox.sessions.policy import HOUR_S
from sciencebox.sessions.refusals import AttachError

from tests.unit.sessions.test_desk import CARDS, GIB, EngineInMemory, MakeDesk, engine, granted, make_desk

if TYPE_CHECKING:
    from pathlib import Path

    from sciencebox.accounting.leases import Lease
    from sciencebox.gpus.broker import Grant
    from sciencebox.sessions.desk import Desk

__all__ = ["engine", "make_desk"]

SHARES = "gpus: {shares: [{model: NVIDIA A100, parts: 4}]}\n"
KIND = "NVIDIA A100 1/4 share"
ONE_SHARE = SessionOptions("", 1, GIB, gpu=KIND, gpu_count=1)


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """A server that can bound the memory of a session; its driver's files."""
    (tmp_path / "cdi").mkdir()
    (tmp_path / "cdi/nvidia.yaml").write_text(HOOK)
    library = tmp_path / "libnvidia-ml.so.1"
    library.write_bytes(CALL)
    info = EngineInMemory.info
    more = {"CgroupVersion": "2", "CDISpecDirs": [str(tmp_path / "cdi")]}
    monkeypatch.setattr(EngineInMemory, "info", lambda self: info(self) | more)
    return {"nvml": str(library)}


async def opened(desk: Desk) -> Desk:
    await desk.open()
    await desk.close()
    return desk


async def environment(desk: Desk, grant: Grant) -> dict[str, str]:
    return (await desk.describe(grant, "maria", ONE_SHARE)).environment


async def test_where_memory_is_bounded_a_share_is_told_its_own(make_desk: MakeDesk, able: dict[str, Any]) -> None:
    desk = await opened(make_desk(settings=SHARES, **able))
    rows = {row.gpu: row for row in gpu_rows(desk.offer())}
    assert list(rows) == ["any", "NVIDIA A100", KIND]
    assert (rows["any"].numbers, rows[KIND].numbers, rows[KIND].most) == ("1 of 1 free", "4 of 4 free", 1)
    assert rows[KIND].about == "10 GiB each, of a GPU that others use too"
    grant = granted(await desk.request("maria", ONE_SHARE, "session-maria"))
    assert (await environment(desk, grant))["NVIDIA_GPU_MEMORY_LIMIT"] == "10240"


async def test_a_driver_that_is_back_finds_its_gpus_divided_as_before(
    make_desk: MakeDesk, able: dict[str, Any]
) -> None:
    driver = [Inventory(CARDS)]
    desk = await opened(make_desk(lambda: driver[0], settings=SHARES, **able))
    before = desk.inventory.devices
    for driver[0] in (Inventory(readable=False, reason="It hangs."), Inventory(CARDS)):
        await desk.refresh(max_age_s=0)
    assert desk.inventory.devices == before


async def test_nobody_gets_a_gpu_whole_because_it_is_not_known_yet_whether_its_shares_are_bounded(
    make_desk: MakeDesk, able: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    info = EngineInMemory.info

    def silent(_: EngineInMemory) -> dict[str, Any]:
        raise DockerException("it is starting")

    monkeypatch.setattr(EngineInMemory, "info", silent)
    desk = await opened(make_desk(settings=SHARES, **able))
    assert [device.uuid for device in desk.inventory.devices if not (device.is_part or device.is_divided)] == ["GPU-0"]
    monkeypatch.setattr(EngineInMemory, "info", info)
    grant = granted(await desk.request("maria", ONE_SHARE, "session-maria"))
    assert (await environment(desk, grant))["NVIDIA_GPU_MEMORY_LIMIT"] == "10240"


async def test_where_it_is_not_every_gpu_stays_whole(make_desk: MakeDesk) -> None:
    desk = await opened(make_desk(settings=SHARES))
    assert [row.gpu for row in gpu_rows(desk.offer())] == ["any", "NVIDIA A100"]
    assert {device.uuid for device in desk.inventory.devices} == {"GPU-0", "GPU-1"}


async def test_a_site_may_do_without_and_the_form_says_what_that_means(make_desk: MakeDesk) -> None:
    desk = await opened(make_desk(settings="gpus: {unsafe_sharing: true, shares: [{model: NVIDIA A100, parts: 4}]}\n"))
    about = next(row.about for row in gpu_rows(desk.offer()) if row.gpu == KIND)
    assert about == "about 10 GiB each, of a GPU that others use too: whoever takes more can end your work"
    grant = granted(await desk.request("maria", ONE_SHARE, "session-maria"))
    assert "NVIDIA_GPU_MEMORY_LIMIT" not in await environment(desk, grant)


async def test_the_gpu_hours_that_are_left_are_so_many_times_more_of_a_share(
    make_desk: MakeDesk, engine: EngineInMemory, able: dict[str, Any]
) -> None:
    limits = "limits: {gpu_hours_week: 1, session_hours: 1, extension_hours: 8}\n"
    desk = make_desk(settings=SHARES + limits, **able)

    async def lately(_user: str) -> list[Lease]:
        return []

    desk.lately = lately
    await opened(desk)
    (share,) = granted(await desk.request("maria", ONE_SHARE, "session-maria")).devices
    now = time.time()
    held = labels("maria", [share], "sciencebox", now, now + HOUR_S)
    engine.found = [ContainerFacts("id-maria", "session-maria", held, "running")]
    desk.settle("session-maria")
    assert await desk.extend("session-maria", "maria", ()) == pytest.approx(now + 4 * HOUR_S, abs=10)


async def test_who_does_nothing_on_a_share_is_told_from_who_works_beside(
    make_desk: MakeDesk, engine: EngineInMemory, able: dict[str, Any]
) -> None:
    working, resting = Process(11, GIB, 0.5, "id-maria"), Process(12, GIB, 0.0, "id-jonas")
    busy = replace(CARDS[1], processes=(working, resting), load=Load(0.5, 2 * GIB))
    desk = await opened(make_desk(lambda: Inventory((CARDS[0], busy)), settings=SHARES, **able))
    began = time.time() - 60
    for n, name in enumerate(("maria", "jonas")):
        share = replace(busy, uuid=share_uuid(busy.uuid, n + 1, 4))
        held = labels(name, [share], "sciencebox", began)
        engine.found.append(ContainerFacts(f"id-{name}", f"session-{name}", held, "running"))
    await desk.refresh_ledger()
    await desk.refresh(max_age_s=0)
    assert desk.idle.seconds("session-maria", began + 3600) is None
    assert desk.idle.seconds("session-jonas", began + 3600) == pytest.approx(3540, abs=10)


async def test_a_share_whose_bound_is_gone_when_it_starts_is_not_started(
    make_desk: MakeDesk, able: dict[str, Any], tmp_path: Path
) -> None:
    desk = await opened(make_desk(settings=SHARES, **able))
    grant = granted(await desk.request("maria", ONE_SHARE, "session-maria"))
    (tmp_path / "cdi/nvidia.yaml").unlink()
    with pytest.raises(AttachError) as caught:
        await environment(desk, grant)
    assert "cannot be given out at the moment" in caught.value.user_message
    assert HOOK in caught.value.operator_message


async def test_a_share_of_a_gpu_whose_memory_is_not_known_is_not_started(
    make_desk: MakeDesk, able: dict[str, Any]
) -> None:
    cards = tuple(replace(card, memory_bytes=None) for card in CARDS)
    desk = await opened(make_desk(lambda: Inventory(cards), settings=SHARES, **able))
    grant = granted(await desk.request("maria", ONE_SHARE, "session-maria"))
    with pytest.raises(AttachError, match="how much memory"):
        await environment(desk, grant)
