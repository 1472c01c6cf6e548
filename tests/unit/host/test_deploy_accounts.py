"""Whether the administrator of the settings has an account decides whether a one-time password is made."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

import pytest
from sciencebox.host.secrets import has_account

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "hub.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE users_info (username TEXT)")
        connection.execute("INSERT INTO users_info VALUES ('admin')")
        connection.commit()
    return path


def test_a_renamed_administrator_gets_a_password_of_their_own(database: Path) -> None:
    assert has_account(database, "admin")
    assert not has_account(database, "radiology-admin")


def test_before_the_first_start_nobody_has_an_account(tmp_path: Path) -> None:
    assert not has_account(tmp_path / "hub.sqlite", "admin")


def test_where_the_sites_directory_knew_everybody_the_first_of_ones_own_gets_a_password(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "hub.sqlite")) as connection:
        connection.execute("CREATE TABLE users (name TEXT)")
    assert not has_account(tmp_path / "hub.sqlite", "admin")


def test_a_database_that_cannot_be_read_gets_no_new_password(tmp_path: Path) -> None:
    (tmp_path / "hub.sqlite").write_text("not a database")
    assert has_account(tmp_path / "hub.sqlite", "admin")
