"""A progress bar with the time that is left, for a notebook cell or a terminal."""

from __future__ import annotations

import html
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

REFRESH_SECONDS = 0.25


def remaining(done: int, total: int, first: int, seconds: float) -> float | None:
    """Seconds left, when `done - first` steps took `seconds`; None while nothing is known."""
    if done <= first or seconds <= 0:
        return None
    return seconds / (done - first) * (total - done)


def spoken(seconds: float) -> str:
    """A duration as people say it: '8 s', '3 min 20 s', '2 h 5 min'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Progress:
    """Call it with (done, total); it shows one line that is updated in place, in a notebook as in a terminal.

    The first call starts the clock: work done before it (a resumed training, the compilation of the first step)
    does not spoil the estimate.
    """

    def __init__(
        self, title: str, clock: Callable[[], float] = time.monotonic, line: TerminalLine | None = None
    ) -> None:
        self._title = title
        self._clock = clock
        self._first: tuple[int, float] | None = None
        self._shown_at = -REFRESH_SECONDS
        self._line = line or (_Line() if _in_notebook() else TerminalLine())

    def __call__(self, done: int, total: int, note: str = "") -> None:
        now = self._clock()
        if self._first is None:
            self._first = (done, now)
        if done < total and now - self._shown_at < REFRESH_SECONDS:
            return
        self._shown_at = now
        self._line.show(done / max(total, 1), self.text(done, total, now, note))

    def text(self, done: int, total: int, now: float, note: str = "") -> str:
        """The line in words."""
        first, started = self._first or (done, now)
        if done >= total:
            state = f"done in {spoken(now - started)}"
        else:
            left = remaining(done, total, first, now - started)
            state = "starting" if left is None else f"about {spoken(left)} left"
        return " · ".join(part for part in (self._title, note, state) if part)


def counter(verb: str) -> Callable[[int, int], None]:
    """A progress line for a terminal; silent where the output is a file."""

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if done == total else ""
            print(f"\r{verb} {done} of {total}", end=end, file=sys.stderr, flush=True)

    return show


class TerminalLine:
    """One line of a terminal, replaced in place; only its end where the output is a file."""

    def show(self, share: float, text: str) -> None:
        """Show it so far."""
        if sys.stderr.isatty():
            print(f"\r\x1b[K[{'#' * round(20 * share):<20}] {text}", end="", file=sys.stderr, flush=True)
        if share >= 1:
            print("" if sys.stderr.isatty() else text, file=sys.stderr, flush=True)


def _in_notebook() -> bool:
    """Whether IPython runs this: then it is loaded already."""
    loaded = sys.modules.get("IPython")
    return loaded is not None and loaded.get_ipython() is not None


class _Line:
    """One line of output, replaced in place."""

    def __init__(self) -> None:
        self._handle: object | None = None

    def show(self, share: float, text: str) -> None:
        from IPython.display import display

        bundle = {"text/plain": f"[{'#' * round(20 * share):<20}] {text}", "text/html": _bar(share, text)}
        if self._handle is None:
            self._handle = display(  # type: ignore[no-untyped-call]
                bundle, raw=True, display_id=True
            )
        else:
            self._handle.update(bundle, raw=True)  # type: ignore[attr-defined]


def _bar(share: float, text: str) -> str:
    return (
        '<div style="display:flex;align-items:center;gap:0.8em">'
        '<div style="flex:0 0 14em;height:0.7em;border-radius:0.35em;background:#8884">'
        f'<div style="width:{100 * share:.1f}%;height:100%;border-radius:0.35em;background:#0072b2"></div></div>'
        f"<span>{html.escape(text)}</span></div>"
    )
