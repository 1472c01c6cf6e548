"""Steps of a deployment, shown as they happen: a moving line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
import traceback
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from rich.markup import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console
    from rich.status import Status

PLAIN_LINE_EVERY_S = 15.0


class StepError(Exception):
    """A step cannot be done. The message says what is wrong and what to do; `details` go to the log."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


@dataclass(frozen=True)
class Step:
    """Something to be done that is quick when it is done already. `run` returns how it ended, in a few words."""

    name: str
    run: Callable[[Screen], str]


@dataclass
class Screen:
    """Where a person follows what happens."""

    console: Console
    log_file: TextIO | None = None
    clock: Callable[[], float] = time.monotonic
    _status: Status | None = None
    _title: str = ""
    _began: float = 0.0
    _shown: float = 0.0
    _early: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """A line that stays."""
        self.log(text)
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)

    def warn(self, text: str) -> None:
        """A line that stays and that should be read."""
        self.log(f"warning: {text}")
        self.console.print(f"  [yellow]![/] {escape(text)}", highlight=False, soft_wrap=True, markup=True)

    def now(self, text: str) -> None:
        """What is being done at this moment; the next such text takes its place."""
        self.log(text)
        if self._status:
            self._status.update(f"{self._heading()}: {escape(text)} ({self._elapsed()})")
        elif self.clock() - self._shown >= PLAIN_LINE_EVERY_S:
            self._shown = self.clock()
            self.console.print(f"      {text} ({self._elapsed()})", highlight=False, soft_wrap=True, markup=False)

    def log(self, text: str) -> None:
        """For the log only. What is told before the log can be opened is kept for it."""
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text.rstrip()}"
        if self.log_file is None:
            self._early.append(line)
        else:
            self._write(self.log_file, line + "\n")

    def log_to(self, file: TextIO) -> None:
        """Open the log."""
        self.log_file = file
        self._write(file, "".join(f"{line}\n" for line in self._early))
        self._early.clear()

    def _write(self, file: TextIO, text: str) -> None:
        """Where the log cannot be written, as on a full disk, what fails is told on the screen instead."""
        try:
            file.write(text)
            file.flush()
        except OSError as error:
            self.log_file = None
            with suppress(OSError):
                file.close()
            self.warn(f"The log cannot be written: {error.strerror}.")

    @contextmanager
    def working(self, title: str) -> Iterator[None]:
        """Show `title` as being at work while the context lasts."""
        self._title, self._began, self._shown = title, self.clock(), self.clock()
        self.log(f"== {title}")
        if not self.console.is_terminal:
            self.console.print(f"{title} ...", highlight=False, markup=False)
            yield
            return
        with self.console.status(self._heading()) as status:
            self._status = status
            try:
                yield
            finally:
                self._status = None

    def finished(self, title: str, outcome: str) -> None:
        """A step ended well."""
        took = self.clock() - self._began
        duration = f" ({took:.0f} s)" if took >= 1 else ""
        self.log(f"== {title}: {outcome}{duration}")
        mark = "[green]✓[/]" if self.console.is_terminal else "ok"
        self._ended(f"{mark} {escape(title)}: {escape(outcome)}{duration}")

    def failed(self, title: str, error: StepError) -> None:
        """A step could not be done."""
        self.log(f"== {title} FAILED: {error}\n{error.details}")
        if self.log_file is None and error.details:
            self.console.print(error.details, highlight=False, soft_wrap=True, markup=False)
        mark = "✗" if self.console.is_terminal else "FAILED"
        self._ended(f"[red]{mark} {escape(title)}: {escape(str(error))}[/]")

    def _ended(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True, markup=True)

    def _heading(self) -> str:
        return f"[bold]{escape(self._title)}[/]"

    def _elapsed(self) -> str:
        return f"{self.clock() - self._began:.0f} s"


def run_steps(steps: Sequence[Step], screen: Screen) -> bool:
    """Do the steps in order, up to the first that fails. Whether all were done."""
    for number, step in enumerate(steps, 1):
        title = f"[{number}/{len(steps)}] {step.name}"
        try:
            with screen.working(title):
                outcome = step.run(screen)
        except StepError as error:
            screen.failed(title, error)
            return False
        except Exception as error:  # whatever it is, a person reads a sentence and the log has the rest
            what = f"{type(error).__name__}: {error}".rstrip(".")
            where = "in deploy.log" if screen.log_file else "above"
            screen.failed(title, StepError(f"{what}. Details are {where}.", traceback.format_exc()))
            return False
        screen.finished(title, outcome)
    return True
