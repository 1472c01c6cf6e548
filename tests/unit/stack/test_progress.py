"""What a person sees while a release is built."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from sciencebox_stack.progress import ConsoleProgress, Downloads


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_downloads_are_put_in_a_few_words() -> None:
    downloads = Downloads()
    assert downloads.take("Resolved 94 packages in 1ms") is None
    assert downloads.take("Downloading torch (500.0MiB)") == "downloaded 0 of 500 MiB, waiting for torch"
    assert downloads.take("Downloading numpy (512.0KiB)") == "downloaded 0 of 500 MiB, waiting for torch, numpy"
    assert downloads.take(" Downloaded numpy") == "downloaded 0 of 500 MiB, waiting for torch"
    assert downloads.take(" Downloaded torch") == "downloaded 500 of 500 MiB"
    assert downloads.take("Installed 94 packages in 300ms") == "installed 94 packages in 300ms"


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end() -> None:
    clock, log = Clock(), io.StringIO()
    progress = ConsoleProgress(Console(file=log, width=40), clock)
    with progress.working("alpha: packages") as step:
        step.tool_says("Downloading torch (500.0MiB)")
        for name in "abcdef":
            clock.now += 3
            step.tool_says(f"Downloading {name} (1.0MiB)")
    assert log.getvalue().splitlines() == [
        "  alpha: packages: downloaded 0 of 500 MiB, waiting for torch",
        "  alpha: packages: downloaded 0 of 504 MiB, waiting for torch, a, b",
        "alpha: packages: done in 18 s",
    ]


def test_a_step_that_fails_is_not_called_done() -> None:
    log = io.StringIO()
    with pytest.raises(ValueError, match="broken"), ConsoleProgress(Console(file=log)).working("alpha"):
        raise ValueError("broken")
    assert log.getvalue() == ""


def test_what_looks_like_markup_is_shown_as_it_is() -> None:
    log = io.StringIO()
    ConsoleProgress(Console(file=log)).say("removed /srv/[/x]/[red]/:smile:")
    assert log.getvalue() == "removed /srv/[/x]/[red]/:smile:\n"


def test_a_long_path_stays_on_one_line_of_a_log() -> None:
    log = io.StringIO()
    ConsoleProgress(Console(file=log, width=20)).say("published in /cvmfs/a/very/long/path/that/does/not/fit")
    assert len(log.getvalue().splitlines()) == 1
