"""Follows what Kueue knows of sessions that wait in its queue.

Workloads are followed as nodes and pods are. Places cannot be watched: while somebody waits, one question for all asks
for them.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import aiohttp
from kubernetes_asyncio.client import ApiException

from sciencebox.gpus import kueue
from sciencebox.sessions import tasks
from sciencebox.sessions.cluster_watch import Follower

if TYPE_CHECKING:
    from collections.abc import Callable

GROUP, VISIBILITY = "kueue.x-k8s.io", "visibility.kueue.x-k8s.io"
VERSIONS = ("v1beta2", "v1beta1")  # of both groups, the first that is served
EVERY_S = 2.0
ANSWER_S = 10.0
MOST = 1000  # places that are asked for
_NOT_FOUND = 404

log = logging.getLogger(__name__)


class Kueue:
    """One LocalQueue of the service's namespace. `places` are by the pod's uid.

    `fault` is why they are not known, empty where they are; `tell` is called when something has changed.
    """

    def __init__(self, queue: str, namespace: str, tell: Callable[[], None]) -> None:
        """Nobody is asked anything before `open`."""
        self.queue = queue
        self.places: dict[str, kueue.Place] = {}
        self.fault = ""
        self._namespace = namespace
        self._tell = tell
        self._api: Any = None
        self._workloads = Follower("workloads of Kueue", self._list, self._heard, kueue.keep)
        self._by_pod: dict[str, dict[str, Any]] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def open(self, api: Any, is_waited_for: Callable[[], bool]) -> None:
        """Begin to follow. `api` is a CustomObjectsApi of kubernetes_asyncio."""
        self._api = api
        self._tasks = [
            tasks.start(self._workloads.run(), "following workloads of Kueue"),
            tasks.start(self._follow_places(is_waited_for), "following places in the queue of Kueue"),
        ]

    async def close(self) -> None:
        """Stop following."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def why_held(self, pod: dict[str, Any]) -> str:
        """Why a pod is held back, in words."""
        if self._workloads.fault:
            return kueue.UNREAD
        if self._by_pod is None:  # made once for everybody who waits
            self._by_pod = {kueue.pod_of(each): each for each in self._workloads.objects.values()}
        uid = pod["metadata"]["uid"]
        return kueue.why_held(self._by_pod.get(uid), self.places.get(uid), self.fault)

    def _heard(self) -> None:
        self._by_pod = None
        self._tell()

    async def look(self) -> None:
        """Ask for the places. What is not told now is not known."""
        try:
            places, fault = await self._ask(), ""
        except ApiException as error:
            places, fault = {}, f"{error.status} {error.reason}"
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            places, fault = {}, str(error) or type(error).__name__
        except (ValueError, KeyError, TypeError) as error:
            places, fault = {}, f"no answer of Kueue's visibility API: {error!r}"
        if fault != self.fault:
            level = logging.WARNING if fault else logging.INFO
            log.log(level, "Places in the queue %s of Kueue: %s", self.queue, fault or "they are told")
        if (places, fault) != (self.places, self.fault):
            self.places, self.fault = places, fault
            self._tell()

    async def _follow_places(self, is_waited_for: Callable[[], bool]) -> None:
        while True:
            if is_waited_for():
                await self.look()
            await asyncio.sleep(EVERY_S)

    async def _ask(self) -> dict[str, kueue.Place]:
        client, path = self._api.api_client, f"localqueues/{self.queue}/pendingworkloads"

        def request(version: str) -> Any:
            # The client has no call for what lies below a custom object.
            url = f"/apis/{VISIBILITY}/{version}/namespaces/{self._namespace}/{path}"
            more = {"header_params": {"Accept": "application/json"}, "auth_settings": ["BearerToken"]}
            limit = [("limit", MOST)]
            return client.call_api(
                url, "GET", query_params=limit, **more, _preload_content=False, _request_timeout=ANSWER_S
            )

        answer = await _newest(request)
        text = await answer.read()
        if answer.status != 200:
            raise ApiException(answer.status, answer.reason)
        return kueue.read_places(json.loads(text))

    async def _list(self, **options: Any) -> Any:
        """The list call of Workloads, for their follower."""
        listed = self._api.list_namespaced_custom_object
        return await _newest(lambda version: listed(GROUP, version, self._namespace, "workloads", **options))


async def _newest(request: Callable[[str], Any]) -> Any:
    """The answer of the newest version of an API that is served."""
    *newer, oldest = VERSIONS
    for version in newer:
        answer = await request(version)
        if answer.status != _NOT_FOUND:
            return answer
        answer.release()
    return await request(oldest)
