"""The service is brought up, brought up again without effect, changed, stopped and removed."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.deploy.conftest import Deployment

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def up(deployment: Deployment) -> Deployment:
    """The deployment, up."""
    done = deployment.run("deploy")
    assert done.returncode == 0, done.stdout
    passwords = json.loads((deployment.data_root / "state/secrets/demo_passwords.json").read_text())
    assert passwords["ada"] in done.stdout
    assert (deployment.data_root / "state/secrets/first_password").read_text().strip() in done.stdout
    return deployment


def fetch(address: str) -> tuple[int, str]:
    """The status of an address and where it leads; redirects are not followed, certificates not judged."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            return None

    context = ssl._create_unverified_context()
    opener = urllib.request.build_opener(Stay, urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(address, timeout=10) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, answer.headers.get("Location", "")


def test_a_taken_port_is_a_sentence(deployment: Deployment) -> None:
    with socket.socket() as other:
        other.bind(("", deployment.values["server"]["https_port"]))
        other.listen()
        refused = deployment.run("deploy")
    assert refused.returncode == 1
    assert f"{deployment.values['server']['https_port']} is taken by" in refused.stdout
    assert "set another `server.https_port`" in refused.stdout
    assert "Traceback" not in refused.stdout + refused.stderr
    assert deployment.containers() == {}


def test_it_answers_by_tls_and_leads_there(up: Deployment) -> None:
    server = up.values["server"]
    assert fetch(f"https://localhost:{server['https_port']}/hub/login") == (200, "")
    there = f"https://localhost:{server['https_port']}/hub/login?next=x"
    assert fetch(f"http://localhost:{server['http_port']}/hub/login?next=x") == (308, there)


def test_a_demonstration_has_data_that_say_that_they_are_synthetic(up: Deployment) -> None:
    folder = up.data_root / "data/synthetic"
    assert len((folder / "labels.csv").read_text().splitlines()) == 1 + 120 * 6
    assert json.loads((folder / "source.json").read_text())["synthetic"] is True
    assert folder.stat().st_mode & 0o005 == 0o005, "every session may read it"


def test_the_status_is_told(up: Deployment) -> None:
    told = up.run("status")
    assert told.returncode == 0
    assert "is up." in told.stdout
    assert "No sessions." in told.stdout


def test_again_it_changes_nothing(up: Deployment) -> None:
    containers, images = up.containers(), up.images()
    began = time.monotonic()
    done = up.run("deploy")
    assert done.returncode == 0, done.stdout
    assert "Images: all up to date" in done.stdout
    assert "Services: unchanged" in done.stdout
    assert (up.containers(), up.images()) == (containers, images)
    assert time.monotonic() - began < 60


def test_new_settings_replace_the_hub_alone(up: Deployment) -> None:
    before = up.containers()
    up.values["gpus"] = {"simulate": 2}
    done = up.run("deploy")
    assert done.returncode == 0, done.stdout
    after = up.containers()
    assert {name for name in after if after[name] != before[name]} == {"hub"}


def test_only_the_front_is_reached_from_outside(up: Deployment) -> None:
    published = {}
    for name, identifier in up.containers().items():
        ports = up.client.api.inspect_container(identifier)["HostConfig"]["PortBindings"]
        published[name] = sorted(binding["HostPort"] for bindings in (ports or {}).values() for binding in bindings)
    server = up.values["server"]
    assert published == {
        "caddy": sorted([str(server["https_port"]), str(server["http_port"])]),
        "firewall": [],
        "hub": [],
        "proxy": [],
    }


def test_secrets_are_for_root(up: Deployment) -> None:
    state = up.data_root / "state"
    assert state.stat().st_mode & 0o777 == 0o700
    for path in [state / "compose.env", *(state / "secrets").iterdir()]:
        assert path.stat().st_mode & 0o777 == 0o600, path


def test_down_keeps_the_data_destroy_asks_and_a_backup_brings_it_back(up: Deployment) -> None:
    mark = up.data_root / "homes/ada/work.txt"
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text("results")
    archive = up.folder / "backup.tar"
    saved = up.run("backup", str(archive))
    assert saved.returncode == 0, saved.stdout
    rules = ["nft", "list", "table", "inet", f"sciencebox-{up.values['name']}"]
    assert subprocess.run(rules, capture_output=True, check=False).returncode == 0
    assert up.run("down").returncode == 0
    assert up.containers() == {}
    assert subprocess.run(rules, capture_output=True, check=False).returncode != 0, "the kernel's rules are gone, too"
    assert mark.read_text() == "results"
    assert up.run("status").returncode == 1
    refused = up.run("destroy", answer="\n")
    assert refused.returncode == 1
    assert "Nothing was removed." in refused.stderr
    assert mark.exists()
    assert up.run("destroy", answer="sb-pytest\n").returncode == 0
    assert not up.data_root.exists()
    restored = up.run("restore", str(archive))
    assert restored.returncode == 0, restored.stdout
    again = up.run("deploy", "--no-stack")
    assert again.returncode == 0, again.stdout
    assert mark.read_text() == "results"
    assert up.run("destroy", answer="sb-pytest\n").returncode == 0
    assert up.containers() == {}
    assert not up.data_root.exists()
