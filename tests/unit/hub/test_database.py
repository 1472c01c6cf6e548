"""The hub's database over an upgrade of JupyterHub."""

from __future__ import annotations

import os
import sqlite3
import sysconfig
from contextlib import closing
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from jupyterhub import dbutil, orm

from tests.fakes import little_hub

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def revision(database: Path) -> str:
    with closing(sqlite3.connect(database)) as opened:
        return str(opened.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def test_a_database_of_the_release_before_is_brought_up_to_date_and_a_copy_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", sysconfig.get_path("scripts"), prepend=os.pathsep)  # where JupyterHub finds alembic
    database, url = tmp_path / "hub.sqlite", f"sqlite:///{tmp_path / 'hub.sqlite'}"
    factory = orm.new_session_factory(url)
    with factory() as db:
        db.add(orm.User(name="ada"))
        db.commit()
    factory.kw["bind"].dispose()
    now = revision(database)
    with dbutil._temp_alembic_ini(url) as ini:
        command.downgrade(Config(ini), "-1")
    before = revision(database)
    assert before != now

    with little_hub.running(tmp_path) as hub:
        assert hub.sign_in("ada").get("spawn").ok
    assert revision(database) == now
    assert [revision(copy) for copy in tmp_path.glob("hub.sqlite.*")] == [before]
