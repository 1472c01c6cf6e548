"""The data of a deployment are removed whole, and nothing that is elsewhere."""

from __future__ import annotations

import io
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console
from sciencebox.host import erase, mounting
from sciencebox.host.steps import Screen, StepError

if TYPE_CHECKING:
    from pathlib import Path

MOUNTS = """22 1 8:1 / / rw - ext4 /dev/sda1 rw
30 22 0:5 / /srv/box/data rw - nfs server:/data rw
31 22 0:6 / /srv/boxes rw - ext4 /dev/sdb rw
32 22 0:7 / /srv/box/homes/a\\040b rw - ext4 /dev/sdc rw
"""


@pytest.fixture
def screen() -> Screen:
    """A screen that nobody looks at."""
    return Screen(Console(file=io.StringIO()))


def data(root: Path) -> Path:
    """The data of a deployment."""
    for folder in ("state/secrets", "homes/ada", "data"):
        (root / folder).mkdir(parents=True)
    (root / "state/deploy.log").touch()
    return root


def test_what_is_mounted_from_elsewhere_is_never_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, screen: Screen
) -> None:
    """Also where a link leads: a mount is listed by where it really is."""
    data(tmp_path / "disk/box")
    (tmp_path / "srv").symlink_to(tmp_path / "disk")
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.replace("/srv/box", f"{tmp_path}/disk/box"))
    monkeypatch.setattr(mounting, "MOUNTINFO", mounts)
    with pytest.raises(StepError, match=r"disk/box/data, .* is mounted from elsewhere"):
        erase.erase(tmp_path / "srv/box", screen)
    assert (tmp_path / "disk/box/homes/ada").exists()
    mounts.write_bytes(b"32 22 0:7 / /media/caf\xe9 rw - vfat /dev/sdd rw\n")  # a stick of somebody's, not in UTF-8
    assert erase.erase(tmp_path / "srv/box", screen) == f"removed {tmp_path}/disk/box"
    assert not (tmp_path / "disk/box").exists()


def test_a_disk_of_its_own_is_emptied_and_stays_mounted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, screen: Screen
) -> None:
    root = data(tmp_path / "box")
    (tmp_path / "mountinfo").write_text(f"30 22 8:17 / {root} rw - xfs /dev/sdb1 rw\n")
    monkeypatch.setattr(mounting, "MOUNTINFO", tmp_path / "mountinfo")
    assert erase.erase(root, screen) == f"removed the data in {root}"
    assert list(root.iterdir()) == []


def test_data_behind_a_link_are_removed_with_it(tmp_path: Path, screen: Screen) -> None:
    (tmp_path / "box").symlink_to(data(tmp_path / "disk"))
    erase.erase(tmp_path / "box", screen)
    assert [path.name for path in tmp_path.iterdir()] == []


def test_what_links_lead_to_stays_and_is_told(tmp_path: Path, screen: Screen) -> None:
    (tmp_path / "nas/homes/ada").mkdir(parents=True)
    root = data(tmp_path / "box")
    shutil.rmtree(root / "homes")
    (root / "homes").symlink_to(tmp_path / "nas/homes")
    (root / "data/glioma").symlink_to("/mnt/archive/glioma")
    stays = f"what links lead to stays: homes ({tmp_path}/nas/homes), data/glioma (/mnt/archive/glioma)"
    assert erase.erase(root, screen) == f"removed {root}; {stays}"
    assert (tmp_path / "nas/homes/ada").exists()


def test_what_others_have_put_beside_it_stays(tmp_path: Path, screen: Screen) -> None:
    root = data(tmp_path / "disk")
    (root / "archive").mkdir()
    stays = "what is not of the deployment stays: archive"
    assert erase.erase(root, screen) == f"removed the data in {root}; {stays}"
    assert [path.name for path in root.iterdir()] == ["archive"]


def test_what_was_interrupted_can_be_done_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, screen: Screen
) -> None:
    root, remove = data(tmp_path / "box"), shutil.rmtree

    def interrupted(path: Path, **how: Any) -> None:
        if path.name in ("homes", "state"):  # however far it came with the others
            raise KeyboardInterrupt
        remove(path, **how)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            erase.erase(root, screen)
        patch.setattr(shutil, "rmtree", lambda path: interrupted(path) if path.name == "state" else remove(path))
        with pytest.raises(KeyboardInterrupt):
            erase.erase(root, screen)
    assert [str(path.relative_to(root)) for path in root.rglob("*")] == ["state", "state/deploy.log"]
    assert erase.erase(root, screen) == f"removed {root}"


def test_a_folder_that_is_no_deployment_is_not_removed(tmp_path: Path, screen: Screen) -> None:
    (tmp_path / "box").mkdir()
    with pytest.raises(StepError, match="does not look like the data of a deployment"):
        erase.erase(tmp_path / "box", screen)
    assert (tmp_path / "box").exists()
    assert erase.erase(tmp_path / "none", screen) == "nothing there"
