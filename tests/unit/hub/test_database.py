"""The hub's database: over an upgrade of JupyterHub, and while somebody else writes to it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sysconfig
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from alembic import command
from alembic.config import Config
from jupyterhub import dbutil, orm
from sciencebox.accounting.database import ON_THIS_SERVER
from sqlalchemy import text

from tests.fakes import little_hub

if TYPE_CHECKING:
    from pathlib import Path


def revision(database: Path) -> str:
    with closing(sqlite3.connect(database)) as opened:
        return str(opened.execute("SELECT version_num FROM alembic_version").fetchone()[0])


@pytest.mark.parametrize("how", [{}, ON_THIS_SERVER], ids=["which had no log", "which was killed"])
def test_a_database_of_the_release_before_is_brought_up_to_date_and_a_copy_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]
):
    monkeypatch.setenv("PATH", sysconfig.get_path("scripts"), prepend=os.pathsep)  # where JupyterHub finds alembic
    used, state = tmp_path / "used", tmp_path / "state"
    database, url = used / "hub.sqlite", f"sqlite:///{used / 'hub.sqlite'}"
    used.mkdir()
    factory = orm.new_session_factory(url, **how)
    with factory() as db:
        db.add(orm.User(name="ada"))
        db.commit()
    now = revision(database)
    with dbutil._temp_alembic_ini(url) as ini:
        command.downgrade(Config(ini), "-1")
    before = revision(database)
    assert before != now
    shutil.copytree(used, state)  # as it is, with what is in its log only
    factory.kw["bind"].dispose()

    with little_hub.running(state) as hub:
        assert hub.sign_in("ada").get("spawn").ok
    assert revision(state / "hub.sqlite") == now
    assert [revision(copy) for copy in state.glob("hub.sqlite.*")] == [before]


def test_who_reads_does_not_wait_for_who_writes_and_who_writes_waits_long(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'hub.sqlite'}"
    factory = orm.new_session_factory(url, **ON_THIS_SERVER)
    with factory() as db, closing(sqlite3.connect(tmp_path / "hub.sqlite", isolation_level=None)) as other:
        db.add(orm.User(name="ada"))
        db.commit()
        other.execute("BEGIN EXCLUSIVE")
        assert db.query(orm.User).one().name == "ada"
        assert db.execute(text("PRAGMA busy_timeout")).scalar() >= 30_000  # milliseconds; JupyterHub alone: 5,000
    factory.kw["bind"].dispose()
