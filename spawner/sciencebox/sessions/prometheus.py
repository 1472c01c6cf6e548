"""Asks a site's Prometheus what the GPUs of sessions do: one question for all of them."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING

import aiohttp

from sciencebox.gpus.cluster_loads import query, read_loads

if TYPE_CHECKING:
    from sciencebox.gpus.device import Load

EVERY_S = 15.0  # the pace at which one server's driver is looked at
ANSWER_S = 10.0
_SAID = 300  # letters of an answer that are written into the log

log = logging.getLogger(__name__)


class Prometheus:
    """`loads` is by pod what each of its GPUs does, `fault` why that is not known; empty where it is."""

    def __init__(self, url: str, namespace: str) -> None:
        """`url` is its address up to `/api/v1`. Nobody is asked anything before `look`."""
        self.loads: dict[str, tuple[Load, ...]] = {}
        self.fault = "it was not asked yet"
        self._url = f"{url.rstrip('/')}/api/v1/query"
        self._namespace = namespace

    async def look(self) -> None:
        """Ask. What it does not tell now is not known, whatever it told before."""
        try:
            self.loads = await self._ask()
            fault = ""
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            fault = str(error) or type(error).__name__
        except (ValueError, KeyError, TypeError) as error:
            fault = f"no answer of a Prometheus: {error!r}"[:_SAID]
        if fault:
            self.loads = {}
        if fault != self.fault:
            level = logging.WARNING if fault else logging.INFO
            log.log(level, "What GPUs do is asked at %s: %s", self._url, fault or "it answers")
        self.fault = fault

    async def _ask(self) -> dict[str, tuple[Load, ...]]:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as http,
            http.get(self._url, params={"query": query(self._namespace)}) as answer,
        ):
            text = await answer.text()
        # Errors have the same form, with a status of their own; a thread, for a large cluster says much.
        return await asyncio.to_thread(self._read, answer.status, text)

    def _read(self, status: int, text: str) -> dict[str, tuple[Load, ...]]:
        try:
            return read_loads(json.loads(text), self._namespace)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{status}: {error or text}") from error
