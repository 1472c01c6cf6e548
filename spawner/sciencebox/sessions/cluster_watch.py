"""A live copy of a cluster's nodes and of the pods of the service's namespace, kept by watching Kubernetes' API.

With them come the events that say why a pod does not start, and, where it is wanted, pods of other namespaces for what
they hold of GPUs. Each kind is listed once and then followed; a watch that ends goes on from where it was, and
everything is listed again only where a connection was lost. Nobody who looks at the copy causes a request.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import TYPE_CHECKING, Any

import aiohttp
from kubernetes_asyncio.client import ApiException

from sciencebox.gpus.cluster import gpus_of
from sciencebox.sessions import pod_events, tasks
from sciencebox.sessions.signal import Signal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

RENEW_S = 60  # how long the server is asked to keep one watch open; the next goes on where it ended
SILENCE_S = RENEW_S + 15  # after which a connection is dead
LIST_S = 30
RETRY_S = 1.0  # how often each kind is asked for at most
TOGETHER_S = 0.05  # changes that come together are told together
MOST_GONE = 1000
_AT_WORK = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"  # field selectors of pods
_GONE = 410  # HTTP status of "the place from which to go on is no longer known"

log = logging.getLogger(__name__)


class Follower:
    """One kind of object, by `namespace/name` or `name`. `fault` is why it may be otherwise now; empty if it is so.

    `gone` has what was last seen of those that were deleted lately.
    """

    def __init__(
        self,
        kind: str,
        request: Callable[..., Any],
        tell: Callable[[], None],
        keep: Callable[[dict[str, Any]], dict[str, Any] | None] | None = None,
    ) -> None:
        """`request` is the client's list call; `tell` is called after every change.

        `keep` is what is kept of an object, None for nothing: by default all that anybody here reads.
        """
        self.objects: dict[str, dict[str, Any]] = {}
        self.gone: dict[str, dict[str, Any]] = {}
        self.fault = "it was not read yet"
        self.loaded = asyncio.Event()
        self._kind = kind
        self._request = request
        self._tell = tell
        self._keep = keep or _slim

    async def run(self) -> None:
        """Follow for as long as the hub runs."""
        version = ""
        while True:
            began = time.monotonic()
            try:
                version = version or await self._list()
                version = await self._follow(version)
            except ApiException as error:
                version = ""
                if error.status != _GONE:
                    self._lost(f"{error.status} {error.reason}")
            except (aiohttp.ClientError, OSError, asyncio.TimeoutError, ValueError, KeyError, TypeError) as error:
                version = ""
                self._lost(str(error) or type(error).__name__)
            # Whatever ended it: a watch that is cut off at once, by a proxy or a server in trouble, is no reason to
            # ask thousands of times a second.
            await asyncio.sleep(max(0.0, began + RETRY_S - time.monotonic()))

    async def _list(self) -> str:
        answer = await self._request(_preload_content=False, _request_timeout=LIST_S)
        text = await answer.read()
        if answer.status != 200:
            raise ApiException(answer.status, answer.reason)
        listed = json.loads(text)
        kept = ((_key(item), self._keep(item)) for item in listed["items"])
        self.objects = {key: item for key, item in kept if item is not None}
        self._is_heard()
        self._tell()
        self.loaded.set()
        return str(listed["metadata"]["resourceVersion"])

    async def _follow(self, version: str) -> str:
        """Until the server ends this watch; returns where to go on."""
        answer = await self._request(
            watch=True,
            resource_version=version,
            allow_watch_bookmarks=True,
            timeout_seconds=RENEW_S,
            _request_timeout=SILENCE_S,
            _preload_content=False,
        )
        async with answer:
            if answer.status != 200:
                raise ApiException(answer.status, answer.reason)
            self._is_heard()
            async for event in _events(answer):
                found, what = event["object"], event["type"]
                if what == "ERROR":
                    raise ApiException(found.get("code"), found.get("message"))
                version = found["metadata"]["resourceVersion"]
                if what != "BOOKMARK":
                    self._see(what, found)
        return version

    def _see(self, what: str, found: dict[str, Any]) -> None:
        key, kept = _key(found), self._keep(found)
        if kept is None:
            return
        if what == "DELETED":
            self.objects.pop(key, None)
            self.gone.pop(key, None)
            self.gone[key] = kept
            if len(self.gone) > MOST_GONE:
                del self.gone[next(iter(self.gone))]
        else:
            self.objects[key] = kept
        self._tell()

    def _is_heard(self) -> None:
        if self.fault:
            log.info("The cluster's %s are followed.", self._kind)
            self.fault = ""
            self._tell()

    def _lost(self, why: str) -> None:
        if self.fault != why:
            log.warning("The cluster's %s cannot be followed: %s", self._kind, why)
            self.fault = why
            self._tell()


class ClusterWatch:
    """The nodes, and the pods of one namespace. `changed` tells of every change, many together.

    KubeSpawner, too, looks at `pods` here instead of keeping a copy of its own.
    """

    def __init__(self) -> None:
        """Nobody is asked anything before `open`."""
        self.changed = Signal()
        self.version = 0  # grows with every change
        self._nodes = self._pods = Follower("nodes", _nothing, self.heard)
        self._events = Follower("events", _nothing, self.heard, pod_events.keep)
        self._elsewhere: Follower | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._telling = False

    async def open(self, api: Any, namespace: str, *, others: bool = False) -> None:
        """Begin to follow, and wait until nodes and pods were seen once. `api` is a CoreV1Api of kubernetes_asyncio.

        With `others`, pods of other namespaces are followed, too.
        """

        def pods(**options: Any) -> Any:
            return api.list_namespaced_pod(namespace, **options)

        def events(**options: Any) -> Any:
            return api.list_namespaced_event(namespace, field_selector=pod_events.WATCHED, **options)

        def elsewhere(**options: Any) -> Any:
            which = f"metadata.namespace!={namespace},{_AT_WORK}"
            return api.list_pod_for_all_namespaces(field_selector=which, **options)

        self._nodes = Follower("nodes", api.list_node, self.heard)
        self._pods = Follower("pods", pods, self.heard)
        self._events = Follower("events", events, self.heard, pod_events.keep)
        self._tasks = [
            tasks.start(self._nodes.run(), "following the cluster's nodes"),
            tasks.start(self._pods.run(), "following the cluster's pods"),
            tasks.start(self._events.run(), "following the cluster's events"),
        ]
        if others:
            self._elsewhere = Follower("pods of other namespaces", elsewhere, self.heard, _claims_only)
            self._tasks.append(tasks.start(self._elsewhere.run(), "following pods of other namespaces"))
        await self._nodes.loaded.wait()
        await self._pods.loaded.wait()

    async def close(self) -> None:
        """Stop following."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def nodes(self) -> dict[str, dict[str, Any]]:
        """By name, as the API has them."""
        return self._nodes.objects

    @property
    def pods(self) -> dict[str, dict[str, Any]]:
        """By `namespace/name`, as the API has them."""
        return self._pods.objects

    @property
    def events(self) -> Collection[pod_events.Event]:
        """What was said lately of pods that do not start, and of their volumes; see `pod_events.keep`."""
        return self._events.objects.values()

    @property
    def others(self) -> dict[str, dict[str, Any]]:
        """By `namespace/name`, pods of other namespaces that hold GPUs, with no more than what says so."""
        return self._elsewhere.objects if self._elsewhere else {}

    @property
    def others_fault(self) -> str:
        """Why `others` may be out of date; empty where it is not, or is not wanted."""
        return self._elsewhere.fault if self._elsewhere else ""

    @property
    def gone(self) -> dict[str, dict[str, Any]]:
        """What was last seen of pods that are no more."""
        return self._pods.gone

    @property
    def fault(self) -> str:
        """Why the copy may be out of date; empty where it is not."""
        return self._pods.fault or self._nodes.fault

    def heard(self) -> None:
        """Something is otherwise, here or in what else is known of the cluster."""
        self.version += 1
        if not self._telling:
            self._telling = True
            asyncio.get_running_loop().call_later(TOGETHER_S, self._tell)

    def _tell(self) -> None:
        self._telling = False
        self.changed.tell()


async def _nothing(**_options: Any) -> None:
    raise ApiException(0, "nobody follows the cluster")


async def _events(answer: Any) -> AsyncIterator[dict[str, Any]]:
    """The lines of a watch, each a JSON object."""
    rest = b""
    async for chunk in answer.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield json.loads(line)


def _key(found: dict[str, Any]) -> str:
    metadata = found["metadata"]
    return "/".join(part for part in (metadata.get("namespace"), metadata["name"]) if part)


def _slim(found: dict[str, Any]) -> dict[str, Any]:
    """Without what nobody here reads, which is half of it."""
    found["metadata"].pop("managedFields", None)
    found.get("status", {}).pop("images", None)
    return found


def _claims_only(found: dict[str, Any]) -> dict[str, Any] | None:
    """A pod with what says which GPUs it holds; its environment may have secrets, which are not kept."""
    metadata, spec, status = found["metadata"], found["spec"], found.get("status", {})
    if not gpus_of(spec):
        return None
    return {
        "metadata": {key: metadata[key] for key in ("name", "uid", "creationTimestamp", "resourceVersion")},
        "spec": {
            "nodeName": spec.get("nodeName"),
            "containers": [{"resources": container.get("resources") or {}} for container in spec["containers"]],
        },
        "status": {"phase": status.get("phase"), "conditions": status.get("conditions") or []},
    }
