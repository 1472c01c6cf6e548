"""The hub on a cluster: zero-to-jupyterhub's, with our spawner, form and pages.

`sciencebox-hub` takes JupyterHub's arguments and is `jupyterhub` in the hub's image. The configuration is
zero-to-jupyterhub's own; at its end it runs a file of the image, which calls `configure`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from jupyterhub import orm
from jupyterhub.utils import url_path_join
from kubespawner.clients import load_config, shared_client

from sciencebox import settings as settings_file
from sciencebox.accounting import database
from sciencebox.gpus import wording
from sciencebox.hub import caretaker, culling
from sciencebox.hub.accounts import ScienceBoxAuthenticator
from sciencebox.hub.app import DeskHub
from sciencebox.hub.config import HERE, accounts
from sciencebox.sessions import tasks
from sciencebox.sessions.cluster_desk import ClusterDesk
from sciencebox.sessions.cluster_watch import ClusterWatch
from sciencebox.sessions.extensions import Extensions
from sciencebox.sessions.identity import Uids
from sciencebox.sessions.kube import GPUKubeSpawner
from sciencebox.sessions.pod import read_kept
from sciencebox.sessions.starting import LONGEST_WAIT_S

if TYPE_CHECKING:
    from sciencebox.settings import Settings

SETTINGS = "/etc/sciencebox/sciencebox.yaml"
SECRETS = "/run/secrets/sciencebox"
# How the configuration may name the sign-in whose accounts are kept by the hub itself.
_OWN_ACCOUNTS = (ScienceBoxAuthenticator, f"{ScienceBoxAuthenticator.__module__}.{ScienceBoxAuthenticator.__name__}")
POLL_S = 5  # the state of pods is at hand, so looking often costs nothing

log = logging.getLogger(__name__)


def read_settings() -> Settings:
    """The settings as the chart mounts them. Ends the hub with what is wrong with them."""
    try:
        return settings_file.load(Path(os.environ.get("SCIENCEBOX_SETTINGS", SETTINGS)))
    except settings_file.SettingsError as error:
        sys.exit(str(error))


def configure(c: Any) -> None:
    """Add ours to the configuration, and take nothing away from it. Call it last."""
    settings = read_settings()
    hub = c.JupyterHub
    hub.spawner_class = GPUKubeSpawner
    own_accounts = _given(hub, "authenticator_class", None) in _OWN_ACCOUNTS
    if own_accounts:
        accounts(c, settings, Path(os.environ.get("SCIENCEBOX_SECRETS", SECRETS)))
    hub.template_paths = [*_given(hub, "template_paths", ()), str(HERE / "templates")]
    hub.template_vars = {
        **_given(hub, "template_vars", {}),
        "sciencebox_simulated": False,
        "sciencebox_grace": wording.span(60 * settings.queue.grace_minutes),
        "sciencebox_accounts": own_accounts,
    }
    # Who starts by the API hears of a refusal at once, and of a place in the queue after this many seconds.
    hub.tornado_settings = {**_given(hub, "tornado_settings", {}), "slow_spawn_timeout": 2}
    # Waiting for a GPU is part of a start and takes as long as it takes; the cluster bounds what starts at once.
    hub.concurrent_spawn_limit = 0
    if str(_given(hub, "db_url", "sqlite:")).startswith("sqlite:"):  # a file, maybe of another server: no log for it
        hub.db_kwargs = {**database.PATIENT, **_given(hub, "db_kwargs", {})}
    # The hub's own service may be out of reach for it by the cluster's network policy.
    port = urlsplit(_given(hub, "hub_bind_url", "")).port or 8081
    url = url_path_join(f"http://127.0.0.1:{port}", _given(hub, "base_url", "/"), "hub/api")
    _add(
        hub,
        {caretaker: {"api_token": secrets.token_hex(32)}, culling: {"command": culling.command(settings.idle, url)}},
    )
    spawner = c.GPUKubeSpawner
    spawner.start_timeout = LONGEST_WAIT_S
    spawner.http_timeout = settings.sessions.start_timeout
    spawner.poll_interval = POLL_S
    spawner.events_enabled = False  # the desk follows those that matter, once for all sessions


def _add(hub: Any, services: dict[Any, dict[str, Any]]) -> None:
    """What the hub does with sessions on its own behalf, each with no more rights than that takes."""
    hub.services = [*_given(hub, "services", ()), *({"name": one.SERVICE, **more} for one, more in services.items())]
    hub.load_roles = [
        *_given(hub, "load_roles", ()),
        *({"name": one.SERVICE, "services": [one.SERVICE], "scopes": one.SCOPES} for one in services),
    ]


def _given(section: Any, name: str, otherwise: Any) -> Any:
    """What is configured already."""
    return section.get(name, otherwise)


class ClusterHub(DeskHub):
    """The hub of a cluster: sessions are pods of its namespace."""

    name = "sciencebox-cluster-hub"
    desk: ClusterDesk

    def init_tornado_settings(self) -> None:
        """With the desk of this cluster."""
        namespace = self.config.KubeSpawner.get("namespace") or os.environ.get("POD_NAMESPACE", "default")
        state = Path(os.environ.get("SCIENCEBOX_STATE", "."))  # where zero-to-jupyterhub has the database, too
        uids, later_ends = Uids(state / "identities.sqlite"), Extensions(state / "extensions.json")
        self.desk = ClusterDesk(read_settings(), ClusterWatch(), namespace, uids, later_ends)
        super().init_tornado_settings()

    async def open_desk(self) -> None:
        """Look at the cluster. What had only begun when the last hub was killed is begun again, in its place."""
        load_config()
        await self.desk.open(shared_client("CoreV1Api"), shared_client("CustomObjectsApi"))
        await self.open_accounts()
        # Also of those who have started nothing since uids are written down: nobody else may get theirs.
        numbers = dict(self.db.query(orm.User.name, orm.User.id).all())
        await asyncio.to_thread(self.desk.uids_of, numbers)
        self._unfinished = self._set_aside()

    def _set_aside(self) -> list[str]:
        """Whose starts a hub did not live to end, as far as their pods are there, or may be: the cluster may be away.

        JupyterHub would take their pods for sessions that do not answer, and delete them and their places.
        """
        asked = self.desk.asked()
        found = []
        for spawner in self.db.query(orm.Spawner).filter(orm.Spawner.server != None):  # noqa: E711 - SQL
            user = spawner.user.name if spawner.user else ""
            if not spawner.server.ip and not spawner.name and (user in asked or not self.desk.readable):
                found.append(user)
                self.db.delete(spawner.server)
        self.db.commit()
        return found

    async def start(self) -> None:
        """Then bring back who was about to start before the restart; what nobody knows after that is removed."""
        await super().start()
        self._beside.append(tasks.start(self._bring_back(), "bringing back who waited, and removing what is left"))

    async def _bring_back(self) -> None:
        await self.desk.changed.until(lambda: self.desk.readable)
        asked = self.desk.asked()
        await asyncio.gather(*(self._begin_again(user, asked[user]) for user in self._unfinished if user in asked))
        await self._keep_tidy()

    async def _begin_again(self, user: str, asked: str) -> None:
        await self.caretaker.start_again(user, read_kept(asked), lambda: user in self.desk.asked())

    @property
    def own_api_url(self) -> str:
        """On its own machine."""
        return url_path_join(f"http://127.0.0.1:{self.hub.port}", self.hub.base_url, "api")

    def session_of(self, spawner: Any) -> str:
        """Its pod."""
        return str(spawner.pod_name)

    async def cleanup(self) -> None:
        """Stop. Who waits keeps the place for when the hub is back."""
        self.desk.closed = True
        await super().cleanup()
        await self.desk.close()


def main() -> None:
    """Run the hub with JupyterHub's arguments."""
    ClusterHub.launch_instance()


if __name__ == "__main__":
    main()
