"""A server that publishes its stack, and one whose stack is mounted: what their users and other servers meet."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import requests

from tests import cvmfs
from tests.cvmfs import NAME
from tests.deployed.conftest import make
from tests.service import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.service import Service

pytestmark = pytest.mark.engine

PORT = 10082


@pytest.fixture
def repository(stack: Path) -> Path:
    """The stack, published before."""
    found = cvmfs.cached_repository(stack)
    if found is None:
        pytest.skip("no client for CVMFS: run `make test-tools` as root, with Rust and FUSE (Debian: fuse3)")
    return found


@contextmanager
def setting(service: Service, stack: str) -> Iterator[str]:
    """The service with other settings of its stack; yields what `make deploy` said."""
    before = service.settings.read_text()
    service.settings.write_text(before.replace("stack: {variant: cpu}", f"stack: {{variant: cpu, {stack}}}"))
    try:
        yield make("deploy", service.settings).stdout
    finally:
        service.settings.write_text(before)
        make("deploy", service.settings)


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A folder whose mounts reach containers, as /cvmfs is on a server with systemd."""
    folder = tmp_path / "cvmfs"
    folder.mkdir()
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "--make-rshared", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_an_environment_script_that_fails_is_said_in_the_session_and_keeps_nobody_from_it(service: Service) -> None:
    with service.session("maria"):
        service.run("maria", ["sh", "-c", "mkdir -p ~/.sciencebox && echo no-such-tool > ~/.sciencebox/environment.sh"])
    with service.session("maria") as maria:
        maria.end()  # signs in to the session
        assert "no-such-tool: command not found" in maria.reach("sciencebox/session").json()["script"]
        assert service.run("maria", ["sh", "-c", "rm -r ~/.sciencebox"])[0] == 0


def test_the_stack_is_published_for_other_servers(service: Service, repository: Path) -> None:
    keys = service.state / "keys"
    for source, target in ((repository / "web", service.data_root / "repository"), (repository / "keys", keys)):
        subprocess.run(["cp", "-al", source, target], check=True)  # else this would be published from nothing
    url = f"http://localhost:{PORT}/cvmfs/{NAME}"
    with setting(service, f"publish: {{enabled: true, port: {PORT}}}") as said:
        assert "Nothing has changed since revision" in said
        verified = cvmfs.stack_command("verify", url, "--key", keys / f"{NAME}.pub", "--json")
        assert f'"repository": "{NAME}"' in verified
        letter = requests.get(f"{url}/.cvmfspublished", timeout=10)
        root = next(line[1:] for line in letter.content.splitlines() if line.startswith(b"C")).decode()
        catalog = requests.get(f"{url}/data/{root[:2]}/{root[2:]}C", timeout=10)
        assert letter.headers["Cache-Control"] == "public, max-age=61"
        assert "immutable" in catalog.headers["Cache-Control"]
        for private in (".lock", "data/txn/1", "../../state/keys", f"../{NAME}.key"):
            assert requests.get(f"{url}/{private}", timeout=10).status_code == 404, private
        listed = make("repository", service.settings, "tags").stdout
        assert "generic-" in listed
        refused = make("repository", service.settings, "rollback", "nothing", check=False)
        assert refused.returncode != 0
        assert "There is no tag 'nothing'" in refused.stdout
        told = service.admin().ask("GET", "metrics").text
        assert "sciencebox_stack_whitelist_expiry_timestamp_seconds" in told
        assert "whitelist valid for" in make("doctor", service.settings, check=False).stdout
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=10)


def test_a_session_sees_what_a_client_mounts_and_outlives_a_remount(
    service: Service, repository: Path, shared: Path, tmp_path: Path
) -> None:
    view = f"/cvmfs/{NAME}/lcg/views/SB_1"
    with cvmfs.served(repository / "web") as url:
        client = cvmfs.Client(url, shared / NAME, tmp_path)
        try:
            with setting(service, f"source: client, mount: {shared}") as said:
                assert "mounted: SB_1" in said
                with service.session("maria"):
                    assert service.run("maria", ["ls", view])[1].strip().startswith("x86_64-")
                    assert service.run("maria", ["touch", f"{view}/mine"])[0] != 0, "it is read-only"
                    client.stop()
                    form = service.person("jonas")
                    wait_until(lambda: "Nothing is mounted at" in form.page("spawn"), "the form says what is missing")
                    with service.session("jonas"):
                        assert service.run("jonas", ["true"])[0] == 0, "without kernels, but it starts"
                    client = cvmfs.Client(url, shared / NAME, tmp_path)
                    assert service.run("maria", ["ls", view])[0] == 0, "the session goes on"
                    wait_until(lambda: '<option value="SB_1"' in form.page("spawn"), "the form offers it again")
        finally:
            client.stop()
