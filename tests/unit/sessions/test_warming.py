"""What is read before users want it."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from sciencebox.sessions import warming
from sciencebox.sessions.stack import Stacks, View, published
from sciencebox.sessions.warming import Warmer, default, imported, read
from sciencebox.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

NAME, PLATFORM = "sciencebox.local", "x86_64-debian12-gcc12-opt"
FILES = ("lib/libtorch.so", "lib/libz.so.1.2", "lib/torch.cpython-311.pyc", "lib/torch.py", "include/torch.h")


def build(folder: Path, key: str) -> None:
    """A release as the builder leaves it, each file of ten bytes."""
    uses = [f"lcg/releases/{name}/0123/{PLATFORM}" for name in ("Python", "pytorch", "root", "Headers")]
    for path in (folder / use / file for use in uses for file in FILES):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"0123456789")
    tree = folder / "lcg/releases/SB_1" / key / PLATFORM
    tree.mkdir(parents=True)
    (tree / "setup.sh").touch()
    (tree / "tree.json").write_text(json.dumps({"details": {"environments": "pytorch root"}, "uses": uses}))
    view = folder / "lcg/views/SB_1" / PLATFORM
    view.parent.mkdir(parents=True, exist_ok=True)
    view.unlink(missing_ok=True)
    view.symlink_to(tree)


def settings(folder: Path, **stack: Any) -> Settings:
    return Settings.model_validate({"data_root": str(folder), "stack": stack})


@pytest.mark.parametrize(("mounted", "trees"), [(False, ["Python", "pytorch", "root"]), (True, ["Python", "pytorch"])])
def test_libraries_and_compiled_modules_of_the_environments_are_read(
    tmp_path: Path, *, mounted: bool, trees: list[str]
) -> None:
    build(tmp_path, "a")
    found = list(imported(tmp_path, (tmp_path / f"lcg/views/SB_1/{PLATFORM}").resolve(), mounted))
    names = {f"{path.parts[-5]}/{path.parts[-2]}/{path.name}" for path in found}
    assert names == {f"{tree}/{file}" for tree in trees for file in FILES[:3]}
    assert read(found, 10**6) == (len(found), 10 * len(found))
    assert read(found, 25) == (2, 20), "no more than there is room for"


def test_a_release_is_read_once_after_each_start_of_the_server_and_so_is_the_one_that_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    boot, memory = tmp_path / "boot_id", tmp_path / "meminfo"
    monkeypatch.setattr(warming, "BOOT", boot)
    monkeypatch.setattr(warming, "MEMORY", memory)
    memory.write_text("MemTotal: 9 kB\nMemAvailable:  8 kB\n")
    caplog.set_level(logging.INFO)
    given, folder = settings(tmp_path), tmp_path / "cvmfs" / NAME
    for key, started in (("a", "1"), ("a", "1"), ("b", "1"), ("b", "2"), ("b", "2")):
        if not (folder / "lcg/releases/SB_1" / key).exists():
            build(folder, key)
        boot.write_text(started)
        Warmer(given, tmp_path / "note").see(published(folder, NAME))  # of a hub that was started anew
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 3
    assert all(message.startswith("SB_1 was read ahead: 9 files") for message in told)


async def test_nobody_waits_for_it(tmp_path: Path) -> None:
    build(tmp_path / "cvmfs" / NAME, "a")
    stacks, seen = Stacks(settings(tmp_path)), list[View]()
    stacks.after = seen.extend
    await stacks.look()
    assert [view.name for view in stacks.views] == ["SB_1"]
    while not seen:
        await stacks.look()
    assert seen[0].name == "SB_1"


def test_a_release_that_says_nothing_of_itself_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    build(tmp_path / "cvmfs" / NAME, "a")
    (tmp_path / f"cvmfs/{NAME}/lcg/views/SB_1/{PLATFORM}/tree.json").unlink()
    Warmer(settings(tmp_path), tmp_path / "note").see(published(tmp_path / "cvmfs" / NAME, NAME))
    assert "could not be read ahead" in caplog.text


@pytest.mark.parametrize(("variant", "expected"), [("cpu", "SB_1"), ("cuda", "SB_1_cuda"), ("auto", "SB_1_cuda")])
def test_it_is_the_one_that_the_form_offers_first(tmp_path: Path, variant: str, expected: str) -> None:
    views = [View(name, PLATFORM, f"/cvmfs/{NAME}/x") for name in ("LCG_105/x", "SB_1", "SB_1_cuda", "SB_2")]
    found = default(settings(tmp_path, variant=variant), views)
    assert found is not None
    assert found.name == expected
    assert default(settings(tmp_path, release="SB_3"), views) is None
