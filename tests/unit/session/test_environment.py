"""The user's environment script: what it exports is taken over, and whatever goes wrong is said and changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sciencebox_session import environment, facts

if TYPE_CHECKING:
    from pathlib import Path


def environ(home: Path, **more: str) -> dict[str, str]:
    """The environment that a session starts with."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "JUPYTERHUB_API_TOKEN": "secret",
        "NVIDIA_VISIBLE_DEVICES": "void",
        **more,
    }


def script(home: Path, text: str) -> Path:
    """The user's script."""
    path = home / ".sciencebox/environment.sh"
    path.parent.mkdir()
    path.write_text(text)
    return path


def test_without_a_script_nothing_happens(home: Path) -> None:
    found = environ(home)
    environment.apply(found)
    assert found == environ(home)


def test_what_it_exports_is_there_and_what_it_unsets_is_gone(home: Path) -> None:
    script(home, 'export DATA="two\nlines of it"\nexport PATH="$HOME/bin:$PATH"\nunset OLD\nLOCAL=1\necho hello\n')
    found = environ(home, OLD="1")
    environment.apply(found)
    assert found == environ(home, DATA="two\nlines of it", PATH=f"{home}/bin:/usr/bin:/bin")


def test_it_cannot_take_the_session_from_its_hub_or_change_its_cards(home: Path) -> None:
    script(home, "export NVIDIA_VISIBLE_DEVICES=all HOME=/elsewhere\nunset JUPYTERHUB_API_TOKEN\n")
    found = environ(home)
    environment.apply(found)
    assert found == environ(home)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("export A=1\nno-such-command-at-all\nfalse\n", "no-such-command-at-all: command not found"),
        ("exit 3\n", "status 3"),
        ("export A=1\nexit 0\n", "Use `return`"),
        ("exec true\n", "ended its shell"),
        ("if true; then\n", "syntax error"),
    ],
)
def test_one_that_fails_is_said_on_the_first_page_and_changes_nothing(home: Path, text: str, words: str) -> None:
    script(home, text)
    found = environ(home)
    environment.apply(found)
    problem = facts.read(found, 0.0)["script"]
    assert words in problem
    assert "was not used" in problem
    found.pop(environment.PROBLEM)
    assert found == environ(home)


def test_one_that_does_not_end_is_left_behind(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PATIENCE_S", 0.2)
    script(home, "while true; do :; done\n")
    found = environ(home)
    environment.apply(found)
    assert "did not end in 0.2 s" in found[environment.PROBLEM]


def test_a_helper_that_it_leaves_running_is_not_waited_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PATIENCE_S", 2)
    script(home, "sleep 4 &\nexport A=1\n")
    found = environ(home)
    environment.apply(found)
    assert found == environ(home, A="1")


def test_another_file_may_be_named_and_one_that_is_missing_is_said(home: Path) -> None:
    other = home / "other.sh"
    other.write_text("export A=1\n")
    found = environ(home, USER_ENV_SCRIPT=str(other))
    environment.apply(found)
    assert found["A"] == "1"
    found = environ(home, USER_ENV_SCRIPT=str(home / "missing.sh"))
    environment.apply(found)
    assert "No such file" in found[environment.PROBLEM]
