"""The steps of a session's start, as the pending page shows them."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REPEAT_S = 20.0


class Step(Enum):
    """A step with its share of the progress bar and its sentence. `value` is the name that the page knows."""

    CHECKING = "checking"
    GPU = "gpu"
    CREATING = "creating"
    STARTING = "starting"
    READY = "ready"

    @property
    def percent(self) -> int:
        """Where the progress bar stands when the step begins."""
        return {"checking": 5, "gpu": 20, "creating": 40, "starting": 60, "ready": 100}[self.value]

    @property
    def message(self) -> str:
        """What happens in this step."""
        return {
            "checking": "Checking your request",
            "gpu": "Getting a GPU",
            "creating": "Creating the session",
            "starting": "Starting JupyterLab",
            "ready": "Ready",
        }[self.value]


class Progress:
    """What happened so far in one start; any number of pages may follow it, from the beginning."""

    def __init__(self) -> None:
        self.pages = 0  # that follow it now
        self._start = 0
        self._events: list[dict[str, Any]] = []
        self._changed = asyncio.Event()
        self._over = False
        self._waiting: dict[str, Any] | None = None

    def begin(self) -> None:
        """Another start begins. A page that waits for it already follows it, and sees nothing of the last one again."""
        self._start += 1
        self._events, self._over, self._waiting = [], False, None
        self._notify()

    def at(self, step: Step) -> None:
        """A step begins."""
        self._add({"progress": step.percent, "message": step.message, "step": step.value})

    def waiting(self, queue: dict[str, Any]) -> None:
        """The start waits for a GPU. What is shown of it replaces what was shown before."""
        step = Step.GPU
        self._waiting = {"progress": step.percent, "message": queue["title"], "step": step.value, "queue": queue}
        self._notify()

    def note(self, step: Step, message: str) -> None:
        """What a step waits for, as a sentence. It replaces what was shown before."""
        self._waiting = {"progress": step.percent, "message": message, "step": step.value}
        self._notify()

    def failed(self, message: str) -> None:
        """The start failed, for a reason in words."""
        self._over = True
        self._add({"progress": 100, "failed": True, "message": message})

    def _add(self, event: dict[str, Any]) -> None:
        self._events.append(event)
        self._waiting = None
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Every event from the first; ends only after a failure (the hub ends it when the session is ready).

        While the start waits, the last event comes again every REPEAT_S: only by writing does a hub find that a page
        was closed.
        """
        self.pages += 1
        try:
            async for event in self._follow():
                yield event
        finally:
            self.pages -= 1

    async def _follow(self) -> AsyncIterator[dict[str, Any]]:
        seen, start = 0, self._start
        told: dict[str, Any] | None = None
        while True:
            changed = self._changed
            if start != self._start:
                seen, start = 0, self._start
            while seen < len(self._events):
                yield self._events[seen]
                seen += 1
            if self._waiting is not None and told is not self._waiting:
                told = self._waiting
                yield told
            if self._over:
                return
            try:
                await asyncio.wait_for(changed.wait(), REPEAT_S if self._waiting else None)
            except asyncio.TimeoutError:
                told = None
