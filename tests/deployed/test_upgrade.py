"""Deploying again, as for an upgrade or a changed setting, while somebody works."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest
import requests

from tests import authority
from tests.deployed.conftest import make
from tests.service import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.service import Service

pytestmark = pytest.mark.engine


def test_a_changed_setting_replaces_the_hub_and_leaves_a_session_alone(service: Service, settings: str) -> None:
    with service.session("maria", gpu="any", gpu_count=1) as maria:
        hub, session = service.hub.id, service.container("maria").id
        service.settings.write_text(settings.replace("gpus: {", "gpus: {max_per_session: 1, "))
        said = make("deploy", service.settings).stdout
        assert "started hub" in said
        assert service.hub.id != hub
        assert service.container("maria").id == session
        assert maria.reach("api").ok, "the session's server is reached through the proxy as before"
        wait_until(maria.is_ready, "the new hub knows the session")
        refused = service.person("jonas").start(gpu="any", gpu_count=2)
        assert "gpu_count: Only 1 is possible" in refused.json()["message"]


def test_a_certificate_of_the_site_is_served_and_a_renewed_one_too(
    service: Service, settings: str, tmp_path: Path
) -> None:
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    own = f"tls: files, certificate: {chain}, key: {key}"
    service.settings.write_text(settings.replace("server: {", f"server: {{{own}, "))
    for _ in ("the first", "its renewal"):
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", chain]
        subprocess.run([*command, *names], check=True, capture_output=True)
        said = make("deploy", service.settings).stdout
        assert "started caddy" in said
        served = ssl.get_server_certificate(("127.0.0.1", int(service.url.rsplit(":", 1)[1])))
        assert served.strip() == chain.read_text().strip()
        assert requests.get(f"{service.url}/hub/health", verify=str(chain), timeout=10).ok
    assert (service.state / "certificates/key.pem").stat().st_mode & 0o777 == 0o600


def test_an_authority_gives_a_certificate_by_itself(service: Service, settings: str, tmp_path: Path) -> None:
    http, https = (int(re.search(rf"{key}: (\d+)", settings)[1]) for key in ("http_port", "https_port"))
    front = next(found for found in service.engine.networks.list() if found.name == f"{service.name}_front")
    with authority.running(tmp_path, front.attrs["IPAM"]["Config"][0]["Gateway"], http, https) as acme:
        asked = f"hostname: box.example, tls: acme, acme_directory: '{acme.directory}', acme_root: {acme.certificate}"
        service.settings.write_text(settings.replace("hostname: localhost", asked))
        make("deploy", service.settings)
        context = ssl.create_default_context(cadata=acme.root())
        with (
            socket.create_connection(("127.0.0.1", https)) as plain,
            context.wrap_socket(plain, server_hostname="box.example") as secure,
        ):
            certificate = secure.getpeercert()
    assert certificate["subjectAltName"] == (("DNS", "box.example"),)
    assert not (service.state / "certificates/key.pem").exists(), "a certificate that is no longer served is kept"


def test_deploying_what_is_deployed_changes_nothing(service: Service, settings: str) -> None:
    service.settings.write_text(settings)
    make("deploy", service.settings)
    before = {container.id for container in service.engine.containers.list()}
    said = make("deploy", service.settings).stdout

    assert "Images: all up to date" in said
    assert "Services: unchanged" in said
    assert {container.id for container in service.engine.containers.list()} == before


def test_a_misspelt_setting_stops_before_anything_is_done(service: Service, settings: str) -> None:
    service.settings.write_text(settings + "sesions: {pids: 100}\n")
    done = make("deploy", service.settings, check=False)
    service.settings.write_text(settings)

    assert done.returncode != 0
    assert "unknown key `sesions`; did you mean `sessions`?" in done.stderr
    assert service.hub.status == "running"
