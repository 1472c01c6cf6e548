"""The steps of a start as any number of pages follow them."""

from __future__ import annotations

import asyncio
from typing import Any

from sciencebox.sessions.progress import Progress, Step


async def _first(progress: Progress, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async for event in progress.events():
        found.append(event)
        if len(found) == count:
            break
    return found


async def test_a_page_opened_late_sees_every_step() -> None:
    progress = Progress()
    progress.at(Step.CHECKING)
    progress.at(Step.GPU)

    assert [event["step"] for event in await _first(progress, 2)] == ["checking", "gpu"]


async def test_two_pages_follow_the_same_start_as_it_happens() -> None:
    progress = Progress()
    pages = [asyncio.create_task(_first(progress, 3)) for _ in range(2)]
    for step in (Step.CHECKING, Step.CREATING, Step.STARTING):
        progress.at(step)
        await asyncio.sleep(0)

    for events in await asyncio.wait_for(asyncio.gather(*pages), 5):
        assert [event["progress"] for event in events] == [5, 40, 60]


async def test_a_failure_ends_the_page_with_its_reason() -> None:
    progress = Progress()
    progress.at(Step.CHECKING)
    progress.failed("All GPUs are in use.")

    events = [event async for event in progress.events()]
    assert events[-1] == {"progress": 100, "failed": True, "message": "All GPUs are in use."}


async def test_a_page_that_waits_before_the_start_sees_its_steps_and_none_of_the_last() -> None:
    progress = Progress()
    progress.begin()
    progress.at(Step.STARTING)
    page = asyncio.create_task(_first(progress, 3))
    await asyncio.sleep(0)
    progress.begin()
    progress.at(Step.CHECKING)
    progress.at(Step.CREATING)

    steps = [event["step"] for event in await asyncio.wait_for(page, 5)]
    assert steps == ["starting", "checking", "creating"]
