"""What goes on beside everything else does not end unnoticed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sciencebox.sessions import tasks

if TYPE_CHECKING:
    import pytest


async def test_an_end_by_an_error_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        raise RuntimeError("the unforeseen")

    await asyncio.gather(tasks.start(work(), "serving the queue"), return_exceptions=True)
    assert "serving the queue has ended by an error" in caplog.text
    assert "the unforeseen" in caplog.text


async def test_being_stopped_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    task = tasks.start(asyncio.sleep(60), "sleeping")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert caplog.text == ""
