"""The spawner for one server: a session is a container of the local engine that holds its own GPUs."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from docker.errors import APIError, DockerException
from dockerspawner import DockerSpawner
from jupyterhub.spawner import SpawnException
from requests import RequestException
from tornado.web import HTTPError
from traitlets import default

from sciencebox.accounting.quota import BooksError
from sciencebox.gpus import wording
from sciencebox.gpus.broker import Refusal
from sciencebox.sessions.form import Refused, options_form
from sciencebox.sessions.identity import IdentityError
from sciencebox.sessions.launch import PORT
from sciencebox.sessions.options import OptionsError, SessionOptions, parse_options, to_user_options
from sciencebox.sessions.progress import Progress, Step
from sciencebox.sessions.refusals import AttachError, explain_engine_error
from sciencebox.sessions.waiting import PlaceLostError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
    from concurrent.futures import ThreadPoolExecutor

    from docker import APIClient

    from sciencebox.gpus.broker import Grant
    from sciencebox.sessions.desk import Desk
    from sciencebox.sessions.waiting import Standing

ENDED_EARLY = "The session ended while it was starting. Try again, or tell the administrator."

READY_POLL_S = 0.03
READY_REQUEST_S = 5.0
LONGEST_WAIT_S = 90 * 24 * 3600  # the hub's own time limit: a start ends itself, in the queue by the grace time


class StartRefused(SpawnException):
    """A session was not started, for a reason that its user can understand and act on."""

    def __init__(self, message: str, *, reason: str, status_code: int = 503) -> None:
        super().__init__(message, reason=reason, status_code=status_code)
        self.jupyterhub_message = message


class RefusedOptionsError(HTTPError):
    """What was asked for cannot be had; the form and the API show why, by the field's name."""

    def __init__(self, error: OptionsError) -> None:
        super().__init__(400, "%s", error)
        self.error = error
        self.jupyterhub_message = str(error)


class GPUDockerSpawner(DockerSpawner):
    """DockerSpawner whose containers hold exclusive GPUs, granted by the desk that all sessions share."""

    options: SessionOptions | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.port = PORT
        self._progress = Progress()
        self._refused: Refused | None = None

    @property
    def desk(self) -> Desk:
        """Where GPUs are asked for; one for the whole hub."""
        desk: Desk = self.user.settings["app"].desk
        return desk

    @property
    def groups(self) -> tuple[str, ...]:
        """The user's groups, as the hub or the sign-in service has them."""
        return tuple(group.name for group in self.user.groups)

    @property
    def client(self) -> APIClient:
        """The engine's client, one for the whole hub."""
        return self.desk.engine.client

    @property
    def executor(self) -> ThreadPoolExecutor:
        """Threads for engine calls: enough that one user's slow call does not hold up another's."""
        return self.desk.engine.threads

    # What is asked for

    @default("options_form")
    def _default_options_form(self) -> Callable[[GPUDockerSpawner], Awaitable[str]]:
        return type(self)._form

    async def _form(self) -> str:
        """The spawn form as it is now for this user: what was just refused, a link's choices, the last choice."""
        await self.desk.refresh()
        link = getattr(self.handler, "link", {})
        last = self.orm_spawner.user_options or {}
        refused, self._refused = self._refused, None
        offer = replace(self.desk.offer(self.groups), hours=await self._hours())
        return options_form(offer, self.user.name, last=last, link=link, refused=refused)

    async def _hours(self) -> str:
        """What the user has used of a quota, in words; empty without one."""
        try:
            used = await self.desk.budget(self.user.name, self.groups)
        except BooksError:
            return wording.quota_unreadable()
        return wording.quota_left(used.limit_s, used.used_s) if used else ""

    @default("options_from_form")
    def _default_options_from_form(self) -> Callable[[dict[str, list[str]]], dict[str, Any]]:
        return self._from_form

    def _from_form(self, formdata: dict[str, list[str]]) -> dict[str, Any]:
        fields = {name: values for name, values in formdata.items() if name != "_xsrf"}
        self.handler = None  # the link that led to the form was answered by sending it
        try:
            return to_user_options(self._parse(fields))
        except RefusedOptionsError as refusal:
            self._refused = Refused(fields, refusal.error)
            raise

    @default("apply_user_options")
    def _default_apply_user_options(self) -> Callable[[Any, dict[str, Any]], Any]:
        return type(self)._apply

    async def _apply(self, user_options: dict[str, Any]) -> None:
        """Check what was asked for, whether it came from the form or from the API. This is where a start begins."""
        self.desk.notices.pop(self.user.name, None)
        self._progress.begin()
        self._progress.at(Step.CHECKING)
        await self.desk.refresh()
        try:
            self.options = self._parse(user_options)
        except RefusedOptionsError:
            # JupyterHub has stored them already, and would take them again for a start without options.
            self.orm_spawner.user_options = {}
            self.db.commit()
            raise

    def _parse(self, raw: dict[str, Any]) -> SessionOptions:
        try:
            return parse_options(raw, self.desk.offer(self.groups))
        except OptionsError as error:
            self.log.warning("Refused the options of %s: %s", self._log_name, error)
            raise RefusedOptionsError(error) from error

    # The way of one session

    async def start(self) -> tuple[str, int]:
        """Wait for the GPUs, create the container that holds them, wait until its server answers.

        On every way out but success no container is left, no GPU is held and no place in the queue is kept.
        """
        session = self.container_name
        try:
            options = self.options
            if options is None:
                raise StartRefused("Start the session from the form.", reason="options", status_code=400)
            granted = await self._turn(session, options)
            async with self.desk.starts:
                return await asyncio.wait_for(self._begin(granted, options), self._limit_s)
        except BaseException as error:
            await asyncio.shield(self._undo(session))
            explained = self._explain(error)
            if explained is error:
                raise
            self._progress.failed(explained.jupyterhub_message)
            raise explained from error
        finally:
            self.desk.settle(session)

    @property
    def _limit_s(self) -> int:
        """How long a start may take, once it has its GPUs."""
        return self.desk.settings.sessions.start_timeout

    async def _turn(self, session: str, options: SessionOptions) -> Grant:
        """The GPUs, when it is this session's turn; they come before anything else is done."""
        if options.gpu_count:
            self._progress.at(Step.GPU)
        granted = await self.desk.request(
            self.user.name,
            options,
            session,
            groups=self.groups,
            tell=self._stands,
            is_watched=lambda: self._progress.pages > 0,
        )
        if isinstance(granted, Refusal):
            raise StartRefused(granted.message, reason=granted.code)
        return granted

    def _stands(self, standing: Standing) -> None:
        """It changed where this session stands in the queue."""
        self._progress.waiting(standing.event(self.user.name))

    async def _begin(self, granted: Grant, options: SessionOptions) -> tuple[str, int]:
        self._progress.at(Step.CREATING)
        launch = await self.desk.describe(granted, self.escaped_name, options)
        self.environment = launch.environment
        self.extra_create_kwargs = {**launch.create, "labels": launch.labels}
        self.extra_host_config = launch.host
        ip, port = await _to_its_end(super().start())
        self._progress.at(Step.STARTING)
        await self._answers(ip, port)
        return ip, port

    async def _answers(self, ip: str, port: int) -> None:
        """Return as soon as the server accepts connections.

        The hub's own check backs off up to seconds between tries; this one sees the server within READY_POLL_S, and a
        container that ended is told at once, not when the time limit is reached.
        """
        looks = 0
        while True:
            try:
                _, writer = await asyncio.wait_for(asyncio.open_connection(ip, port), READY_REQUEST_S)
                writer.close()
                return
            except (OSError, asyncio.TimeoutError):
                looks += 1
            if looks % 20 == 0 and await self.poll() is not None:
                raise StartRefused(ENDED_EARLY, reason="ended")
            await asyncio.sleep(READY_POLL_S)

    async def _undo(self, session: str) -> None:
        """Leave nothing behind of a start that failed. Where that is uncertain, the engine keeps the say."""
        try:
            await self.desk.engine.remove(session)
        except (DockerException, RequestException) as error:
            self.log.error("The container %s could not be removed: %s", session, error)
        else:
            self.object_id = ""
            self.desk.release(session)

    def _explain(self, error: BaseException) -> Any:
        """An error in words for the user, its cause in the log; errors of our own making pass through."""
        if isinstance(error, AttachError):
            known = error
        elif isinstance(error, IdentityError):
            known = AttachError("Your home folder could not be prepared; the administrator can see why.", str(error))
        elif isinstance(error, PlaceLostError):
            self.log.warning("%s: %s", self._log_name, error)
            return StartRefused(str(error), reason="place_lost")
        elif isinstance(error, APIError):
            known = explain_engine_error(error.explanation or str(error))
        elif isinstance(error, asyncio.TimeoutError):
            limit = f"it did not answer within {self._limit_s} seconds"
            known = AttachError("The session took too long to start; try again, or tell the administrator.", limit)
        elif isinstance(error, (DockerException, RequestException, OSError)):
            known = AttachError("The container engine does not answer; try again in a minute.", str(error))
        else:
            return error
        self.log.error("Starting %s failed: %s", self._log_name, known.operator_message)
        return StartRefused(known.user_message, reason="engine")

    async def poll(self) -> Any:
        """None while the session runs.

        A container without a known id was begun by a hub that did not live to see it answer: that is no session, and
        it is removed with its cards when the hub is back.
        """
        return await super().poll() if self.object_id else 0

    async def stop(self, now: bool = False) -> None:
        """Stop and remove the container; its GPUs are free when it is gone."""
        if why := self._why_stopped():
            self.desk.notices[self.user.name] = why
        try:
            await super().stop(now)
        finally:
            await self.desk.refresh_ledger()

    def _why_stopped(self) -> str:
        """What its user should know of a session that ends now; empty where the user will have stopped it."""
        lease, now = self.desk.lease(self.container_name), time.time()
        if lease and lease.since and lease.until and lease.until <= now:
            return wording.time_over(lease.until - lease.since)
        idle_s, limit_s = self.desk.idle.seconds(self.container_name, now), self.desk.idle.rule.after_s
        return wording.idle_too_long(idle_s) if idle_s and limit_s and idle_s >= limit_s else ""

    @property
    def _gpu_idle(self) -> dict[str, float | None] | None:
        """For how long the session's GPUs have done nothing, as far as that is known, and may; None without a GPU."""
        if self.desk.lease(self.container_name) is None:
            return None
        idle_s = self.desk.idle.seconds(self.container_name, time.time()) or 0.0
        return {"idle_s": idle_s, "limit_s": self.desk.idle.rule.after_s}

    def get_state(self) -> dict[str, Any]:
        """What a restarted hub must know, and what decides whether the session is stopped for doing nothing."""
        return {**super().get_state(), "gpu_idle": self._gpu_idle}

    @property
    def notice(self) -> str:
        """What the user should know of the last session; empty when there is nothing."""
        return self.desk.notices.get(self.user.name, "")

    @property
    def until(self) -> float | None:
        """When the running session's time is over, in seconds since the epoch; None where it has no limit."""
        lease = self.desk.lease(self.container_name)
        return lease.until if lease else None

    @property
    def idle_until(self) -> float | None:
        """When it is stopped if its GPUs go on doing nothing; None as long as that need not be told."""
        return self.desk.idle.ends(self.container_name, time.time())

    async def may_extend(self) -> float | None:
        """Until when its user may let it run, in seconds since the epoch; None where it ends when it does."""
        try:
            return await self.desk.may_extend(self.container_name, self.user.name, self.groups)
        except BooksError:
            return None

    async def extend(self) -> float:
        """Let it run for as long as it may. Raises ExtensionError, BooksError and OSError."""
        return await self.desk.extend(self.container_name, self.user.name, self.groups)

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """The steps of the start, as they happen."""
        async for event in self._progress.events():
            yield event


async def _to_its_end(work: Coroutine[Any, Any, tuple[str, int]]) -> tuple[str, int]:
    """Its result; who cancels waits for its end. The engine finishes what it was told to do, wanted or not."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(Exception):
            await asyncio.shield(task)
        raise
