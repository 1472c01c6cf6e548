"""What a person sees while a release is built: a moving line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import re
import sys
import time
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOG_WIDTH = 160
_STARTED = re.compile(r"^Downloading (?P<name>\S+) \((?P<size>[\d.]+)(?P<unit>[KMG])iB\)")
_FETCHED = re.compile(r"^\s*Downloaded (?P<name>\S+)")
_DONE = re.compile(r"^(?:Prepared|Installed|Bytecode compiled) ")
_MEBIBYTES = {"K": 1 / 1024, "M": 1.0, "G": 1024.0}
_LINE_EVERY_SECONDS = 10.0
_SHOWN_EVERY_SECONDS = 0.1


def console() -> Console:
    """Standard output; a log gets whole lines, whatever width a terminal would have."""
    return Console() if sys.stdout.isatty() else Console(width=LOG_WIDTH)


class Step(Protocol):
    """One step at work."""

    def tool_says(self, line: str) -> None:
        """Take a line of the tool that does the work."""

    def now(self, text: str) -> None:
        """What is being done at this moment; only some of these are shown."""


class Progress(Protocol):
    """Where a build tells what it does."""

    def say(self, line: str) -> None:
        """A fact worth a line."""

    def working(self, what: str) -> AbstractContextManager[Step]:
        """``what`` is being done while the context lasts."""


@dataclass
class Downloads:
    """Follows uv's lines and puts them in a few words."""

    sizes: dict[str, float] = field(default_factory=dict)
    fetched: set[str] = field(default_factory=set)

    def take(self, line: str) -> str | None:
        """What to show after this line, or None when it changes nothing."""
        if match := _STARTED.match(line):
            self.sizes[match["name"]] = float(match["size"]) * _MEBIBYTES[match["unit"]]
        elif match := _FETCHED.match(line):
            self.fetched.add(match["name"])
        elif _DONE.match(line):
            return line.strip().lower()
        else:
            return None
        done = sum(size for name, size in self.sizes.items() if name in self.fetched)
        waiting = sorted(set(self.sizes) - self.fetched, key=lambda name: (-self.sizes[name], name))
        text = f"downloaded {done:.0f} of {sum(self.sizes.values()):.0f} MiB"
        return text + (f", waiting for {', '.join(waiting[:3])}" if waiting else "")


@dataclass
class ConsoleProgress:
    """Progress on a rich console."""

    console: Console
    clock: Callable[[], float] = time.monotonic

    def say(self, line: str) -> None:
        """See Progress."""
        self.console.print(line, highlight=False, markup=False, emoji=False, soft_wrap=True)

    @contextmanager
    def working(self, what: str) -> Iterator[Step]:
        """See Progress."""
        began = self.clock()
        if self.console.is_terminal:
            with self.console.status(f"{what} ...") as status:
                yield _ShownStep(lambda text: status.update(f"{what}: {text}"), self.clock, _SHOWN_EVERY_SECONDS)
        else:
            yield _ShownStep(lambda text: self.say(f"  {what}: {text}"), self.clock, _LINE_EVERY_SECONDS)
        self.say(f"{what}: done in {self.clock() - began:.0f} s")


@dataclass
class _ShownStep:
    show: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    every: float = 0.0
    downloads: Downloads = field(default_factory=Downloads)
    shown: float = float("-inf")

    def tool_says(self, line: str) -> None:
        text = self.downloads.take(line)
        if text is not None:
            self.now(text)

    def now(self, text: str) -> None:
        if self.clock() - self.shown >= self.every:
            self.shown = self.clock()
            self.show(text)
