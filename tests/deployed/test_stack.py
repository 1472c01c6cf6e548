"""A server that publishes its stack, and one whose stack is mounted: what their users and other servers meet."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
import requests
from sciencebox.host import images
from sciencebox.host.ports import PROJECT_LABEL
from sciencebox.host.watch import SERVICE_LABEL

from tests import cvmfs
from tests.cvmfs import NAME
from tests.deployed.conftest import make
from tests.service import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.service import Service

pytestmark = pytest.mark.engine

PORT = 10082
IMAGE = "sciencebox/test-client:1"


@pytest.fixture
def repository(stack: Path) -> Path:
    """The stack, published before."""
    found = cvmfs.cached_repository(stack)
    if found is None:
        pytest.skip("no client for CVMFS: run `make test-tools` as root, with Rust and FUSE (Debian: fuse3)")
    return found


@pytest.fixture
def setting(service: Service, settings: str) -> Callable[[str], str]:
    """Deploys other settings of the stack, and says what `make deploy` said."""

    def deploy(stack: str) -> str:
        service.settings.write_text(settings.replace("stack: {variant: cpu", f"stack: {{variant: cpu{stack}"))
        return make("deploy", service.settings).stdout

    return deploy


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A folder whose mounts reach containers, as /cvmfs is on a server with systemd."""
    folder = tmp_path / "cvmfs"
    folder.mkdir()
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "--make-rshared", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def client_image(service: Service, repository: Path) -> str:
    """An image such as CERN's, with the client that is there where there is a repository."""
    assert repository
    program = cvmfs.client()
    assert program is not None
    made = f"FROM {images.tag('base')}\nCOPY cvmfs2 cvmfs-cli /usr/local/bin/\nRUN mkdir -p /etc/cvmfs /var/lib/cvmfs\n"
    files = {"Dockerfile": made.encode(), "cvmfs2": cvmfs.CVMFS2.encode(), "cvmfs-cli": program.read_bytes()}
    packed = images.archive([images.File(name, content, executable=True) for name, content in files.items()])
    service.engine.images.build(fileobj=packed, custom_context=True, tag=IMAGE, rm=True)
    return IMAGE


def test_the_stack_is_published_for_other_servers(
    service: Service, repository: Path, setting: Callable[[str], str]
) -> None:
    keys = service.state / "keys"
    for source, target in ((repository / "web", service.data_root / "repository"), (repository / "keys", keys)):
        subprocess.run(["cp", "-al", source, target], check=True)  # else this would be published from nothing
    url = f"http://localhost:{PORT}/cvmfs/{NAME}"
    said = setting(f", publish: {{enabled: true, port: {PORT}}}")
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


def test_a_session_sees_what_a_client_mounts_and_outlives_a_remount(
    service: Service, repository: Path, shared: Path, tmp_path: Path, setting: Callable[[str], str]
) -> None:
    view = f"/cvmfs/{NAME}/lcg/views/SB_1"
    with cvmfs.served(repository / "web") as url:
        client = cvmfs.Client(url, shared / NAME, tmp_path)
        try:
            said = setting(f", source: client, mount: {shared}")
            assert "mounted: SB_1" in said
            with pytest.raises(requests.ConnectionError):  # this one is not published
                requests.get(f"http://localhost:{PORT}/cvmfs/{NAME}", timeout=10)
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


def test_a_client_of_the_deployment_mounts_for_this_server_and_for_sessions(
    service: Service, repository: Path, shared: Path, client_image: str, setting: Callable[[str], str]
) -> None:
    view = f"/cvmfs/{NAME}/lcg/views/SB_1"
    front = service.engine.networks.get(f"{service.name}_front").attrs["IPAM"]["Config"][0]["Gateway"]
    with cvmfs.served(repository / "web", front) as url:
        origin = f"{{name: {NAME}, url: '{url}', key: {repository}/keys/{NAME}.pub}}"
        client = f"client: {{enabled: true, image: '{client_image}', origins: [{origin}]}}"
        said = setting(f", source: client, mount: {shared}, {client}")
        assert "all healthy" in said
        assert (shared / NAME / "lcg/views/SB_1").is_dir(), "this server sees it, too"
        told = " ".join(make("doctor", service.settings, check=False).stdout.split())
        assert "mounted at /cvmfs" in told
        with service.session("maria"):
            assert service.run("maria", ["ls", view])[1].strip().startswith("x86_64-")
            (container,) = service.engine.containers.list(
                filters={"label": [f"{PROJECT_LABEL}={service.name}", f"{SERVICE_LABEL}=client"]}
            )
            assert container.exec_run(["sh", "-c", "kill -9 $(pidof cvmfs-cli)"]).exit_code == 0
            assert service.run("maria", ["ls", view])[0] != 0
            wait_until(lambda: service.run("maria", ["ls", view])[0] == 0, "it is mounted anew, for sessions, too")
    setting("")
    assert not (shared / NAME).is_mount(), "nothing is left behind"
