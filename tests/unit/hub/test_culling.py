"""Which sessions are stopped because nobody, or no GPU, uses them."""

from __future__ import annotations

import os
import signal
import subprocess
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sciencebox import settings as settings_file
from sciencebox.hub.culling import command, is_over

from tests.service import wait_until

if TYPE_CHECKING:
    from pathlib import Path

HOUR = timedelta(hours=1)


def gpu(idle_s: float, limit_s: float | None = 3600.0) -> dict[str, Any]:
    return {"state": {"object_id": "c0ffee", "gpu_idle": {"idle_s": idle_s, "limit_s": limit_s}}}


@pytest.mark.parametrize(
    ("server", "inactive", "limit_s", "over"),
    [
        ({"state": {"gpu_idle": None}}, HOUR, 3600, True),
        ({"state": {"gpu_idle": None}}, HOUR, 3601, False),
        ({"state": {"gpu_idle": None}}, HOUR, 0, False),
        ({"state": None}, None, 1, False),  # it was never used: its age is not known
        (gpu(3600.0), timedelta(0), 3600, True),  # looked at, and its GPU does nothing
        (gpu(3599.0), 100 * HOUR, 3600, False),  # a training run without a browser
        (gpu(0.0), 100 * HOUR, 3600, False),
        (gpu(1e9, None), 100 * HOUR, 3600, False),
    ],
)
def test_gpus_speak_for_sessions_that_have_them_and_users_for_the_others(
    server: dict[str, Any], inactive: timedelta | None, limit_s: int, over: bool
) -> None:
    assert is_over(inactive=inactive, inactive_limit=limit_s, server=server) is over


@pytest.mark.parametrize(
    ("settings", "timeout_s", "every_s"),
    [
        ("", 86400, 30),
        ("idle: {gpu_minutes: 0, session_hours: 0}", 0, 30),
        ("idle: {gpu_minutes: 0.5, warn_minutes: 0.1}", 86400, 3),
    ],
)
def test_it_looks_often_enough(settings: str, timeout_s: int, every_s: int) -> None:
    assert command(settings_file.parse(settings, "test").idle)[3:] == [
        f"--timeout={timeout_s}",
        f"--cull-every={every_s}",
    ]


def test_it_ends_when_the_hub_interrupts_it_whatever_the_hub_was_started_from(tmp_path: Path) -> None:
    idle = settings_file.parse("", "test").idle
    log = tmp_path / "log"
    start = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh"]  # as where a script starts the hub in the background
    with log.open("wb") as out:
        culler = subprocess.Popen(
            [*start, *command(idle, "http://127.0.0.1:9/hub/api")],
            stderr=out,
            env={**os.environ, "JUPYTERHUB_API_TOKEN": "none"},
        )
    try:
        wait_until(lambda: "refused" in log.read_text(), "it looks")
        culler.send_signal(signal.SIGINT)
        assert culler.wait(10) == -signal.SIGINT
    finally:
        culler.kill()
        culler.wait()
