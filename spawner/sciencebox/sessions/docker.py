"""The spawner for one server: a session is a container of the local engine that holds its own GPUs."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from docker.errors import APIError, DockerException, NotFound
from dockerspawner import DockerSpawner
from requests import RequestException
from traitlets import default

from sciencebox.accounting.quota import BooksError
from sciencebox.gpus.broker import Refusal
from sciencebox.sessions import asking
from sciencebox.sessions.identity import IdentityError
from sciencebox.sessions.launch import PORT
from sciencebox.sessions.progress import Progress, Step
from sciencebox.sessions.refusals import AttachError, explain_engine_error
from sciencebox.sessions.starting import StartRefused, answers
from sciencebox.sessions.waiting import PlaceLostError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
    from concurrent.futures import ThreadPoolExecutor

    from docker import APIClient

    from sciencebox.gpus.broker import Grant
    from sciencebox.sessions.desk import Desk
    from sciencebox.sessions.form import Refused
    from sciencebox.sessions.options import SessionOptions
    from sciencebox.sessions.waiting import Standing


class GPUDockerSpawner(DockerSpawner):
    """DockerSpawner whose containers hold exclusive GPUs, granted by the desk that all sessions share."""

    options: SessionOptions | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.port = PORT
        self.steps = Progress()
        self.refused: Refused | None = None

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

    @default("options_form")
    def _default_options_form(self) -> Callable[[GPUDockerSpawner], Awaitable[str]]:
        return asking.form

    @default("options_from_form")
    def _default_options_from_form(self) -> Callable[[dict[str, list[str]]], dict[str, Any]]:
        return partial(asking.from_form, self)

    @default("apply_user_options")
    def _default_apply_user_options(self) -> Callable[[GPUDockerSpawner, dict[str, Any]], Awaitable[None]]:
        return asking.apply

    # The way of one session

    async def start(self) -> tuple[str, int]:
        """Wait for the GPUs, create the container that holds them, wait until its server answers.

        On every way out but success no container is left, no GPU is held and no place in the queue is kept.
        """
        session, begun = self.container_name, False
        try:
            options = self.options
            if options is None:
                raise StartRefused("Start the session from the form.", reason="options", status_code=400)
            granted = await self._turn(session, options)
            async with self.desk.starts:
                begun = True
                return await asyncio.wait_for(self._begin(granted, options), self._limit_s)
        except BaseException as error:
            await asyncio.shield(self._undo(session, begun))
            explained = self._explain(error)
            if explained is error:
                raise
            self.steps.failed(explained.jupyterhub_message)
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
            self.steps.at(Step.GPU)
        granted = await self.desk.request(
            self.user.name,
            options,
            session,
            groups=self.groups,
            tell=self._stands,
            is_watched=lambda: self.steps.pages > 0,
        )
        if isinstance(granted, Refusal):
            raise StartRefused(granted.message, reason=granted.code)
        return granted

    def _stands(self, standing: Standing) -> None:
        """It changed where this session stands in the queue."""
        self.steps.waiting(standing.event(self.user.name))

    async def _begin(self, granted: Grant, options: SessionOptions) -> tuple[str, int]:
        self.steps.at(Step.CREATING)
        launch = await self.desk.describe(granted, self.escaped_name, options)
        self.environment = launch.environment
        self.extra_create_kwargs = {**launch.create, "labels": launch.labels}
        self.extra_host_config = launch.host
        ip, port = await _to_its_end(super().start())
        self.steps.at(Step.STARTING)
        await answers(ip, port, self._has_ended)
        return ip, port

    async def _has_ended(self) -> bool:
        return await self.poll() is not None

    async def _undo(self, session: str, begun: bool) -> None:
        """Leave nothing behind of a start that failed. Where that is uncertain, the engine keeps the say."""
        if begun:
            try:
                await self.desk.engine.remove(session)
            except (DockerException, RequestException) as error:
                self.log.error("The container %s could not be removed: %s", session, error)
                return
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
        """None while the session runs, or where the engine does not tell: it may well go on.

        A container without a known id was begun by a hub that did not live to see it answer: that is no session, and
        it is removed with its cards when the hub is back.
        """
        try:
            return await super().poll() if self.object_id else 0
        except (DockerException, RequestException) as error:
            self.log.warning("It is not known whether %s goes on: %s", self._log_name, error)
            return None

    async def get_object(self) -> Any:
        """The container as the engine has it; None where there is none. Raises APIError and RequestException.

        DockerSpawner's takes an engine that has an error of its own for one that has no container.
        """
        try:
            found = await self.docker("inspect_container", self.container_name)
        except NotFound:
            found = None
        self.object_id = found["Id"] if found else ""
        return found

    def start_polling(self) -> None:
        """Beside the polls, which are half a minute apart, hear of the end of a container with GPUs when it comes."""
        super().start_polling()
        self.desk.watched[self.container_name] = self._ended

    def stop_polling(self) -> None:
        """Hear of it no more: it is being stopped, or it was told."""
        self.desk.watched.pop(self.container_name, None)
        super().stop_polling()

    async def _ended(self) -> None:
        if not self.pending:  # else the hub is not ready to be told, and would never be again
            await self.poll_and_notify()

    async def stop(self, now: bool = False) -> None:
        """Stop and remove the container; its GPUs are free when it is gone."""
        if why := self.desk.why_stopped(self.container_name):
            self.desk.notices[self.user.name] = why
        try:
            await super().stop(now)
        finally:
            await self.desk.refresh_ledger()

    async def remove_object(self) -> None:
        """Remove the container. DockerSpawner's takes one that the engine is about to remove for gone."""
        await self.desk.engine.remove(self.object_id)

    def get_state(self) -> dict[str, Any]:
        """What a restarted hub must know, and what decides whether the session is stopped for doing nothing."""
        return {**super().get_state(), "gpu_idle": self.desk.gpu_idle(self.container_name)}

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
        return self.desk.idle_until(self.container_name)

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
        async for event in self.steps.events():
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
