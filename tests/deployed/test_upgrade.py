"""Deploying again, as for an upgrade or a changed setting, while somebody works."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.deployed.conftest import make
from tests.service import wait_until

if TYPE_CHECKING:
    from tests.service import Service

pytestmark = pytest.mark.engine


def test_a_changed_setting_replaces_the_hub_and_leaves_a_session_alone(service: Service) -> None:
    with service.session("maria", gpu="any", gpu_count=1) as maria:
        hub, session = service.hub.id, service.container("maria").id
        settings = service.settings.read_text()
        service.settings.write_text(settings.replace("gpus: {", "gpus: {max_per_session: 1, "))
        try:
            said = make("deploy", service.settings).stdout
            assert "started hub" in said
            assert service.hub.id != hub
            assert service.container("maria").id == session
            assert maria.reach("api").ok, "the session's server is reached through the proxy as before"
            wait_until(maria.is_ready, "the new hub knows the session")
            refused = service.person("jonas").start(gpu="any", gpu_count=2)
            assert "gpu_count: Only 1 is possible" in refused.json()["message"]
        finally:
            service.settings.write_text(settings)
            make("deploy", service.settings)


def test_deploying_what_is_deployed_changes_nothing(service: Service) -> None:
    before = {container.id for container in service.engine.containers.list()}
    said = make("deploy", service.settings).stdout

    assert "Images: all up to date" in said
    assert "Services: unchanged" in said
    assert {container.id for container in service.engine.containers.list()} == before


def test_a_misspelt_setting_stops_before_anything_is_done(service: Service) -> None:
    settings = service.settings.read_text()
    service.settings.write_text(settings + "sesions: {pids: 100}\n")
    try:
        done = make("deploy", service.settings, check=False)
    finally:
        service.settings.write_text(settings)

    assert done.returncode != 0
    assert "unknown key `sesions`; did you mean `sessions`?" in done.stderr
    assert service.hub.status == "running"
