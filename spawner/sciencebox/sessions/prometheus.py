"""Asks a site's Prometheus what the GPUs of sessions do: one question for all of them."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from typing import TYPE_CHECKING

import aiohttp

from sciencebox.gpus.cluster_loads import query, read_loads

if TYPE_CHECKING:
    from pathlib import Path

    from sciencebox.gpus.device import Load

EVERY_S = 15.0  # the pace at which one server's driver is looked at
ANSWER_S = 10.0
_REFUSED = {401, 403}
_SAID = 300  # letters of an answer that are written into the log

log = logging.getLogger(__name__)


class Prometheus:
    """`loads` is by pod what each of its GPUs does, `fault` why that is not known; empty where it is."""

    def __init__(self, url: str, namespace: str, token_file: Path | None = None, ca_file: Path | None = None) -> None:
        """`url` is its address up to `/api/v1`. Nobody is asked anything before `look`.

        `token_file` has the bearer token that it wants, `ca_file` the authority of its certificate.
        """
        self.loads: dict[str, tuple[Load, ...]] = {}
        self.fault = "it was not asked yet"
        self._url = f"{url.rstrip('/')}/api/v1/query"
        self._namespace = namespace
        self._token_file = token_file
        self._ca_file = ca_file

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
        headers, trusted = await asyncio.to_thread(self._credentials)
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as http,
            http.get(self._url, params={"query": query(self._namespace)}, headers=headers, ssl=trusted) as answer,
        ):
            if answer.status in _REFUSED:
                raise OSError(f"{answer.status}, it refuses {'the token' if headers else 'who has no token'}")
            text = await answer.text()
        # Errors have the same form, with a status of their own; a thread, for a large cluster says much.
        return await asyncio.to_thread(self._read, answer.status, text)

    def _credentials(self) -> tuple[dict[str, str], ssl.SSLContext | bool]:
        """Read anew each time, for both are renewed while the hub runs. Blocking. Raises OSError."""
        headers = {}
        if self._token_file:
            token = self._token_file.read_text(encoding="ascii", errors="replace").strip()
            if not token.isascii() or len(token.split()) != 1:
                raise OSError(f"{self._token_file} is no token")
            headers["Authorization"] = f"Bearer {token}"
        return headers, ssl.create_default_context(cafile=self._ca_file) if self._ca_file else True

    def _read(self, status: int, text: str) -> dict[str, tuple[Load, ...]]:
        try:
            return read_loads(json.loads(text), self._namespace)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{status}: {error or text}") from error
