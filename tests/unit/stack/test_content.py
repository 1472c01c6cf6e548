"""What trees contain as a number: what counts for it, and that building again gives the same."""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sciencebox_stack.build import Builder
from sciencebox_stack.content import content_digest
from sciencebox_stack.interpreter import interpreter_tree
from sciencebox_stack.lock import lock_path, requirements_stamp
from sciencebox_stack.project import Project
from sciencebox_stack.published import published
from sciencebox_stack.release import load_release
from sciencebox_stack.tree import Layout
from sciencebox_stack.uv import Uv, find_uv

from .conftest import FakeChecks, Told

if TYPE_CHECKING:
    from collections.abc import Callable

    from sciencebox_stack.build import Plan
    from sciencebox_stack.interpreter import InterpreterSource

PYTHON = Path("/usr/bin/python3.11")  # the platform's


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    made = tmp_path / "tree"
    (made / "folder").mkdir(parents=True)
    (made / "folder" / "file").write_text("content")
    (made / "link").symlink_to("folder/file")
    return made


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: (tree / "folder" / "file").write_text("Content"),
        lambda tree: (tree / "folder" / "file").rename(tree / "folder" / "other"),
        lambda tree: (tree / "folder" / "file").chmod(0o755),
        lambda tree: (tree / "empty").mkdir(),
        lambda tree: ((tree / "link").unlink(), (tree / "link").symlink_to("folder")),
        lambda tree: ((tree / "link").unlink(), (tree / "link").write_text("folder/file")),
    ],
    ids=["content", "name", "program", "folder", "target", "kind"],
)
def test_every_change_of_content_is_noticed(tree: Path, change: Callable[[Path], object]) -> None:
    before = content_digest(tree)
    change(tree)
    assert content_digest(tree) != before


def test_dates_other_permissions_and_the_record_do_not_count(tree: Path) -> None:
    before = content_digest(tree)
    os.utime(tree / "folder" / "file", (0, 0))
    (tree / "folder" / "file").chmod(0o600)
    (tree / "tree.json").write_text("{}")
    assert content_digest(tree) == before


def packed(folder: Path, name: str, version: str) -> Path:
    """A package of a module, a command and a library, as an index has it."""
    path, about = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    texts = {
        f"{name}.py": f"def main() -> None:\n    print('{name}')\n",
        f"heavy/{name}.so": "library",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for place, text in texts.items():
            archive.writestr(place, text)
        archive.writestr(f"{about}/RECORD", "".join(f"{place},,\n" for place in (*texts, f"{about}/RECORD")))
    return path


@pytest.fixture
def index(tmp_path: Path, folder: Path) -> Path:
    """A folder with the wheels of T_1, which its locks pin."""
    made = tmp_path / "index"
    made.mkdir()
    release = load_release("T_1", folder)
    pins = {}
    for name, version in (("numpy", "2.4.6"), ("torch", "2.15.0")):
        content = packed(made, name, version).read_bytes()
        pins[name] = f"{name}=={version} --hash=sha256:{hashlib.sha256(content).hexdigest()}"
    for environment, names in (("alpha", ("numpy", "torch")), ("beta", ("numpy",))):
        path = lock_path(folder, release, environment, "cpu")
        path.parent.mkdir(exist_ok=True)
        lines = (pins[name].replace(" --", " \\\n    --") for name in names)
        path.write_text("\n".join([requirements_stamp(release, environment, "cpu"), *lines]) + "\n")
    return made


class Rebuilt(Project):
    """The notebooks' package, whose wheel is built anew for each release."""

    def wheel(self, scratch: Path) -> Path:
        return Path(shutil.copyfile(self.path, scratch / self.path.name))


@pytest.mark.skipif(not PYTHON.exists(), reason=f"needs {PYTHON}")
def test_the_same_locks_make_the_same_content_whenever_they_are_built(
    tmp_path: Path, root: Path, index: Path, interpreter: InterpreterSource, plan: Callable[..., Plan]
) -> None:
    def build(cache: str) -> dict[str, str]:
        quiet = {"UV_NO_INDEX": "1", "UV_FIND_LINKS": str(index), "UV_CACHE_DIR": str(tmp_path / cache)}
        uv = Uv(find_uv(), {**quiet, "PYC_INVALIDATION_MODE": "UNCHECKED_HASH"})
        Builder(replace(plan(), project=project), uv, FakeChecks(), Told()).build()
        (view,) = published(root)
        return {str(tree.relative_to(root)): content_digest(tree) for tree in (view.tree, *view.used)}

    project = Rebuilt("brainmri", "0.1.0", packed(tmp_path, "brainmri", "0.1.0"), "0123")
    carried = interpreter_tree(Layout(root, "x86_64-test-opt"), interpreter)
    (carried / "bin").mkdir()
    (carried / "bin" / "python3.11").symlink_to(PYTHON)
    first = build("first")
    for tree in ("T_1", "alpha", "beta"):
        (root / "lcg/releases" / tree).rename(tmp_path / tree)
    assert build("second") == first
    assert len(first) == 4
