"""The report of who used the GPUs, from the database of a hub."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sql
from sciencebox.accounting.activity import Activity
from sciencebox.accounting.leases import Lease
from sciencebox.accounting.store import LeaseStore
from sciencebox.cli import commands
from sciencebox.host import usage
from sciencebox.host.steps import StepError
from typer.testing import CliRunner

if TYPE_CHECKING:
    from pathlib import Path

NOW = time.time()
SEEN = Activity(3600.0, 1800.0, 0.9, 3 * 1024**3, 0.9e6)


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """A deployment in which =ada, of the group clinic, had a card for an hour, and bob for half of one."""
    (tmp_path / "box/state").mkdir(parents=True)
    url = f"sqlite:///{tmp_path / 'box/state/hub.sqlite'}"
    store = LeaseStore(url)
    store.migrate()
    store.write(
        [
            Lease("=ada", "s-ada", "GPU-0", "NVIDIA A100", NOW - 7200, NOW - 3600, ended=True, activity=SEEN),
            Lease("bob", "s-bob", "GPU-0", "NVIDIA A100", NOW - 3600, NOW - 1800, ended=True),
        ]
    )
    store.close()
    engine = sql.create_engine(url)
    with engine.begin() as connection:  # as JupyterHub has them
        for statement in (
            "CREATE TABLE users (id INTEGER, name TEXT)",
            "CREATE TABLE groups (id INTEGER, name TEXT)",
            "CREATE TABLE user_group_map (user_id INTEGER, group_id INTEGER)",
            "INSERT INTO users VALUES (1, '=ada')",
            "INSERT INTO groups VALUES (1, 'clinic')",
            "INSERT INTO user_group_map VALUES (1, 1)",
        ):
            connection.execute(sql.text(statement))
    engine.dispose()
    file = tmp_path / "box.yaml"
    file.write_text(f"data_root: {tmp_path / 'box'}\n")
    return file


def said(settings: Path, *arguments: str) -> str:
    done = CliRunner().invoke(commands, ["usage", "--settings", str(settings), *arguments])
    assert done.exit_code == 0, done.exception
    return done.stdout


def test_for_programs(settings: Path) -> None:
    assert [(use["name"], round(use["gpu_hours"], 3)) for use in json.loads(said(settings, "--json"))] == [
        ("=ada", 1.0),
        ("bob", 0.5),
    ]


def test_for_a_spreadsheet_no_name_is_a_formula(settings: Path) -> None:
    assert said(settings, "--csv").splitlines() == [
        "name,sessions,gpu_hours,share,utilisation,peak_memory_bytes,energy_kwh",
        "'=ada,1,1.0,0.6667,0.5,3221225472,0.25",
        "bob,1,0.5,0.3333,,,",
    ]


def test_for_people(settings: Path) -> None:
    shown = said(settings, "--by", "group")
    assert "clinic" in shown
    assert "66.7%" in shown
    assert "50%" in shown and "3 GiB" in shown and "0.25 kWh" in shown
    assert "Nobody used a GPU" in said(settings, "--to", "2020-01-01")


def test_what_is_not_a_day_or_not_there_is_said(settings: Path, tmp_path: Path) -> None:
    with pytest.raises(StepError, match="'yesterday' is not a day such as 2026-11-25"):
        usage.moment("yesterday")
    with pytest.raises(StepError, match="this deployment has not run yet"):
        usage.read(tmp_path / "none.sqlite", 0, 1)
    (tmp_path / "old.sqlite").write_bytes(b"")
    with pytest.raises(StepError, match="start the service with `make deploy` once"):
        usage.read(tmp_path / "old.sqlite", 0, 1)
