"""Steps are shown as they happen, and the first that fails ends the deployment with a sentence."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
from rich.console import Console
from sciencebox.host.command import ask, run
from sciencebox.host.steps import Screen, Step, StepError, run_steps


class Watch:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def screen(log: io.StringIO | None = None, *, terminal: bool = False) -> tuple[Screen, io.StringIO, Watch]:
    """A screen, what it shows, and its clock."""
    shown, clock = io.StringIO(), Watch()
    console = Console(file=shown, force_terminal=terminal, width=200, color_system=None)
    return Screen(console, log, clock), shown, clock


def test_steps_are_told_in_order() -> None:
    watched, shown, clock = screen()

    def slow(_: Screen) -> str:
        clock.now += 12
        return "built"

    assert run_steps([Step("Images", slow), Step("Ready", lambda _: "up to date")], watched)
    told = shown.getvalue()
    assert "ok [1/2] Images: built (12 s)" in told
    assert "ok [2/2] Ready: up to date\n" in told


def test_the_first_failure_ends_it() -> None:
    def fails(_: Screen) -> str:
        raise StepError("The disk is full. Free some space.", "details for the log")

    reached: list[str] = []
    log = io.StringIO()
    watched, shown, _ = screen(log)
    steps = [Step("Images", fails), Step("Ready", lambda _: reached.append("x") or "done")]
    assert not run_steps(steps, watched)
    assert reached == []
    assert "FAILED [1/2] Images: The disk is full. Free some space." in shown.getvalue()
    assert "details for the log" not in shown.getvalue()
    assert "details for the log" in log.getvalue()


def test_a_surprise_is_a_sentence_too() -> None:
    def breaks(_: Screen) -> str:
        raise KeyError("thing")

    log = io.StringIO()
    watched, shown, _ = screen(log)
    assert not run_steps([Step("Images", breaks)], watched)
    assert "KeyError: 'thing'. Details are in deploy.log." in shown.getvalue()
    assert "Traceback" not in shown.getvalue()
    assert "Traceback" in log.getvalue()


def test_what_no_log_takes_is_shown() -> None:
    def breaks(_: Screen) -> str:
        raise KeyError("thing")

    def fails(_: Screen) -> str:
        raise StepError("The disk is full.", "tar: no space left on device")

    watched, shown, _ = screen()
    assert not run_steps([Step("Backup", breaks)], watched)
    assert "KeyError: 'thing'. Details are above." in shown.getvalue()
    assert "Traceback" in shown.getvalue()
    assert not run_steps([Step("Backup", fails)], watched)
    assert "tar: no space left on device" in shown.getvalue()


def test_a_disk_without_room_for_the_log_hides_nothing() -> None:
    def fails(_: Screen) -> str:
        raise StepError("The disk is full.", "tar: no space left on device")

    watched, shown, _ = screen()
    watched.log_to(Path("/dev/full").open("w"))  # noqa: SIM115 - it is closed as soon as it is full
    assert not run_steps([Step("Images", fails)], watched)
    assert "! The log cannot be written: No space left on device." in shown.getvalue()
    assert "tar: no space left on device\nFAILED [1/1] Images: The disk is full." in shown.getvalue()


def test_progress_without_a_terminal_is_a_line_now_and_then() -> None:
    watched, shown, clock = screen()

    def chatty(current: Screen) -> str:
        for second in range(40):
            clock.now = float(second)
            current.now(f"line {second}")
        return "done"

    run_steps([Step("Images", chatty)], watched)
    assert [line.strip() for line in shown.getvalue().splitlines() if "line" in line] == [
        "line 15 (15 s)",
        "line 30 (30 s)",
    ]


def test_progress_in_a_terminal_leaves_only_the_outcome() -> None:
    watched, shown, _ = screen(terminal=True)
    run_steps([Step("Images", lambda current: current.now("[x] at work") or "done")], watched)
    assert "✓ [1/1] Images: done" in shown.getvalue()


def test_what_happens_before_the_log_is_open_gets_into_it() -> None:
    watched, _, _ = screen()
    watched.warn("early")
    log = io.StringIO()
    watched.log_to(log)
    watched.say("late")
    assert [line.split(" ", 2)[2] for line in log.getvalue().splitlines()] == ["warning: early", "late"]


def test_a_failing_program_is_told_with_its_last_line() -> None:
    log = io.StringIO()
    watched, _, _ = screen(log)
    command = [sys.executable, "-c", "print('first'); print('no space left'); raise SystemExit(3)"]
    with pytest.raises(StepError, match=r"Packages failed\. It said: no space left"):
        run(command, watched, on_failure="Packages failed.")
    assert "first" in log.getvalue()
    run(["printf", "%b", r"caf\0351\n"], watched)  # not in UTF-8
    assert r"caf\xe9" in log.getvalue()


@pytest.mark.parametrize("may_be_ended", [True, False])
def test_nothing_goes_on_after_an_interruption(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, may_be_ended: bool
) -> None:
    """A tar that went on would write over what the next restore has written."""
    watched, _, _ = screen()
    monkeypatch.setattr(watched, "now", Mock(side_effect=KeyboardInterrupt))
    goes_on = "while ! test -e let-go; do sleep 0.02; done; echo whole > came" if may_be_ended else "echo whole > came"
    command = ["sh", "-c", f"cd {tmp_path}; trap 'echo half > came; exit' TERM; echo begun; {goes_on}"]
    with pytest.raises(KeyboardInterrupt):
        run(command, watched, may_be_ended=may_be_ended)
    assert (tmp_path / "came").read_text() == ("half\n" if may_be_ended else "whole\n")


def test_a_missing_program_is_told() -> None:
    watched, _, _ = screen()
    with pytest.raises(StepError, match="`/nonexistent/tool` cannot be run: No such file"):
        run(["/nonexistent/tool"], watched)
    assert ask(["/nonexistent/tool"]) is None
    assert ask([sys.executable, "-c", "raise SystemExit(1)"]) is None
    assert ask([sys.executable, "-c", "print('told')"]) == "told"
