"""The hub's configuration on a cluster: ours is added to zero-to-jupyterhub's, and nothing of it is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sciencebox.hub.accounts import ScienceBoxAuthenticator
from sciencebox.hub.cluster import configure
from sciencebox.sessions.kube import GPUKubeSpawner
from traitlets.config import Config

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What zero-to-jupyterhub has configured when it runs our file."""
    settings = tmp_path / "sciencebox.yaml"
    settings.write_text("sessions: {start_timeout: 600}\naccounts: {administrator: root}\n", encoding="utf-8")
    monkeypatch.setenv("SCIENCEBOX_SETTINGS", str(settings))
    monkeypatch.setenv("SCIENCEBOX_SECRETS", "/run/secrets/sciencebox")
    c: Any = Config()
    c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
    c.JupyterHub.base_url = "/box/"
    c.JupyterHub.hub_bind_url = "http://:8081"
    c.JupyterHub.template_paths = ["/theirs"]
    c.JupyterHub.template_vars = {"announcement": "Tuesday"}
    c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0, "headers": {"X": "1"}}
    c.JupyterHub.services = [{"name": "theirs", "api_token": "t"}]
    c.JupyterHub.load_roles = [{"name": "theirs", "services": ["theirs"], "scopes": []}]
    c.KubeSpawner.volumes = {"home": {"name": "home"}}
    c.KubeSpawner.start_timeout = 300
    return c


def test_ours_is_added_and_theirs_is_kept(given: Any) -> None:
    configure(given)
    hub = given.JupyterHub
    assert hub.spawner_class is GPUKubeSpawner
    assert hub.template_paths[0] == "/theirs"
    assert hub.template_vars["announcement"] == "Tuesday"
    assert hub.tornado_settings == {"slow_spawn_timeout": 2, "headers": {"X": "1"}}
    assert [service["name"] for service in hub.services] == ["theirs", "sciencebox", "sciencebox-culler"]
    assert [role["name"] for role in hub.load_roles] == ["theirs", "sciencebox", "sciencebox-culler"]
    assert "--url=http://127.0.0.1:8081/box/hub/api" in hub.services[2]["command"]
    assert given.KubeSpawner == {"volumes": {"home": {"name": "home"}}, "start_timeout": 300}
    assert given.GPUKubeSpawner.http_timeout == 600
    assert "volumes" not in given.GPUKubeSpawner


@pytest.mark.parametrize(
    "named", [ScienceBoxAuthenticator, "sciencebox.hub.accounts.ScienceBoxAuthenticator"], ids=["class", "name"]
)
def test_accounts_of_our_own_begin_with_the_secret_that_is_mounted(given: Any, named: Any) -> None:
    given.JupyterHub.authenticator_class = named
    given.Authenticator.admin_users = ["ada"]
    configure(given)
    assert given.Authenticator.admin_users == {"root", "ada"}
    assert given.ScienceBoxAuthenticator.first_password_file == "/run/secrets/sciencebox/first_password"
    assert given.JupyterHub.template_vars["sciencebox_accounts"]


def test_a_sign_in_service_of_the_sites_is_left_alone(given: Any) -> None:
    given.JupyterHub.authenticator_class = "generic-oauth"
    configure(given)
    assert given.JupyterHub.authenticator_class == "generic-oauth"
    assert "Authenticator" not in given
    assert not given.JupyterHub.template_vars["sciencebox_accounts"]


@pytest.mark.parametrize(("url", "waits"), [("sqlite:///hub.sqlite", True), ("postgresql://db/hub", False)])
def test_a_database_that_is_a_file_is_waited_for_while_it_is_written(given: Any, url: str, waits: bool) -> None:
    given.JupyterHub.db_url = url
    given.JupyterHub.db_kwargs = {"pool_recycle": 60}
    configure(given)
    kwargs = given.JupyterHub.db_kwargs
    assert kwargs["pool_recycle"] == 60
    assert (kwargs.get("connect_args", {}).get("timeout", 0) > 5) is waits  # SQLite's own, in seconds


def test_settings_that_cannot_be_used_end_the_hub_with_the_place(given: Any, tmp_path: Path) -> None:
    (tmp_path / "sciencebox.yaml").write_text("sesions: {}\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"sciencebox\.yaml:1"):
        configure(given)
