"""The session image, started as the spawner starts it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.engine

FACTS: dict[str, Any] = {
    "release": None,
    "view": None,
    "until": None,
    "cores": 2,
    "memory_bytes": 2**33,
    "gpus": [],
    "simulated": False,
    "attach": None,
}

EVENTS = """
import logging
from jsonschema.exceptions import ValidationError
from jupyter_events import EventLogger

def outcome(action, **arguments):
    try:
        action(**arguments)
    except ValidationError as error:
        return type(error).__name__
    return "accepted"

events = EventLogger()
events.register_handler(logging.NullHandler())
schema = {"$id": "https://site.example/event", "version": "1", "title": "Event", "type": "object",
          "properties": {"count": {"title": "Count", "type": "integer"}}}
events.register_event_schema(schema)
print(outcome(events.register_event_schema, schema=schema | {"$id": "no URI"}))
print(outcome(events.emit, schema_id=schema["$id"], data={"count": "three"}))
print(outcome(events.emit, schema_id=schema["$id"], data={"count": 3}))
"""


def test_a_foreign_user_with_an_empty_home_gets_a_server(session: Callable[..., Any]) -> None:
    running = session(FACTS)
    status, facts = running.ask("sciencebox/session")
    assert status == 200
    assert facts["cores"] == 2
    assert "No kernels are available" in facts["no_kernels"]
    assert running.ask("api/kernelspecs")[1]["kernelspecs"] == {}
    assert (running.home / "examples").is_symlink()
    assert {path.stat(follow_symlinks=False).st_uid for path in running.home.rglob("*")} == {20001}
    assert {line[0] for line in running.container.top()["Processes"]} <= {"20001"}


def test_the_hubs_rules_hold(session: Callable[..., Any]) -> None:
    running = session(FACTS)
    assert running.ask("api/contents")[0] == 200
    for token in ["token-of-eve", "nonsense", None]:
        assert running.ask("api/contents", token)[0] == 403
        assert running.ask("sciencebox/session", token)[0] == 403


def test_the_users_own_python_does_not_shadow_the_server(session: Callable[..., Any], tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.mkdir()
    (trap / "tornado.py").write_text("raise SystemExit('shadowed')")
    running = session(FACTS, environment={"PYTHONPATH": "/trap"}, volumes={str(trap): {"bind": "/trap", "mode": "ro"}})
    assert running.ask("sciencebox/session")[0] == 200


def test_kernels_of_the_stack_are_offered(session: Callable[..., Any], tmp_path: Path) -> None:
    kernel = tmp_path / "view/share/jupyter/kernels/pytorch/kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text(json.dumps({"argv": ["true"], "display_name": "PyTorch", "language": "python"}))
    running = session(
        FACTS | {"release": "SB_1", "view": "/view"},
        environment={"JUPYTER_PATH": "/view/share/jupyter"},
        volumes={str(tmp_path / "view"): {"bind": "/view", "mode": "ro"}},
    )
    assert list(running.ask("api/kernelspecs")[1]["kernelspecs"]) == ["pytorch"]
    assert running.ask("sciencebox/session")[1]["no_kernels"] is None


def test_a_full_disk_is_said_and_leaves_no_half_copy(session: Callable[..., Any], tmp_path: Path) -> None:
    gallery = tmp_path / "gallery"
    gallery.mkdir()
    cell = {"cell_type": "markdown", "id": "m", "metadata": {}, "source": "x" * 100_000}
    (gallery / "big.ipynb").write_text(
        json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    )
    running = session(
        FACTS,
        tmpfs={"/home/ada": "size=64k,uid=20001,mode=700"},
        volumes={str(gallery): {"bind": "/opt/sciencebox/notebooks", "mode": "ro"}},
    )
    status, body = running.ask("sciencebox/gallery/big/copy", method="POST")
    assert status == 507
    assert "disk space is used up" in body["message"]
    assert running.ask("api/contents/notebooks")[1]["content"] == []


def test_the_server_still_validates_its_events(shell: Callable[[str, str], str]) -> None:
    # The image leaves out format checkers of jsonschema; those that the server's events use are still there.
    printed = shell("session", f"/opt/sciencebox/bin/python -I - <<'END'\n{EVENTS}\nEND")
    assert printed.split() == ["ValidationError", "ValidationError", "accepted"]


def test_the_hubs_database_is_not_part_of_a_session(shell: Callable[[str, str], str]) -> None:
    program = "import sys, jupyterhub.singleuser.extension; print(sorted({'sqlalchemy', 'alembic'} & set(sys.modules)))"
    assert shell("session", f'/opt/sciencebox/bin/python -I -c "{program}"') == "[]"
