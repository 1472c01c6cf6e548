"""How a spawner asks its user: the form, and the check of what was asked for. The same wherever sessions run.

Each function takes the spawner, as JupyterHub's own hooks do, and is handed to JupyterHub as such a hook.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from sciencebox.accounting.quota import BooksError
from sciencebox.gpus import wording
from sciencebox.sessions.form import Refused, options_form
from sciencebox.sessions.options import OptionsError, SessionOptions, parse_options, to_user_options
from sciencebox.sessions.progress import Progress, Step
from sciencebox.sessions.starting import RefusedOptionsError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sciencebox.accounting.quota import Budget
    from sciencebox.sessions.options import Offer


class Counter(Protocol):
    """Where sessions are asked for, as far as the form knows it."""

    notices: dict[str, str]

    async def refresh(self) -> object:
        """Look at what there is."""

    def offer(self, groups: Iterable[str] = ()) -> Offer:
        """What a member of these groups may choose now."""

    async def budget(self, user: str, groups: Iterable[str]) -> Budget | None:
        """What is left of a quota. Raises BooksError."""


class Asking(Protocol):
    """A spawner, as far as its form knows it. `refused` is what was sent a moment ago and not accepted."""

    user: Any
    handler: Any
    orm_spawner: Any
    db: Any
    log: Any
    _log_name: str
    options: SessionOptions | None
    steps: Progress
    refused: Refused | None

    @property
    def desk(self) -> Counter:
        """Where sessions are asked for."""

    @property
    def groups(self) -> tuple[str, ...]:
        """The user's groups, as the hub or the sign-in service has them."""


async def form(spawner: Asking) -> str:
    """The spawn form as it is now for this user: what was just refused, a link's choices, the last choice."""
    await spawner.desk.refresh()
    link = getattr(spawner.handler, "link", {})
    last = spawner.orm_spawner.user_options or {}
    refused, spawner.refused = spawner.refused, None
    offer = replace(spawner.desk.offer(spawner.groups), hours=await _hours(spawner))
    return options_form(offer, spawner.user.name, last=last, link=link, refused=refused)


async def _hours(spawner: Asking) -> str:
    """What the user has used of a quota, in words; empty without one."""
    try:
        used = await spawner.desk.budget(spawner.user.name, spawner.groups)
    except BooksError:
        return wording.quota_unreadable()
    return wording.quota_left(used.limit_s, used.used_s) if used else ""


def from_form(spawner: Asking, formdata: dict[str, list[str]]) -> dict[str, Any]:
    """What was sent, as `user_options`. Raises RefusedOptionsError; the next form shows what was entered."""
    fields = {name: values for name, values in formdata.items() if name != "_xsrf"}
    spawner.handler = None  # the link that led to the form was answered by sending it
    try:
        return to_user_options(_parse(spawner, fields))
    except RefusedOptionsError as refusal:
        spawner.refused = Refused(fields, refusal.error)
        raise


async def apply(spawner: Asking, user_options: dict[str, Any]) -> None:
    """Check what was asked for, whether it came from the form or from the API. This is where a start begins."""
    spawner.desk.notices.pop(spawner.user.name, None)
    spawner.steps.begin()
    spawner.steps.at(Step.CHECKING)
    await spawner.desk.refresh()
    try:
        spawner.options = _parse(spawner, user_options)
    except RefusedOptionsError:
        # JupyterHub has stored them already, and would take them again for a start without options.
        spawner.orm_spawner.user_options = {}
        spawner.db.commit()
        raise


def _parse(spawner: Asking, raw: dict[str, Any]) -> SessionOptions:
    try:
        return parse_options(raw, spawner.desk.offer(spawner.groups))
    except OptionsError as error:
        spawner.log.warning("Refused the options of %s: %s", spawner._log_name, error)
        raise RefusedOptionsError(error) from error
