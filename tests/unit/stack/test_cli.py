"""The command: its status codes, and that every expected failure is one sentence."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from sciencebox_stack import cli
from sciencebox_stack.tree import Layout, only_builder

from .conftest import FakeChecks, FakeUv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sciencebox_stack.interpreter import InterpreterSource
    from sciencebox_stack.release import Release


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


@pytest.fixture
def process() -> Iterator[None]:
    """What the command changes in its process is put back."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    mask = os.umask(0o022)
    yield
    os.umask(mask)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def uv(monkeypatch: pytest.MonkeyPatch, interpreter: InterpreterSource) -> FakeUv:
    fake = FakeUv()
    monkeypatch.setattr(cli, "Uv", lambda *_arguments: fake)
    monkeypatch.setattr(cli, "RealChecks", FakeChecks)
    monkeypatch.setattr(cli, "find_interpreter", lambda _python: interpreter)
    return fake


@pytest.fixture
def run(process: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def command(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["sciencebox-stack", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Said(int(end.value.code or 0), out, err)

    return command


@pytest.fixture
def build(run: Callable[..., Said], uv: FakeUv, release: Release, folder: Path, root: Path, wheel: Path):
    def command(*arguments: object) -> Said:
        return run("build", "T_1", "--releases", folder, "--root", root, "--brainmri", wheel, *arguments)

    return command


def test_a_build_ends_with_where_it_is_published(build: Callable[..., Said], root: Path) -> None:
    said = build()
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[-1].startswith(f"T_1 is published in {root}/lcg/views/T_1/x86_64-test-opt (")


def test_a_second_build_says_that_it_is_up_to_date(build: Callable[..., Said], root: Path, uv: FakeUv) -> None:
    build()
    uv.tasks.clear()
    said = build()
    assert said.out == f"T_1 is up to date in {root}/lcg/views/T_1/x86_64-test-opt\n"
    assert (said.code, uv.tasks) == (0, [])


def test_the_notebooks_package_may_come_from_the_environment(
    run: Callable[..., Said],
    uv: FakeUv,
    release: Release,
    folder: Path,
    root: Path,
    wheel: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SCIENCEBOX_STACK_BRAINMRI", str(wheel))
    assert run("build", "T_1", "--releases", folder, "--root", root).code == 0
    assert "brainmri 0.1.0" in run("status", "--root", root).out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["build"], "Missing argument 'RELEASE'"),
        (["build", "T_1", "--frob"], "No such option: --frob"),
        (["frob"], "No such command 'frob'"),
    ],
)
def test_a_wrong_command_line_is_status_2(run: Callable[..., Said], arguments: list[str], told: str) -> None:
    said = run(*arguments)
    assert said.code == 2
    assert told in said.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--variant", "gpu"], "Release T_1 has no variant 'gpu'; it has cpu, cuda."),
        (["--root", "here"], "here must be an absolute path: a release only works at the path it was built for."),
        (["--root", "/nowhere/at/all"], "/nowhere/at/all is not a folder; create it, or mount the folder"),
        (["--brainmri", "/nowhere"], "/nowhere is neither a wheel nor a folder"),
    ],
)
def test_an_expected_failure_is_one_sentence_and_status_1(
    build: Callable[..., Said], arguments: list[str], told: str
) -> None:
    said = build(*arguments)
    assert said.code == 1
    assert said.err.startswith(f"sciencebox-stack: {told}")
    assert len(said.err.splitlines()) == 1


def test_a_failed_installation_is_told_and_can_be_repeated(build: Callable[..., Said], uv: FakeUv) -> None:
    uv.broken.add("install beta")
    said = build()
    assert (said.code, said.err) == (1, "sciencebox-stack: Could not install beta: the index is gone\n")
    uv.broken.clear()
    assert build().code == 0


def test_another_builder_is_told(build: Callable[..., Said], root: Path) -> None:
    with only_builder(Layout(root, "").work):
        said = build()
    assert said.code == 1
    assert said.err == f"sciencebox-stack: Another build is at work in {root}; wait for it to end.\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_build_with_a_sentence(
    build: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr(FakeChecks, "imports", lambda *_arguments: os.kill(os.getpid(), number))
    said = build()
    assert said.code == 130
    assert said.err.startswith("sciencebox-stack: Interrupted; what is finished is kept")
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full; free some space and run the same"),
        (OSError(errno.EROFS, "Read-only file system", "/cvmfs/x"), "/cvmfs/x: Read-only file system."),
    ],
)
def test_the_systems_errors_are_sentences(
    build: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, error: OSError, told: str
) -> None:
    def fail(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr(FakeChecks, "imports", fail)
    said = build()
    assert said.code == 1
    assert said.err.startswith(f"sciencebox-stack: {told}")


def test_what_is_published_can_be_read_by_everyone(build: Callable[..., Said], root: Path) -> None:
    os.umask(0o077)
    build()
    for path in (root / "lcg").rglob("*"):
        if not path.is_symlink() and path.name != "tree.json" and "Python" not in path.parts:
            assert path.stat().st_mode & (0o005 if path.is_dir() else 0o004)
            assert not path.stat().st_mode & 0o022


def test_status_shows_what_is_published_and_what_is_left_over(
    build: Callable[..., Said], run: Callable[..., Said], root: Path, write_locks: Callable[..., None]
) -> None:
    assert run("status", "--root", root).out == f"Nothing is published in {root}.\n"
    build()
    said = run("status", "--root", root)
    assert "T_1" in said.out
    assert "x86_64-test-opt" in said.out
    assert "prune" not in said.out
    write_locks(numpy="2.4.7")
    build()
    assert "3 trees are used by no release; `sciencebox-stack prune` removes them." in run("status", "--root", root).out


def test_status_for_programs(build: Callable[..., Said], run: Callable[..., Said], root: Path) -> None:
    build()
    (view,) = json.loads(run("status", "--root", root, "--json").out)
    assert (view["release"], view["variant"], view["project"]) == ("T_1", "cpu", "brainmri 0.1.0")
    assert {name: part["packages"] for name, part in view["environments"].items()} == {"alpha": "2", "beta": "1"}


def test_digest_prints_the_content_of_every_tree_as_sha256sum_does(
    build: Callable[..., Said], run: Callable[..., Said], root: Path
) -> None:
    nothing = run("digest", "--root", root)
    assert (nothing.code, "Nothing is published in" in nothing.err) == (1, True)
    build()
    first = run("digest", "--root", root).out
    lines = [line.split("  ") for line in first.splitlines()]
    assert [path.split("/")[2] for _, path in lines] == ["T_1", "Python", "alpha", "beta"]
    assert all(len(content) == 64 and (root / path).is_dir() for content, path in lines)
    (root / lines[2][1] / "more").touch()
    changed = run("digest", "--root", root).out.splitlines()
    assert [one == other for one, other in zip(first.splitlines(), changed, strict=True)] == [True, True, False, True]


def test_prune_removes_what_is_left_over_and_nothing_else(
    build: Callable[..., Said], run: Callable[..., Said], root: Path, write_locks: Callable[..., None]
) -> None:
    build()
    write_locks(numpy="2.4.7")
    build()
    tried = run("prune", "--root", root, "--dry-run")
    assert tried.out.count("would remove ") == 3
    assert run("prune", "--root", root).out.count("removed ") == 3
    assert run("prune", "--root", root).out == ""
    assert "is up to date" in build().out


def test_a_build_can_remove_what_the_one_before_left(
    build: Callable[..., Said], run: Callable[..., Said], root: Path, write_locks: Callable[..., None]
) -> None:
    build()
    write_locks(numpy="2.4.7")
    said = build("--prune").out
    assert said.count("removed ") == 3
    assert "is published in" in said.splitlines()[-1]
    assert "trees are used by no release" not in run("status", "--root", root).out
    assert "is up to date" in build("--prune").out


def test_list_shows_each_variant_with_its_published_name(run: Callable[..., Said], folder: Path) -> None:
    lines = [line.split() for line in run("list", "--releases", folder).out.splitlines()]
    assert ["T_1", "cuda", "T_1_cuda", "x86_64-test-opt", "alpha", "beta"] in lines
