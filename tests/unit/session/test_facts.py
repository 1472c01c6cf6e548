"""What a session says about itself, whatever its environment holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from sciencebox_session import facts

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_790_000_000.0


def described(**changes: Any) -> dict[str, str]:
    """The environment of a session with one GPU and no stack, with some facts changed."""
    gpu = {"uuid": "GPU-1", "model": "NVIDIA A100", "memory_bytes": 2**35, "mig_profile": None, "simulated": False}
    session = {
        "release": None,
        "view": None,
        "until": None,
        "cores": 2,
        "memory_bytes": 2**33,
        "gpus": [gpu],
        "simulated": False,
        "attach": "cdi",
    }
    return {"SCIENCEBOX_SESSION": json.dumps(session | changes)}


def test_the_spawners_description_is_passed_on() -> None:
    read = facts.read(described(), NOW)
    assert (read["cores"], read["memory_bytes"], read["gpus"][0]["model"], read["problem"]) == (
        2,
        2**33,
        "NVIDIA A100",
        None,
    )


@pytest.mark.parametrize(
    "environ", [{}, {"SCIENCEBOX_SESSION": "{}"}, {"SCIENCEBOX_SESSION": "{"}, {"SCIENCEBOX_SESSION": "[]"}]
)
def test_without_a_description_nothing_is_guessed(environ: dict[str, str]) -> None:
    read = facts.read(environ, NOW)
    assert read["cores"] is None
    assert read["gpus"] == []
    assert read["problem"]


def test_kernels_of_the_stack_are_seen(tmp_path: Path) -> None:
    kernel = tmp_path / "share/jupyter/kernels/pytorch/kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text("{}")
    assert facts.read(described(release="SB_1", view=str(tmp_path)), NOW)["no_kernels"] is None


def test_why_there_are_no_kernels_is_said(tmp_path: Path) -> None:
    assert "without a software stack" in facts.read(described(), NOW)["no_kernels"]
    assert "SB_1 has none" in facts.read(described(release="SB_1", view=str(tmp_path)), NOW)["no_kernels"]
    gone = str(tmp_path / "gone")
    assert f"SB_1 is not at {gone}" in facts.read(described(release="SB_1", view=gone), NOW)["no_kernels"]


@pytest.mark.parametrize(("until", "left"), [(None, None), (NOW + 90, 90.0), (NOW - 5, 0.0)])
def test_how_long_the_session_may_run_is_told(until: float | None, left: float | None) -> None:
    assert facts.read(described(until=until), NOW)["seconds_left"] == left
