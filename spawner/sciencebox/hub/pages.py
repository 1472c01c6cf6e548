"""The spawn form with links that prefill it, kept up to date while it is open; and the addresses of all our pages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyterhub.handlers.pages import SpawnHandler
from jupyterhub.handlers.static import CacheControlStaticFilesHandler
from jupyterhub.utils import url_path_join
from tornado.web import HTTPError

from sciencebox.hub.accounts import ScienceBoxAuthenticator
from sciencebox.hub.base import DeskHandler
from sciencebox.hub.gpus import GpuEventsHandler, GpusHandler, MarkHandler
from sciencebox.hub.session import ServerHandler, SessionHandler
from sciencebox.hub.usage import UsageHandler
from sciencebox.sessions.form import gpu_facts
from sciencebox.sessions.options import FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STATIC = Path(__file__).parent / "static"


class SpawnFormHandler(SpawnHandler):
    """JupyterHub's spawn form, where a link's arguments fill the form in instead of starting a session.

    A link may come from anybody; only a person who presses Start starts something.
    """

    link: Mapping[str, Sequence[str]] = {}

    async def prepare(self) -> None:
        """Refuse what is not text before JupyterHub decodes it; lead to the change of a one-time password first."""
        await super().prepare()
        user, accounts = self.current_user, self.authenticator
        if user and isinstance(accounts, ScienceBoxAuthenticator) and accounts.must_change_password(user.name):
            self.redirect(url_path_join(self.hub.base_url, "change-password"))
            return
        given = (self.request.query_arguments, self.request.body_arguments)
        try:
            for value in (value for arguments in given for values in arguments.values() for value in values):
                value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise HTTPError(400, "The form or link has a value that is not text in UTF-8.") from error

    def append_query_parameters(self, url: str, exclude: Sequence[str] = ("next",)) -> str:
        """Lead on without the link's choices: they were for the form, not for the session."""
        return super().append_query_parameters(url, [*exclude, *FIELDS, "_xsrf"])

    def _get_user_options(self, query_options: dict[str, list[str]]) -> dict[str, list[str]]:
        self.link = {name.removeprefix("opt-"): values for name, values in query_options.items()}
        return {}


class GpuNumbersHandler(DeskHandler):
    """What changes in an open spawn form, as JSON; for as long as nothing does, the browser is sent a 304."""

    async def get(self) -> None:
        """The numbers of now. Who is signed out is told so, not led to a page."""
        if not self.current_user:
            raise HTTPError(403, "You are signed out.")
        await self.desk.refresh()
        self.set_header("Cache-Control", "private, no-cache")
        self.finish(gpu_facts(self.desk.offer(), self.reader.name))


HANDLERS: list[tuple[Any, ...]] = [
    (r"/api/users/([^/]+)/server", ServerHandler),
    (r"/spawn", SpawnFormHandler),
    (r"/spawn/([^/]+)", SpawnFormHandler),
    (r"/sciencebox/numbers", GpuNumbersHandler),
    (r"/sciencebox/gpus", GpusHandler),
    (r"/sciencebox/gpus/events", GpuEventsHandler),
    (r"/sciencebox/gpus/([^/]+)/(drain|quarantine)", MarkHandler),
    (r"/sciencebox/usage", UsageHandler),
    (r"/sciencebox/session", SessionHandler),
    (r"/sciencebox/static/(.*)", CacheControlStaticFilesHandler, {"path": str(STATIC)}),
]
