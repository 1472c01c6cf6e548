"""Locks: what identifies one, and which are refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sciencebox_stack.errors import StackError
from sciencebox_stack.lock import compile_lock, lock_path, parse_lock, read_lock
from sciencebox_stack.release import Release, bundled_releases, load_release
from sciencebox_stack.uv import Uv

from .conftest import RELEASE, lock_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TEXT = lock_text("numpy==2.4.6") + lock_text("torch==2.15.0+cpu", "sympy==1.14", parents="monai")


def test_a_lock_is_its_names_versions_and_hashes() -> None:
    lock = parse_lock(TEXT)
    assert [(pin.name, pin.version, pin.parents) for pin in lock.pins] == [
        ("numpy", "2.4.6", ()),
        ("torch", "2.15.0+cpu", ("monai",)),
        ("sympy", "1.14", ("monai",)),
    ]
    assert all(len(pin.hashes) == 1 for pin in lock.pins)


def test_a_list_of_parents_over_several_lines_is_read() -> None:
    text = lock_text("numpy==2.4.6") + "    # via\n    #   monai\n    #   nibabel\n"
    assert parse_lock(text).pins[0].parents == ("monai", "nibabel")


def test_comments_and_order_do_not_change_the_digest() -> None:
    ordered = parse_lock(lock_text("a==1", "b==2"))
    assert parse_lock("# said otherwise\n" + lock_text("b==2", "a==1", parents="c")).digest == ordered.digest


@pytest.mark.parametrize("other", [lock_text("a==1", "b==3"), lock_text("a==1"), lock_text("a==1", "c==2")])
def test_another_version_or_another_package_changes_the_digest(other: str) -> None:
    assert parse_lock(other).digest != parse_lock(lock_text("a==1", "b==2")).digest


def test_another_hash_changes_the_digest_and_the_packages_own_key() -> None:
    one = parse_lock(lock_text("a==1"))
    two = parse_lock(f"a==1 \\\n    --hash=sha256:{'0' * 64}\n")
    assert one.digest != two.digest
    assert one.pins[0].key != two.pins[0].key


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("numpy>=2\n", "Line 1 of the lock pins no exact version: 'numpy>=2'"),
        ("numpy @ https://example.org/numpy.whl\n", "Line 1 of the lock pins no exact version"),
        ("numpy==2.4.6\n", "The lock has no hash for numpy"),
    ],
)
def test_what_is_not_pinned_with_a_hash_is_refused(text: str, told: str) -> None:
    with pytest.raises(StackError) as error:
        parse_lock(text)
    assert told in str(error.value)


def test_a_missing_lock_is_refused_with_the_remedy(folder: Path) -> None:
    with pytest.raises(StackError, match=r"There is no lock .*alpha-cpu.txt; run `sciencebox-stack lock T_1`"):
        read_lock(folder, load_release("T_1", folder), "alpha", "cpu")


def test_a_lock_of_an_older_release_file_is_refused(folder: Path, release: Release) -> None:
    (folder / "T_1.toml").write_text(RELEASE.replace("2.4.6", "2.4.7"))
    with pytest.raises(StackError, match=r"alpha-cpu.txt was made before T_1.toml was changed; run `sciencebox-stack"):
        read_lock(folder, load_release("T_1", folder), "alpha", "cpu")


def test_why_a_package_is_there_may_be_reworded_without_a_new_lock(folder: Path, release: Release) -> None:
    (folder / "T_1.toml").write_text(RELEASE.replace('"arrays"', '"arrays of numbers"'))
    assert read_lock(folder, load_release("T_1", folder), "alpha", "cpu").pins


@dataclass(frozen=True)
class Resolver(Uv):
    """Answers `uv pip compile` with a lock and keeps what it was asked."""

    program: Path = Path("uv")
    asked: dict[str, str] = field(default_factory=dict)

    def run(self, task: str, arguments: Sequence[str], on_line: Callable[[str], None] | None = None) -> None:
        scratch = Path(arguments[arguments.index("--directory") + 1])
        self.asked.update({path.name: path.read_text() for path in scratch.iterdir()})
        (scratch / arguments[arguments.index("--output-file") + 1]).write_text(lock_text("numpy==2.4.6"))


def test_locking_writes_a_lock_that_reading_accepts(folder: Path) -> None:
    text = RELEASE.replace("disk_gb = 0.1, trim", 'disk_gb = 0.1, without = ["triton"], trim')
    (folder / "T_1.toml").write_text(text)
    release, resolver = load_release("T_1", folder), Resolver()
    made = compile_lock(folder, release, "alpha", "cpu", resolver)
    assert resolver.asked["in.txt"] == "numpy==2.4.6\ntorch==2.15.0\n"
    assert resolver.asked["overrides.txt"] == "triton ; sys_platform == 'never'\n"
    assert read_lock(folder, release, "alpha", "cpu") == made
    assert "http" not in lock_path(folder, release, "alpha", "cpu").read_text()


@pytest.mark.parametrize(("environment", "cuda"), [("pytorch", "13.2"), ("tensorflow", "12.9")])
def test_a_lock_tells_the_cuda_version_of_its_libraries(environment: str, cuda: str) -> None:
    release = load_release("SB_1", bundled_releases())
    assert read_lock(bundled_releases(), release, environment, "cuda").cuda == cuda


def test_a_lock_without_cuda_tells_none() -> None:
    release = load_release("SB_1", bundled_releases())
    assert read_lock(bundled_releases(), release, "tensorflow", "cpu").cuda == ""
