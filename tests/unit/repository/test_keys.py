"""Keys are made once, kept private, and never overwritten."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest
from sciencebox_stack.errors import StackError
from sciencebox_stack.repository.keys import KeyFiles, Master, Signer, is_by_master, make_keys, require_safe

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def keys(tmp_path: Path) -> KeyFiles:
    files = KeyFiles(tmp_path / "keys", "box.example")
    make_keys(files)
    return files


def test_private_keys_are_for_their_owner_alone(keys: KeyFiles) -> None:
    modes = {path.suffix: stat.S_IMODE(path.stat().st_mode) for path in keys.folder.iterdir()}
    assert modes == {".masterkey": 0o600, ".key": 0o600, ".pub": 0o644, ".crt": 0o644}
    assert stat.S_IMODE(keys.folder.stat().st_mode) == 0o700


def test_making_them_again_changes_nothing(keys: KeyFiles) -> None:
    before = {path.name: path.read_bytes() for path in keys.folder.iterdir()}
    make_keys(keys)
    assert {path.name: path.read_bytes() for path in keys.folder.iterdir()} == before


def test_a_public_half_that_was_lost_is_made_from_its_private_key(keys: KeyFiles) -> None:
    public, secret = keys.public.read_bytes(), keys.key.read_bytes()
    keys.public.unlink()
    keys.certificate.unlink()
    make_keys(keys)
    assert (keys.public.read_bytes(), keys.key.read_bytes()) == (public, secret)
    assert is_by_master(public, Master.read(keys).sign(b"0" * 40), b"0" * 40)
    assert Signer.read(keys).certificate == keys.certificate.read_bytes()


def test_a_master_key_that_is_kept_elsewhere_is_not_made_anew(keys: KeyFiles) -> None:
    keys.master.unlink()
    make_keys(keys)
    assert not keys.master.exists()
    with pytest.raises(StackError, match="is not there"):
        Master.read(keys)


def test_a_certificate_without_its_key_is_refused(keys: KeyFiles) -> None:
    keys.key.unlink()
    with pytest.raises(StackError, match="bring the key that belongs to it"):
        make_keys(keys)


def test_a_certificate_of_another_key_is_refused(keys: KeyFiles, tmp_path: Path) -> None:
    other = KeyFiles(tmp_path / "other", "box.example")
    make_keys(other)
    keys.certificate.write_bytes(other.certificate.read_bytes())
    with pytest.raises(StackError, match="is not the certificate of"):
        Signer.read(keys)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_keys_that_others_can_read_are_refused_with_the_cure(keys: KeyFiles, tmp_path: Path, mode: int) -> None:
    require_safe(keys, tmp_path / "web")
    keys.key.chmod(mode)
    with pytest.raises(StackError, match=f"chmod 600 {keys.key}"):
        require_safe(keys, tmp_path / "web")


def test_a_link_does_not_hide_keys_that_lie_inside_the_published_folder(keys: KeyFiles, tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    keys.key.rename(tmp_path / "web/secret")
    keys.key.symlink_to(tmp_path / "web/secret")
    with pytest.raises(StackError, match="Move them out of it"):
        require_safe(keys, tmp_path / "web")


def test_keys_inside_the_published_folder_are_refused(keys: KeyFiles, tmp_path: Path) -> None:
    for web in (keys.folder, tmp_path):
        with pytest.raises(StackError, match="inside the published folder"):
            require_safe(keys, web)
