"""What the client that mounts repositories is told and does, and which mounts reach containers."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sciencebox.host.mounting import configuration, mounted_below, propagates, read_files
from sciencebox.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

KEEP = Path(__file__).parents[3] / "deploy/compose/client/keep"
OWN, CERN = "software.example.org", "sft.cern.ch"
URL = f"http://server.example.org:8000/cvmfs/{OWN}"


def settings(key: str = "/etc/box/own.pub", **client: Any) -> Settings:
    """Of a site with a repository of its own, and CERN's."""
    origins = [{"name": OWN, "url": URL, "key": key}]
    service = {"enabled": True, "origins": origins, **client}
    return Settings.model_validate(
        {"stack": {"source": "client", "repository": OWN, "more": [CERN], "client": service}}
    )


@pytest.mark.parametrize(
    ("client", "network", "proxy"),
    [
        ({}, {}, "DIRECT"),
        ({}, {"HTTP_PROXY": "http://proxy.example.org:3128"}, "'http://proxy.example.org:3128;DIRECT'"),
        ({"proxy": "DIRECT"}, {"HTTP_PROXY": "http://proxy.example.org:3128"}, "DIRECT"),
        ({"proxy": "http://a:3128|http://b:3128;DIRECT"}, {}, "'http://a:3128|http://b:3128;DIRECT'"),
        ({}, {"HTTP_PROXY": "http://a:$(reboot)@proxy"}, "'http://a:$(reboot)@proxy;DIRECT'"),
    ],
)
def test_how_the_client_reaches_servers(client: dict[str, Any], network: dict[str, str], proxy: str) -> None:
    files = configuration(settings(**client), network)
    assert f"CVMFS_HTTP_PROXY={proxy}\n" in files["default.local"]


def test_the_client_knows_its_cache_its_repositories_and_where_the_sites_own_comes_from(tmp_path: Path) -> None:
    (tmp_path / "own.pub").write_text("A public key.\n")
    files = read_files(settings(str(tmp_path / "own.pub"), cache="2 GiB"), {})
    assert set(files) == {"default.local", f"config.d/{OWN}.conf", f"sciencebox/{OWN}.pub"}
    assert "CVMFS_QUOTA_LIMIT=2147\n" in files["default.local"]
    assert f"CVMFS_REPOSITORIES={OWN},{CERN}\n" in files["default.local"]
    assert files[f"config.d/{OWN}.conf"] == (
        f"CVMFS_SERVER_URL={URL}\nCVMFS_PUBLIC_KEY=/etc/cvmfs/sciencebox/{OWN}.pub\n"
    )
    assert files[f"sciencebox/{OWN}.pub"] == "A public key.\n"
    assert read_files(Settings(), {}) == {}


MOUNTS = """\
20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 20 0:40 / /cvmfs rw,relatime - autofs systemd-1 rw
31 30 0:41 / /cvmfs/sft.cern.ch ro,nosuid master:7 - fuse cvmfs2 ro
32 20 0:5 / /srv/box/data rw - nfs server:/data rw
33 20 0:6 / /srv/boxes rw - ext4 /dev/sdb rw
34 20 0:7 / /srv/box/homes/a\\040b rw - ext4 /dev/sdc rw
"""


@pytest.mark.parametrize(
    ("folder", "reach_containers", "and_back"),
    [
        ("/srv/cvmfs", True, True),
        ("/cvmfs", False, False),
        ("/cvmfs/other", False, False),
        ("/cvmfs/sft.cern.ch", True, False),
    ],
)
def test_whether_mounts_reach_containers_is_read_from_the_mount_that_a_folder_is_on(
    folder: str, *, reach_containers: bool, and_back: bool
) -> None:
    assert propagates(Path(folder), MOUNTS) is reach_containers
    assert propagates(Path(folder), MOUNTS, back=True) is and_back


def test_what_is_mounted_below_a_folder_is_found() -> None:
    assert mounted_below(Path("/srv/box"), MOUNTS) == ["/srv/box/data", "/srv/box/homes/a b"]
    assert mounted_below(Path("/srv/other"), MOUNTS) == []


# A client that mounts files in memory, and fails the first time for CERN's. It sees what it was told.
CLIENT = f"""#!/bin/sh
. /etc/cvmfs/default.local && test "$CVMFS_QUOTA_LIMIT" = 1 || exit 2
if [ "$3" = {CERN} ] && mkdir /tmp/failed 2> /dev/null; then exit 1; fi
mount -t tmpfs "$3" "$4"
"""
UNMOUNT = """#!/bin/sh
/bin/umount "$@" && echo "unmounted $2"
"""
LIST = """#!/bin/sh
test ! -e "$1/killed" || { echo "ls: cannot open directory '$1': Transport endpoint is not connected" >&2; exit 2; }
exec /bin/ls "$@"
"""


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The service's script, in a mount namespace of its own: its /etc, /tmp and /cvmfs are nobody else's."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("mounting needs root")
    programs = {"cvmfs2": CLIENT, "umount": UNMOUNT, "ls": LIST, "sleep": "#!/bin/sh\nexec /bin/sleep 0.05\n"}
    for folder in ("bin", "etc/cvmfs", "etc/sciencebox/client"):
        (tmp_path / folder).mkdir(parents=True)
    for name, text in programs.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "etc/sciencebox/client/default.local").write_text("CVMFS_QUOTA_LIMIT=1\n")
    shutil.copy(KEEP, tmp_path / "etc/sciencebox/keep")
    Path("/cvmfs").mkdir(exist_ok=True)
    inside = 'mount --bind "$0/etc" /etc && mount --bind "$0/bin" /media && mount -t tmpfs x /tmp && '
    inside += "mount -t tmpfs x /cvmfs && exec sh /etc/sciencebox/keep 2>&1"
    environment = {"PATH": "/media:/usr/sbin:/usr/bin:/sbin:/bin", "REPOSITORIES": f"{OWN} {CERN}"}
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", inside, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_the_service_mounts_tries_again_mounts_anew_and_leaves_nothing_behind(keeper: subprocess.Popen[str]) -> None:
    assert keeper.stdout is not None
    said = keeper.stdout.readline
    inside = ["nsenter", "--mount", f"--target={keeper.pid}"]
    assert said() == f"{OWN}: mounted\n"
    assert said().startswith(f"{CERN}: cannot be mounted now; it is tried again.")
    assert said() == f"{CERN}: mounted\n"
    check = ["env", f"REPOSITORIES={OWN} {CERN}", "sh", "/etc/sciencebox/keep", "check"]
    assert subprocess.run([*inside, *check], check=False).returncode == 0
    check[1] += " other.example.org"
    assert subprocess.run([*inside, *check], check=False).returncode == 1
    subprocess.run([*inside, "/bin/umount", f"/cvmfs/{OWN}"], check=True)  # as when its client has ended
    assert said() == f"{OWN}: mounted\n"
    subprocess.run([*inside, "touch", f"/cvmfs/{CERN}/killed"], check=True)  # as when it had no time to unmount
    assert [said(), said()] == [f"unmounted /cvmfs/{CERN}\n", f"{CERN}: mounted\n"]
    keeper.terminate()
    assert [said(), said()] == [f"unmounted /cvmfs/{OWN}\n", f"unmounted /cvmfs/{CERN}\n"]
    assert keeper.wait(timeout=30) == 0
