"""The container engine as seen from the hub's event loop: every call runs in a thread, many at a time."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import docker.errors
import requests
from docker import APIClient
from docker.utils import kwargs_from_env

from sciencebox.gpus.reconcile import GPUS_LABEL, ContainerFacts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

T = TypeVar("T")

CALL_THREADS = 32
CALL_TIMEOUT_S = 60
EVENTS_SILENCE_S = 60
_UNDER_WAY = 409


class Engine:
    """One connection pool and one thread pool for the whole hub."""

    def __init__(self, base_url: str | None = None) -> None:
        """Connect lazily: making an Engine talks to nobody. `base_url` defaults to DOCKER_HOST or the usual socket."""
        self._base_url = base_url
        self._log = logging.getLogger(__name__)
        self._client: APIClient | None = None
        self.threads = ThreadPoolExecutor(CALL_THREADS, thread_name_prefix="engine")

    @property
    def client(self) -> APIClient:
        """The engine's API client. The first use asks the engine for its version, so it is made in a thread."""
        if self._client is None:
            self._client = self._connect(CALL_TIMEOUT_S)
        return self._client

    async def run(self, call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run a blocking call in one of the engine's threads."""
        return await asyncio.wrap_future(self.threads.submit(call, *args, **kwargs))

    async def containers(self, label: str = GPUS_LABEL) -> list[ContainerFacts]:
        """Every container, running or not, that has `label` (`name` or `name=value`); by default those with GPUs."""
        found = await self.run(lambda: self.client.containers(all=True, filters={"label": [label]}))
        return [ContainerFacts.listed(item) for item in found]

    async def remove(self, name: str) -> None:
        """See `remove`."""
        await self.run(lambda: remove(self.client, name))

    async def endings(self) -> AsyncIterator[str]:
        """The names of sessions' containers as they die or are removed.

        Ends when the engine has been silent for EVENTS_SILENCE_S or went away: the caller then reads the ledger anew
        and listens again, so that a lost event costs at most that long. Raises DockerException or RequestException
        where it cannot be listened to.
        """
        loop = asyncio.get_running_loop()
        told: asyncio.Queue[str | Exception | None] = asyncio.Queue()

        def tell(what: str | Exception | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(told.put_nowait, what)

        def listen() -> None:
            why: Exception | None = None
            try:
                with closing(self._connect(CALL_TIMEOUT_S)) as client:
                    for name in _endings(client):
                        tell(name)
            except (docker.errors.DockerException, requests.RequestException) as error:
                why = error
            finally:
                tell(why)

        threading.Thread(target=listen, name="engine-events", daemon=True).start()
        while isinstance(one := await told.get(), str):
            yield one
        if one:
            raise one

    def _connect(self, timeout_s: int) -> APIClient:
        place = {"base_url": self._base_url} if self._base_url else kwargs_from_env()
        return APIClient(version="auto", timeout=timeout_s, max_pool_size=CALL_THREADS, **place)


def remove(client: APIClient, name: str) -> None:
    """Remove a container by name or id, running or not, and what its image keeps in volumes without a name. Blocking.

    It is gone then, whoever else was removing it. Raises DockerException or RequestException.
    """
    with suppress(docker.errors.NotFound):
        try:
            client.remove_container(name, force=True, v=True)
        except docker.errors.APIError as error:
            if error.status_code != _UNDER_WAY:
                raise
            client.wait(name, timeout=CALL_TIMEOUT_S, condition="removed")


def _endings(client: APIClient) -> Iterator[str]:
    """What `Engine.endings` tells. Blocking. Not by docker-py, which waits without an end where an engine hangs."""
    filters = {"type": ["container"], "event": ["die", "destroy"], "label": [GPUS_LABEL]}
    with client.get(
        f"{client.base_url}/v{client.api_version}/events",
        params={"filters": json.dumps(filters)},
        stream=True,
        timeout=EVENTS_SILENCE_S,
    ) as stream:
        stream.raise_for_status()
        with suppress(requests.RequestException, ValueError, KeyError):  # it is silent, or went away amid a word
            for line in stream.iter_lines():
                yield json.loads(line)["Actor"]["Attributes"].get("name", "")
