"""Which releases sessions may choose, read from the published folder."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from sciencebox.sessions import stack
from sciencebox.sessions.stack import Stacks, View, further, natural, published, too_new, whitelist_expiry
from sciencebox.settings import Settings

PLATFORM = "x86_64-debian12-gcc12-opt"


def _publish(root: Path, release: str) -> None:
    tree = root / "lcg" / "releases" / release
    tree.mkdir(parents=True)
    (tree / "setup.sh").write_text("")
    view = root / "lcg" / "views" / release / PLATFORM
    view.parent.mkdir(parents=True)
    view.symlink_to(tree)


def test_views_are_named_as_sessions_see_them(tmp_path: Path) -> None:
    _publish(tmp_path, "SB_1_cuda")
    _publish(tmp_path, "SB_1")

    assert published(tmp_path, "sciencebox.local") == (
        View("SB_1", PLATFORM, f"/cvmfs/sciencebox.local/lcg/views/SB_1/{PLATFORM}"),
        View("SB_1_cuda", PLATFORM, f"/cvmfs/sciencebox.local/lcg/views/SB_1_cuda/{PLATFORM}"),
    )


def test_a_server_without_a_stack_has_none(tmp_path: Path) -> None:
    assert published(tmp_path / "nothing", "sciencebox.local") == ()


def test_an_unfinished_view_is_not_offered(tmp_path: Path) -> None:
    (tmp_path / "lcg" / "views" / "SB_2" / PLATFORM).mkdir(parents=True)

    assert published(tmp_path, "sciencebox.local") == ()


def _lcg(root: Path, *views: str) -> None:
    for view in views:
        (root / "lcg/views" / view / "share/jupyter/kernels/python3").mkdir(parents=True)


def test_of_a_further_repository_the_newest_releases_for_this_processor_are_offered(tmp_path: Path) -> None:
    _lcg(tmp_path, "LCG_99/x86_64-el9-gcc13-opt", "LCG_105/x86_64-el9-gcc13-opt", "LCG_105/x86_64-el9-gcc13-dbg")
    _lcg(tmp_path, "LCG_105_cuda/x86_64-el9-gcc13-opt", "LCG_105/aarch64-el9-gcc13-opt", "dev3/x86_64-el9-gcc13-opt")
    _lcg(tmp_path, "LCG_105/x86_64-ubuntu2404-gcc13-opt", "LCG_105/x86_64-el10-gcc14-opt")  # their C library is newer
    _lcg(tmp_path, "LCG_99/x86_64-ubuntu2204-gcc11-opt", "LCG_99/x86_64-slc6-gcc8-opt")
    (tmp_path / "lcg/views/LCG_108").symlink_to("withdrawn")
    (tmp_path / "lcg/views/LCG_107").touch()
    (tmp_path / "lcg/views/LCG_106/x86_64-el9-gcc13-opt").mkdir(parents=True)  # it has no kernels

    assert [view.name for view in further(tmp_path, "sft.cern.ch")] == [
        "LCG_105_cuda/x86_64-el9-gcc13-opt",
        "LCG_105/x86_64-el9-gcc13-opt",
        "LCG_99/x86_64-ubuntu2204-gcc11-opt",
        "LCG_99/x86_64-el9-gcc13-opt",
        "LCG_99/x86_64-slc6-gcc8-opt",
    ]
    assert further(tmp_path / "nothing", "sft.cern.ch") == ()


def test_names_sort_by_their_numbers() -> None:
    assert sorted(["LCG_105", "LCG_99", "LCG_105_cuda"], key=natural) == ["LCG_99", "LCG_105", "LCG_105_cuda"]


def client(mount: Path, **more: Any) -> Settings:
    return Settings.model_validate({"stack": {"source": "client", "mount": str(mount), **more}})


async def test_what_a_client_mounts_is_offered_beside_what_others_mount(tmp_path: Path) -> None:
    _publish(tmp_path / "sciencebox.local", "SB_1")
    _lcg(tmp_path / "sft.cern.ch", "LCG_105/x86_64-el9-gcc13-opt")
    stacks = Stacks(client(tmp_path, more=["sft.cern.ch"]))
    await stacks.look()
    assert (stacks.fault, [view.name for view in stacks.views]) == ("", ["SB_1", "LCG_105/x86_64-el9-gcc13-opt"])
    assert stacks.path("LCG_105/x86_64-el9-gcc13-opt") == "/cvmfs/sft.cern.ch/lcg/views/LCG_105/x86_64-el9-gcc13-opt"
    assert stacks.path("") is None


async def test_a_repository_that_is_not_mounted_is_said_and_seen_when_it_comes(tmp_path: Path) -> None:
    stacks = Stacks(client(tmp_path))
    await stacks.look()
    assert stacks.fault == "Nothing is mounted at /cvmfs/sciencebox.local."
    _publish(tmp_path / "sciencebox.local", "SB_1")
    await stacks.look()
    assert (stacks.fault, len(stacks.views)) == ("", 1)


async def test_a_mount_that_hangs_keeps_nobody_waiting_and_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "PATIENCE_S", 0.01)
    answers, calls = threading.Event(), []

    def hang(_: str) -> tuple[View, ...]:
        calls.append(1)
        answers.wait(timeout=30)
        return (View("SB_1", PLATFORM, "/cvmfs/x"),)

    stacks = Stacks(Settings(), hang)
    await stacks.look()
    await stacks.look()
    assert (stacks.fault, stacks.views, len(calls)) == ("/cvmfs/sciencebox.local does not answer.", (), 1)
    answers.set()
    while stacks.fault:
        await stacks.look()
    assert (len(stacks.views), len(calls)) == (1, 1)


async def test_a_repository_that_hangs_or_is_gone_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "PATIENCE_S", 0.01)
    ended = threading.Event()

    def look(repository: str) -> tuple[View, ...]:
        if repository == "sft.cern.ch":
            ended.wait(timeout=30)
        if repository == "gone.example.org":
            raise OSError(107, "Transport endpoint is not connected")
        return (View("SB_1", PLATFORM, f"/cvmfs/{repository}/x"),)

    stacks = Stacks(client(Path("/nowhere"), more=["sft.cern.ch", "gone.example.org"]), look)
    while not stacks.views or "gone" not in stacks.fault:
        await stacks.look()
    assert stacks.path("SB_1") == "/cvmfs/sciencebox.local/x"
    assert stacks.fault == (
        "/cvmfs/sft.cern.ch does not answer. "
        "/cvmfs/gone.example.org cannot be read: Transport endpoint is not connected."
    )
    ended.set()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(5, "Transport endpoint is not connected"), "Transport endpoint is not connected"),
        (RecursionError("maximum recursion depth exceeded"), "maximum recursion depth exceeded"),
    ],
)
async def test_a_look_that_fails_is_said_and_is_not_the_last(error: Exception, said: str) -> None:
    outcomes = [error]

    def fail_once(_: str) -> tuple[View, ...]:
        if outcomes:
            raise outcomes.pop()
        return (View("SB_1", PLATFORM, "/cvmfs/x"),)

    stacks = Stacks(Settings(), fail_once)
    await stacks.look()
    assert stacks.fault == f"/cvmfs/sciencebox.local cannot be read: {said}."
    await stacks.look()
    assert (stacks.fault, len(stacks.views)) == ("", 1)


def test_what_a_release_has_and_needs_of_the_driver_is_read_from_its_record(tmp_path: Path) -> None:
    _publish(tmp_path, "SB_1_cuda")
    details = {"variant": "cuda", "cuda": "PyTorch 13.2, TensorFlow 12.9", "environments": "pytorch tensorflow"}
    record = {"details": details}
    (tmp_path / f"lcg/views/SB_1_cuda/{PLATFORM}/tree.json").write_text(json.dumps(record))
    (view,) = published(tmp_path, "sciencebox.local")
    assert view.cuda == (("PyTorch", (13, 2)), ("TensorFlow", (12, 9)))
    assert view.environments == ("pytorch", "tensorflow")
    assert too_new([view], (13, 0)) == (), "a driver serves every library of its major version"
    assert too_new([view], None) == ()
    (note,) = too_new([view], (12, 4))
    assert note.startswith("PyTorch of SB_1_cuda needs a driver for CUDA 13; this server's serves CUDA 12.4")


def test_a_published_repository_without_a_whitelist_is_as_one_that_expired(tmp_path: Path) -> None:
    assert whitelist_expiry(tmp_path) is None, "nothing is published"
    (tmp_path / ".cvmfspublished").touch()
    assert whitelist_expiry(tmp_path) == 0
    (tmp_path / ".cvmfswhitelist").write_bytes(b"20261128120000\nE")
    assert whitelist_expiry(tmp_path) == 0
    (tmp_path / ".cvmfswhitelist").write_bytes(b"20261128120000\nE20261228120000\nNx\n--\n\xff")
    assert whitelist_expiry(tmp_path) == 1798459200
