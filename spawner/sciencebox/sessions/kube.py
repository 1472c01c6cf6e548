"""The spawner for a cluster: a session is a pod, and the cluster's scheduler gives it its GPUs."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import aiohttp
from jupyterhub.utils import maybe_future
from kubernetes_asyncio.client import ApiException
from kubespawner import KubeSpawner
from traitlets import default

from sciencebox.accounting.quota import BooksError
from sciencebox.gpus import wording
from sciencebox.gpus.broker import Grant, Refusal
from sciencebox.sessions import asking, pod_events, pod_state
from sciencebox.sessions.identity import IdentityError
from sciencebox.sessions.pod import OPTIONS_ANNOTATION, PodParts, Site, add_to, describe, home_in, kept, priority_class
from sciencebox.sessions.policy import policy_for
from sciencebox.sessions.progress import Progress, Step
from sciencebox.sessions.starting import StartRefused, answers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from sciencebox.sessions.cluster_desk import ClusterDesk
    from sciencebox.sessions.cluster_watch import ClusterWatch
    from sciencebox.sessions.form import Refused
    from sciencebox.sessions.options import SessionOptions

STOP_S = 90  # after which a pod is removed without waiting for its node
LOOK_S = 1.0  # how long a change of the cluster may go unseen at most
_TOKEN = "JUPYTERHUB_API_TOKEN"  # noqa: S105 - a name
_NO_ANSWER = "The cluster does not answer; try again in a minute."


class GPUKubeSpawner(KubeSpawner):
    """KubeSpawner whose users choose GPUs by a form and see where they stand while they wait for them.

    What zero-to-jupyterhub configures of KubeSpawner holds here, too; this adds to it and replaces no list of it.
    """

    options: SessionOptions | None = None
    api_token: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.steps = Progress()
        self.refused: Refused | None = None
        self._parts: PodParts | None = None
        self._configured: dict[str, Any] = {}
        self._their_hook = getattr(self, "after_pod_created_hook", None)
        self.after_pod_created_hook = type(self)._follow
        self._removing = False
        self._about = ""  # what its start waited for last

    @property
    def desk(self) -> ClusterDesk:
        """What is known of the cluster; one for the whole hub."""
        desk: ClusterDesk = self.user.settings["app"].desk
        return desk

    @property
    def groups(self) -> tuple[str, ...]:
        """The user's groups, as the hub or the sign-in service has them."""
        return tuple(group.name for group in self.user.groups)

    # One watch for the whole hub: KubeSpawner would keep a second copy of the same pods.

    @property
    def pod_reflector(self) -> ClusterWatch:
        """The pods of the namespace; KubeSpawner reads them in `pods`."""
        return self.desk.watch

    async def _start_watching_pods(self, replace: bool = False) -> ClusterWatch:
        return self.desk.watch

    @property
    def _pod(self) -> dict[str, Any] | None:
        return self.desk.watch.pods.get(self._pod_key)

    @property
    def _pod_key(self) -> str:
        return f"{self.namespace}/{self.pod_name}"

    # What is asked for

    @default("options_form")
    def _default_options_form(self) -> Callable[[GPUKubeSpawner], Awaitable[str]]:
        return asking.form

    @default("options_from_form")
    def _default_options_from_form(self) -> Callable[[dict[str, list[str]]], dict[str, Any]]:
        return partial(asking.from_form, self)

    @default("apply_user_options")
    def _default_apply_user_options(self) -> Callable[[GPUKubeSpawner, dict[str, Any]], Awaitable[None]]:
        return asking.apply

    # The way of one session

    async def start(self) -> str:
        """Put the pod before the scheduler, and wait until its server answers; returns the server's address.

        On every way out but success no pod is left, unless the hub itself stops: then whoever waits keeps the place.
        """
        try:
            options = self.options
            if options is None:
                raise StartRefused("Start the session from the form.", reason="options", status_code=400)
            self._about = ""
            await self._prepare(options)
            self.steps.at(Step.GPU if options.gpu_count else Step.CREATING)
            url: str = await super().start()
            place = urlparse(url)
            if place.hostname and place.port:
                await asyncio.wait_for(answers(place.hostname, place.port, self._has_ended), self._limit_s)
        except BaseException as error:
            if self.desk.closed:
                raise
            explained = self._explain(error)
            await asyncio.shield(self._undo())
            if explained is error:
                raise
            self.steps.failed(explained.jupyterhub_message)
            raise explained from error
        return url

    @property
    def _limit_s(self) -> int:
        """How long a start may take, once it has a node."""
        return self.desk.settings.sessions.start_timeout

    @property
    def grace_s(self) -> float:
        """How long a place is kept while no page follows the start."""
        return 60.0 * self.desk.settings.queue.grace_minutes

    async def _has_ended(self) -> bool:
        pod = self._pod
        return bool(pod_state.stage(pod).failure) if pod else not self.desk.watch.fault

    async def _prepare(self, options: SessionOptions) -> None:
        """Add what this session needs to KubeSpawner's traits. Raises StartRefused for what no node can give."""
        admitted = await self.desk.admit(self.user.name, options, self.groups)
        if isinstance(admitted, Refusal):
            raise StartRefused(admitted.message, reason=admitted.code)
        volumes, mounts = self._expand_all(self.volumes), self._expand_all(self.volume_mounts)
        uids = await asyncio.to_thread(self.desk.uids_of, {self.user.name: self.user.id})
        site = Site(
            user=self.user.name,
            uid=uids[self.user.name],
            priority_class=priority_class(self.desk.namespace, policy_for(self.desk.settings, self.groups).priority),
            home=home_in(volumes, mounts, self.pvc_name),
            supplies=admitted.supplies,
            view=self.desk.stacks.path(options.stack),
            longest_s=admitted.longest_s,
        )
        self._parts = describe(self.desk.settings, options, admitted.wished, site)
        names = (*self._parts.traits, "node_affinity_required")
        self._configured = {**{name: getattr(self, name) for name in names}, **self._configured}
        for name, value in {**self._configured, **add_to(self._configured, self._parts)}.items():
            setattr(self, name, value)

    def get_env(self) -> dict[str, Any]:
        """KubeSpawner's, and what the session must know."""
        env: dict[str, Any] = super().get_env()
        return {**env, **(self._parts.environment if self._parts else {})}

    async def _make_create_pod_request(self, pod: Any, request_timeout: float) -> bool:
        """Create the pod, unless it waits already for the same: then it keeps its place, and the token that it has."""
        there = self._pod
        if there and self._is_same(there):
            env = there["spec"]["containers"][0].get("env") or ()
            self.api_token = next((one["value"] for one in env if one["name"] == _TOKEN), self.api_token)
            self.log.info("The pod %s goes on where it was.", self.pod_name)
            return True
        created: bool = await super()._make_create_pod_request(pod, request_timeout)
        return created

    def _is_same(self, pod: dict[str, Any]) -> bool:
        """Whether a pod was made for what is asked for now, and may still become a session."""
        annotations = pod["metadata"].get("annotations") or {}
        same = self.options is not None and annotations.get(OPTIONS_ANNOTATION) == kept(self.options)
        return same and not pod_state.stage(pod).failure

    async def _follow(self, pod: Any) -> None:
        """Tell what becomes of the pod, and return when its container runs. Raises StartRefused when it never will.

        KubeSpawner calls this when the pod was created. It would look again after pauses of up to seconds; here every
        change of the cluster is seen at once.
        """
        if self._their_hook:
            await maybe_future(self._their_hook(self, pod))
        told: Any = None
        bound_at: float | None = None
        seen_at = time.monotonic()
        with self.desk.changed.listen() as changed:
            while True:
                changed.clear()
                stage = self._stage()
                if stage.step is Step.GPU:
                    seen_at = self._last_seen(seen_at)
                elif bound_at is None:
                    bound_at = time.monotonic()
                    self._is_bound()
                if stage.step is Step.READY:
                    return
                if bound_at is not None and time.monotonic() > bound_at + self._limit_s:
                    raise asyncio.TimeoutError
                told = self._tell(stage, told)
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(changed.wait(), LOOK_S)

    def _last_seen(self, before: float) -> float:
        """When a page last followed the start. Raises StartRefused where that is longer ago than a place is kept."""
        now = time.monotonic()
        if self.steps.pages:
            return now
        if now > before + self.grace_s:
            lost = wording.place_lost(self.grace_s)
            self.log.warning("%s: %s", self._log_name, lost)
            raise StartRefused(lost, reason="place_lost")
        return before

    def _stage(self) -> pod_state.Stage:
        pod = self._pod
        if pod is None and not self.desk.watch.fault:
            why = pod_state.why_ended(self.desk.watch.gone.get(self._pod_key))
            raise StartRefused(f"The session was not started: {why}.", reason="ended")
        events = self.desk.watch.events
        stage = pod_state.stage(pod, events, self.desk.why_held(pod)) if pod else pod_state.Stage(Step.GPU)
        if stage.failure:
            raise StartRefused(stage.failure, reason="pod")
        if pod and stage.about != self._about and (event := pod_events.about(pod, events)):
            self.log.warning("The pod %s: %s: %s", self.pod_name, event["reason"], event["message"])
        self._about = stage.about
        return stage

    def _tell(self, stage: pod_state.Stage, told: Any) -> Any:
        """Say where the start is, if that is news."""
        standing = self.desk.standing(self.pod_name, self.user.name, stage.about) if stage.step is Step.GPU else None
        news = (stage, standing)
        if news == told:
            return told
        if standing:
            self.steps.waiting(standing)
        elif stage.step is Step.GPU:
            self.steps.note(Step.CREATING, stage.about or "Waiting for a node")
        elif stage.about:
            self.steps.note(stage.step, stage.about)
        elif not isinstance(told, tuple) or told[0].step is not stage.step:
            self.steps.at(stage.step)
        return news

    def _is_bound(self) -> None:
        """The scheduler has given the session its node."""
        pod = self._pod
        if pod and self.options and self.options.gpu_count:
            claim = self.desk.claim(self.pod_name)
            waited_s = claim.since - claim.created if claim and claim.since else 0.0
            self.desk.answered(Grant((), self.pod_name, self.user.name), waited_s)

    def _explain(self, error: BaseException) -> Any:
        """An error in words for the user, its cause in the log; errors of our own making pass through."""
        if isinstance(error, ApiException):
            said = pod_state.explain_api_error(error.status, error.body or error.reason or "")
        elif isinstance(error, asyncio.TimeoutError):
            took = f"The session took more than {self._limit_s} seconds to start; try again, or tell the administrator."
            said = f"{took} {self._about}".strip()
        elif isinstance(error, IdentityError):
            said = "Who you are on the cluster could not be looked up; tell the administrator, who can see why."
        elif isinstance(error, (aiohttp.ClientError, OSError)):
            said = _NO_ANSWER
        else:
            return error
        self.log.error("Starting %s failed: %s", self._log_name, error or type(error).__name__)
        return StartRefused(said, reason="cluster")

    async def _undo(self) -> None:
        """Leave nothing behind of a start that failed."""
        try:
            await self.stop(now=True)
        except (ApiException, aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            self.log.error("The pod %s could not be removed: %s", self.pod_name, error or type(error).__name__)

    async def poll(self) -> Any:
        """None while the session runs. One whose node is lost, and whose pod the cluster gives up, is over."""
        pod = self._pod
        if pod and self._is_lost(pod) and not self._removing:
            self.log.warning("The pod %s is removed: its node does not answer.", self.pod_name)
            await self._undo()
            self._note(pod)
            return 1
        if pod is None and self.desk.watch.fault:
            return None  # nobody knows; the session may well go on
        code = await super().poll()
        if code is not None and self.server and self.server.ip:  # it did run; a start that failed has said why
            self._note(pod or self.desk.watch.gone.get(self._pod_key))
        return code

    def _is_lost(self, pod: dict[str, Any]) -> bool:
        node = pod["spec"].get("nodeName")
        return bool(node) and "deletionTimestamp" in pod["metadata"] and not self.desk.node_answers(node)

    def _note(self, pod: dict[str, Any] | None) -> None:
        """Its user reads on the next page why the session is over."""
        self.desk.notices.setdefault(self.user.name, pod_state.told(pod))

    async def stop(self, now: bool = False) -> None:
        """Delete the pod; its GPUs are free when it is gone. One that its node does not end is removed all the same."""
        if why := self.desk.why_stopped(self.pod_name):
            self.desk.notices[self.user.name] = why
        self._removing = True
        try:
            await asyncio.wait_for(super().stop(now), STOP_S)
        except asyncio.TimeoutError:
            self.log.warning("The pod %s does not end; it is removed without waiting for its node.", self.pod_name)
            await asyncio.wait_for(super().stop(now=True), STOP_S)
        finally:
            self._removing = False

    def get_state(self) -> dict[str, Any]:
        """What a restarted hub must know, and what decides whether the session is stopped for doing nothing."""
        return {**super().get_state(), "gpu_idle": self.desk.gpu_idle(self.pod_name)}

    # What its pages show

    @property
    def notice(self) -> str:
        """What the user should know of the last session; empty when there is nothing."""
        return self.desk.notices.get(self.user.name, "")

    @property
    def until(self) -> float | None:
        """When the running session's time is over, in seconds since the epoch; None where it has no limit."""
        lease = self.desk.lease(self.pod_name)
        return lease.until if lease else None

    @property
    def idle_until(self) -> float | None:
        """When it is stopped if its GPUs go on doing nothing; None as long as that need not be told."""
        return self.desk.idle_until(self.pod_name)

    async def may_extend(self) -> float | None:
        """Until when its user may let it run, in seconds since the epoch; None where it ends when it does."""
        try:
            return await self.desk.may_extend(self.pod_name, self.user.name, self.groups)
        except BooksError:
            return None

    async def extend(self) -> float:
        """Let it run for as long as it may. Raises ExtensionError, BooksError and OSError."""
        return await self.desk.extend(self.pod_name, self.user.name, self.groups)

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """The steps of the start, as they happen."""
        async for event in self.steps.events():
            yield event
