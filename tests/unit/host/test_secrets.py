"""Secrets are generated once and readable by root only."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from sciencebox.host.secrets import Secrets, password

if TYPE_CHECKING:
    from pathlib import Path


def contents(folder: Path) -> dict[str, str]:
    """All secrets."""
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_secrets_are_made_once(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path / "secrets")
    assert secrets.provide([], accounts_exist=False) == [
        "cookie_secret",
        "proxy_token",
        "service_token",
        "metrics_token",
        "first_password",
    ]
    before = contents(secrets.folder)
    assert secrets.provide([], accounts_exist=True) == []
    assert contents(secrets.folder) == before
    assert re.fullmatch(r"[0-9a-f]{64}\n", before["cookie_secret"])


def test_only_the_owner_may_read_them(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path / "secrets")
    secrets.provide(["ada"], accounts_exist=False)
    assert secrets.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in secrets.folder.iterdir()} == {0o600}


def test_a_used_one_time_password_does_not_come_back(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path)
    secrets.provide([], accounts_exist=False)
    (tmp_path / "first_password").unlink()
    secrets.provide([], accounts_exist=True)
    assert secrets.first_password is None


def test_demonstration_accounts_keep_their_passwords(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path)
    assert "password of ada" in secrets.provide(["ada"], accounts_exist=False)
    ada = secrets.demo_passwords["ada"]
    assert secrets.provide(["ada", "grace"], accounts_exist=True) == ["password of grace"]
    assert secrets.demo_passwords["ada"] == ada
    assert secrets.demo_passwords["grace"] != ada


def test_a_secret_of_the_site_is_kept_for_the_hub_alone_and_forgotten_with_its_setting(tmp_path: Path) -> None:
    secrets, source = Secrets(tmp_path / "secrets"), tmp_path / "from-the-site"
    secrets.provide([], accounts_exist=True)
    source.write_text("s3cret\n")
    source.chmod(0o644)
    secrets.keep("directory_secret", source)
    kept, age = secrets.folder / "directory_secret", secrets.age("directory_secret")
    assert kept.read_text() == "s3cret\n"
    assert kept.stat().st_mode & 0o777 == 0o600
    secrets.keep("directory_secret", source)
    assert secrets.age("directory_secret") == age, "the hub would be restarted for nothing"
    source.write_text("another")
    secrets.keep("directory_secret", source)
    assert secrets.age("directory_secret") != age
    secrets.keep("directory_secret", None)
    assert not kept.exists()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        secrets.keep("directory_secret", tmp_path / "nowhere")


def test_passwords_can_be_typed() -> None:
    made = {password() for _ in range(50)}
    assert len(made) == 50
    for each in made:
        assert re.fullmatch(r"(\w{4}-){3}\w{4}", each)
        assert not set(each) & set("0O1lI")
