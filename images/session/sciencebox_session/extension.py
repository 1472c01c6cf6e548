"""The server extension: what the session has, how long it may run, and the gallery."""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import asdict
from pathlib import Path

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.extension.application import ExtensionApp
from tornado import web
from traitlets import Unicode

from sciencebox_session import facts, gallery, hub
from sciencebox_session.dashboard import Dashboard

# What is known without the hub, beside the end that the session began with.
NOTHING_MORE = {"seconds_left": None, "idle_seconds_left": None, "more_seconds": None, "faults": []}


class SessionHandler(APIHandler):
    """GET: what this session has."""

    auth_resource = "contents"

    @web.authenticated
    @authorized
    async def get(self) -> None:
        self.finish(json.dumps(await asyncio.to_thread(facts.read, os.environ, time.time())))


class EndHandler(APIHandler):
    """GET: how long this session may run, as the hub has it now. POST: let it run longer."""

    auth_resource = "contents"

    @web.authenticated
    @authorized
    async def get(self) -> None:
        try:
            end = await hub.session(os.environ)
        except hub.HubError as error:
            self.log.debug("The hub does not say how long this session may run: %s", error)
            described = facts.described(os.environ, time.time())
            end = NOTHING_MORE | {"seconds_left": described["seconds_left"]}
        self.finish(json.dumps(end))

    @web.authenticated
    @authorized
    async def post(self) -> None:
        try:
            self.finish(json.dumps(await hub.extend(os.environ)))
        except hub.HubError as error:
            self.set_status(error.status)
            self.finish(json.dumps({"message": str(error)}))


class GalleryHandler(APIHandler):
    """GET: the bundled notebooks."""

    auth_resource = "contents"

    def initialize(self, folder: Path) -> None:
        self.folder = folder

    @web.authenticated
    @authorized
    async def get(self) -> None:
        found = await asyncio.to_thread(gallery.entries, self.folder)
        self.finish(json.dumps([asdict(entry) for entry in found]))


class CopyHandler(APIHandler):
    """POST: a copy of a bundled notebook among the user's files; `?beside=1` asks for a further one."""

    auth_resource = "contents"

    def initialize(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self.home = home

    @web.authenticated
    @authorized
    async def post(self, name: str) -> None:
        beside = self.get_query_argument("beside", "") == "1"
        try:
            copy = await asyncio.to_thread(gallery.copy, self.folder, self.home, name, beside=beside)
        except gallery.GalleryError as error:
            self.log.warning("No copy of a bundled notebook: %s", error)
            self.set_status(error.status)
            self.finish(json.dumps({"message": str(error)}))
            return
        self.set_status(201 if copy.outcome == "created" else 200)
        self.finish(json.dumps(asdict(copy)))


class SessionExtension(ExtensionApp):
    """Serves the welcome page's data below `/sciencebox`."""

    name = "sciencebox_session"

    gallery = Unicode("/opt/sciencebox/notebooks", help="Folder of the bundled notebooks.").tag(config=True)

    def initialize_handlers(self) -> None:
        """Routes, and the gallery's link in the user's home."""
        folder, home = Path(self.gallery), Path(self.serverapp.root_dir)
        self.handlers.extend(
            [
                (r"/sciencebox/session", SessionHandler),
                (r"/sciencebox/end", EndHandler),
                (r"/sciencebox/gallery", GalleryHandler, {"folder": folder}),
                (r"/sciencebox/gallery/([^/]+)/copy", CopyHandler, {"folder": folder, "home": home}),
            ]
        )
        dashboard = Dashboard(self.serverapp.web_app)
        described = facts.described(os.environ, time.time())
        if described["gpus"] and not described["simulated"]:
            self.serverapp.io_loop.add_callback(dashboard.start)
        try:
            gallery.link(folder, home)
        except OSError as error:
            self.log.warning("The gallery is not linked in %s: %s", home, error)
