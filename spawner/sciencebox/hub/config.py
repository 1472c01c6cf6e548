"""The hub's configuration, derived from the settings. Pure: settings and paths in, a traitlets Config out."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from jupyterhub.utils import url_path_join
from traitlets.config import Config

import sciencebox
from sciencebox.accounting import database
from sciencebox.accounts_section import DIRECTORY_SECRET
from sciencebox.gpus import wording
from sciencebox.hub import caretaker, culling, metrics
from sciencebox.hub.accounts import ScienceBoxAuthenticator
from sciencebox.sessions.docker import GPUDockerSpawner
from sciencebox.sessions.starting import LONGEST_WAIT_S

if TYPE_CHECKING:
    from sciencebox.settings import Settings

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Place:
    """Where the hub runs and what it reaches; told by the deployment through the environment."""

    state: Path
    hub_name: str = "hub"  # host name of the hub as sessions and the proxy see it
    proxy_api: str = "http://proxy:8001"
    session_image: str = f"sciencebox/session:{sciencebox.__version__}"

    @property
    def secrets(self) -> Path:
        """Folder of generated secrets, readable by the hub only."""
        return self.state / "secrets"

    def secret(self, name: str) -> str:
        """One of them."""
        return (self.secrets / name).read_text(encoding="utf-8").strip()


def build_config(settings: Settings, place: Place) -> Config:
    """Put the hub together."""
    config = Config()
    _hub(config, settings, place)
    _accounts(config, settings, place)
    _sessions(config, settings, place)
    return config


def _hub(c: Any, settings: Settings, place: Place) -> None:
    c.JupyterHub.hub_ip = "0.0.0.0"  # noqa: S104 - inside the hub's own network namespace
    c.JupyterHub.hub_connect_ip = place.hub_name
    c.JupyterHub.db_url = f"sqlite:///{place.state / 'hub.sqlite'}"
    c.JupyterHub.db_kwargs = database.ON_THIS_SERVER
    c.JupyterHub.upgrade_db = True  # by a newer JupyterHub, which leaves a copy beside it
    c.JupyterHub.cookie_secret_file = str(place.secrets / "cookie_secret")
    c.JupyterHub.template_paths = [str(HERE / "templates")]
    c.JupyterHub.template_vars = {
        "sciencebox_simulated": settings.gpus.simulate > 0,
        "sciencebox_accounts": settings.accounts.source == "local",
        "sciencebox_grace": wording.span(60 * settings.queue.grace_minutes),
    }
    # The proxy is a service of its own, and sessions are containers: both outlive the hub.
    c.JupyterHub.cleanup_servers = False
    c.JupyterHub.cleanup_proxy = False
    c.ConfigurableHTTPProxy.should_start = False
    c.ConfigurableHTTPProxy.api_url = place.proxy_api
    c.ConfigurableHTTPProxy.auth_token = place.secret("proxy_token")
    # What the hub does with sessions on its own behalf, it does as a client with no more rights than that takes.
    c.JupyterHub.services = [
        {"name": caretaker.SERVICE, "api_token": place.secret("service_token")},
        {"name": culling.SERVICE, "command": culling.command(settings.idle)},
        {"name": metrics.SERVICE, "api_token": place.secret("metrics_token")},
    ]
    c.JupyterHub.load_roles = [
        {"name": service.SERVICE, "services": [service.SERVICE], "scopes": service.SCOPES}
        for service in (caretaker, culling, metrics)
    ]
    # Who starts by the API hears of a refusal at once, and of a place in the queue after this many seconds.
    c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 2}
    # A hub that was down looks at what is running before it answers.
    c.JupyterHub.init_spawners_timeout = 30


def _accounts(c: Any, settings: Settings, place: Place) -> None:
    if settings.accounts.source == "local":
        accounts(c, settings, place.secrets)
        return
    {"oidc": _single_sign_on, "ldap": _directory}[settings.accounts.source](c, settings, place)
    rights = settings.accounts.rights
    c.Authenticator.admin_users = set(rights.administrators)
    c.Authenticator.allow_all = not rights.groups
    c.Authenticator.any_allow_config = c.Authenticator.manage_groups = True
    c.Authenticator.username_pattern = r"[^\s\x00-\x1f\x7f/:,]{1,64}\Z"  # JupyterHub looks at the beginning only
    # Whoever has left the site is out after a day; sessions that run go on.
    c.JupyterHub.cookie_max_age_days = 1


def _single_sign_on(c: Any, settings: Settings, place: Place) -> None:
    # Imported only where they are used: their libraries would make every start of a hub longer.
    from sciencebox.hub.directory import NOT_IN_A_GROUP, SingleSignOn, by_way_of, names

    oidc, rights = settings.accounts.oidc, settings.accounts.rights
    c.JupyterHub.authenticator_class = SingleSignOn
    sign_on = c.SingleSignOn
    sign_on.issuer = oidc.issuer
    sign_on.client_id = oidc.client_id
    sign_on.client_secret = place.secret(DIRECTORY_SECRET)
    sign_on.login_service = oidc.title
    sign_on.scope = oidc.scopes
    sign_on.username_claim = oidc.name_claim
    sign_on.auth_state_groups_key = lambda state: names(state["oauth_user"].get(oidc.groups_claim))
    sign_on.oauth_callback_url = url_path_join(settings.server.address(settings.server.hostname), "hub/oauth_callback")
    sign_on.http_request_kwargs = by_way_of(settings.network)
    sign_on.allowed_groups = set(rights.groups)
    sign_on.admin_groups = set(rights.administrator_groups)
    sign_on.custom_403_message = NOT_IN_A_GROUP


def _directory(c: Any, settings: Settings, place: Place) -> None:
    from sciencebox.hub.directory import SiteDirectory

    ldap, rights = settings.accounts.ldap, settings.accounts.rights
    server = urlsplit(ldap.server or "")
    c.JupyterHub.authenticator_class = SiteDirectory
    directory = c.SiteDirectory
    directory.server_address = server.hostname
    if server.port:
        directory.server_port = server.port
    # Nothing is said in the clear, and to nobody whose certificate was not checked.
    directory.tls_strategy = "on_connect" if server.scheme == "ldaps" else "before_bind"
    directory.tls_kwargs = {"validate": ssl.CERT_REQUIRED}
    directory.lookup_dn = directory.use_lookup_dn_username = True
    directory.valid_username_regex = r"^[^\s/:,]{1,64}$"
    directory.user_search_base = ldap.user_base
    directory.user_attribute = directory.lookup_dn_user_dn_attribute = ldap.user_attribute
    if ldap.reader:
        directory.lookup_dn_search_user = ldap.reader
        directory.lookup_dn_search_password = place.secret(DIRECTORY_SECRET)
    directory.group_base, directory.group_attribute = ldap.group_base, ldap.group_attribute
    directory.group_search_filter = ldap.group_filter
    directory.user_groups, directory.admin_groups = set(rights.groups), set(rights.administrator_groups)


def accounts(c: Any, settings: Settings, secrets: Path) -> None:
    """Accounts that the hub itself keeps, with first passwords from the folder `secrets`."""
    accounts = settings.accounts
    c.JupyterHub.authenticator_class = ScienceBoxAuthenticator
    c.Authenticator.admin_users = {accounts.administrator, *c.Authenticator.get("admin_users", ())}
    c.Authenticator.allow_all = True  # who may sign in is decided by approval
    # Whose approval is withdrawn is out at the next request, by browser or by token.
    c.Authenticator.auth_refresh_age, c.Authenticator.auth_refresh_strict = 1, True
    c.ScienceBoxAuthenticator.enable_signup = accounts.sign_up
    c.ScienceBoxAuthenticator.minimum_password_length = 10
    c.ScienceBoxAuthenticator.check_common_password = True
    c.ScienceBoxAuthenticator.allowed_failed_logins = 5
    c.ScienceBoxAuthenticator.seconds_before_next_try = 60
    c.ScienceBoxAuthenticator.administrator = accounts.administrator
    c.ScienceBoxAuthenticator.first_password_file = str(secrets / "first_password")
    c.ScienceBoxAuthenticator.demo_passwords_file = str(secrets / "demo_passwords.json")


def _sessions(c: Any, settings: Settings, place: Place) -> None:
    c.JupyterHub.spawner_class = GPUDockerSpawner
    spawner = c.GPUDockerSpawner
    spawner.image = place.session_image
    spawner.pull_policy = "never"  # images are built by the deployment, before anyone waits for them
    spawner.prefix = settings.name
    spawner.name_template = "{prefix}-session-{username}"
    spawner.network_name = f"{settings.name}-sessions"
    spawner.use_internal_ip = True
    spawner.remove = True  # a restarted session is a new container: old devices are never reused
    # A start waits for its GPU as long as it takes, and others start meanwhile: the desk bounds those at once.
    spawner.start_timeout = LONGEST_WAIT_S
    c.JupyterHub.concurrent_spawn_limit = 0
    spawner.http_timeout = settings.sessions.start_timeout
    spawner.cmd = ["jupyterhub-singleuser"]
    spawner.default_url = "/lab"
