"""NVIDIA's dashboard of the session's own GPUs, in sessions that have one.

It talks to the driver as soon as it is imported, which takes a second where a card sleeps, and for ever where one
hangs: so that happens beside the server's start, and JupyterLab shows the dashboard only when it is there.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tornado.web import Application

EXTENSION = "jupyterlab-nvdashboard"

log = logging.getLogger(__name__)


class Dashboard:
    """The dashboard of one server."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._is_there = False
        application.settings["page_config_hook"] = self.configure

    async def start(self) -> None:
        """Make it available. A driver that does not answer costs nothing but the dashboard."""
        try:
            handlers = await asyncio.to_thread(importlib.import_module, "jupyterlab_nvdashboard.handlers")
            handlers.setup_handlers(self._application)
        except Exception as error:  # whatever it is that the driver did
            log.warning("There is no GPU dashboard: %s", error)
        else:
            self._is_there = True

    def configure(self, _handler: Any, page_config: dict[str, Any]) -> dict[str, Any]:
        """What JupyterLab is told when it is opened."""
        if not self._is_there:
            found = page_config.get("federated_extensions", [])
            page_config["federated_extensions"] = [one for one in found if one["name"] != EXTENSION]
        return page_config
