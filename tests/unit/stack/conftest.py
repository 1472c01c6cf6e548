"""A small release, and a builder whose installer and checks write a few files instead of gigabytes.

Only what talks to the index and what starts a kernel is replaced; trees, locks, links and texts are real.
"""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sciencebox_stack.build import Builder, Plan, make_plan
from sciencebox_stack.errors import StackError
from sciencebox_stack.interpreter import InterpreterSource, interpreter_tree
from sciencebox_stack.lock import lock_path, requirements_stamp
from sciencebox_stack.project import read_project
from sciencebox_stack.release import Release, load_release
from sciencebox_stack.tree import Layout, finish_tree, start_tree
from sciencebox_stack.uv import Uv

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sciencebox_stack.check import Imported

RELEASE = """\
name = "T_1"
platform = "x86_64-test-opt"
compiler = "gcc;12.2.0"
wheels = "x86_64-manylinux_2_36"
python = "3.11"
default = "alpha"

[variants.cpu]
release = "T_1"
variables = { CUDA_VISIBLE_DEVICES = "" }

[variants.cuda]
release = "T_1_cuda"

[packages]
numpy = { version = "2.4.6", why = "arrays" }

[environments.alpha]
title = "Alpha"
imports = ["numpy", "torch"]
packages = { torch = { version = "2.15.0", why = "framework" } }
variants = { cpu = { disk_gb = 0.1, trim = ["heavy/*.so"] }, cuda = { disk_gb = 0.2 } }

[environments.beta]
title = "Beta"
imports = ["numpy"]
variables = { GREETING = "it's a test" }
variants = { cpu = { disk_gb = 0.1 }, cuda = { disk_gb = 0.2 } }
"""


def lock_text(*pins: str, parents: str = "") -> str:
    """A lock of `name==version` pins with a hash each, as uv writes it."""
    lines = []
    for pin in pins:
        lines += [f"{pin} \\", f"    --hash=sha256:{hashlib.sha256(pin.encode()).hexdigest()}"]
        if parents:
            lines.append(f"    # via {parents}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of release files, with T_1 in it and no lock."""
    made = tmp_path / "releases"
    made.mkdir()
    (made / "T_1.toml").write_text(RELEASE)
    return made


@pytest.fixture
def write_locks(folder: Path) -> Callable[..., None]:
    """Write up-to-date locks of T_1; numpy's version may differ from the last time."""

    def write(numpy: str = "2.4.6") -> None:
        release = load_release("T_1", folder)
        for environment in release.environments:
            for variant in release.variants:
                path = lock_path(folder, release, environment, variant)
                path.parent.mkdir(exist_ok=True)
                pins = [f"numpy=={numpy}", *(["torch==2.15.0"] if environment == "alpha" else [])]
                stamp = requirements_stamp(release, environment, variant)
                path.write_text(f"{stamp}\n# made by a test\n{lock_text(*pins)}")

    return write


@pytest.fixture
def release(folder: Path, write_locks: Callable[..., None]) -> Release:
    """T_1 with its locks."""
    write_locks()
    return load_release("T_1", folder)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty repository."""
    made = tmp_path / "cvmfs" / "test.local"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def interpreter(root: Path, tmp_path: Path) -> InterpreterSource:
    """An interpreter whose copy is in the repository already."""
    source = InterpreterSource(tmp_path / "python3.11", tmp_path / "lib", (), "3.11.2", "0123456789ab")
    tree = interpreter_tree(Layout(root, "x86_64-test-opt"), source)
    start_tree(tree)
    finish_tree(tree, "Python", source.key, (), {"version": source.version})
    return source


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """The notebooks' package."""
    path = tmp_path / "brainmri-0.1.0-py3-none-any.whl"
    path.write_bytes(b"first")
    return path


@pytest.fixture
def plan(folder: Path, root: Path, interpreter: InterpreterSource, wheel: Path) -> Callable[..., Plan]:
    """Plan T_1 as its files are now."""

    def make(variant: str = "cpu") -> Plan:
        return make_plan(
            release=load_release("T_1", folder),
            variant=variant,
            folder=folder,
            root=root,
            interpreter=interpreter,
            project=read_project(wheel),
        )

    return make


@dataclass(frozen=True)
class FakeUv(Uv):
    """Writes what an installation would leave; `broken` names tasks that fail after half of the work."""

    program: Path = Path("uv")
    tasks: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)

    def run(self, task: str, arguments: Sequence[str], on_line: Callable[[str], None] | None = None) -> None:
        self.tasks.append(task)
        if "--target" in arguments:
            target = Path(arguments[arguments.index("--target") + 1])
            python = arguments[arguments.index("--python") + 1]
            (target / "bin").mkdir(parents=True)
            (target / "bin" / "tool").write_text(f"#!{python}\nprint('tool')\n")
            (target / "heavy").mkdir()
            (target / "heavy" / "gpu.so").write_bytes(b"x" * 1000)
        if on_line is not None:
            on_line("Installed 2 packages in 3ms")
        if task in self.broken:
            raise StackError(f"Could not {task}: the index is gone")


@dataclass
class FakeChecks:
    """Passes, unless a name is in `failing`; `at_kernel` is called when a kernel is tried."""

    failing: set[str] = field(default_factory=set)
    at_kernel: Callable[[], None] = lambda: None
    imported: list[tuple[str, ...]] = field(default_factory=list)

    def imports(self, imported: Imported, python: Path, site_packages: Path) -> None:
        self.imported.append((imported.environment, *imported.modules))
        if imported.environment in self.failing:
            raise StackError(f"{imported.environment} does not import: no module named x")

    def kernel(self, environment: str, python: Path, jupyter: Path, modules: tuple[str, ...]) -> None:
        self.at_kernel()
        assert (jupyter / "kernels" / environment / "kernel.json").is_file()
        if f"{environment} kernel" in self.failing:
            raise StackError(f"The kernel of {environment} does not work: it died")


@dataclass
class Told:
    """A progress that remembers."""

    lines: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        self.lines.append(line)

    def working(self, what: str) -> AbstractContextManager[Told]:
        self.lines.append(what)
        return nullcontext(self)

    def tool_says(self, line: str) -> None:
        self.lines.append(line)


@dataclass
class Site:
    """All that a test needs of one repository: build it, look at it, break it."""

    plan: Callable[..., Plan]
    uv: FakeUv = field(default_factory=FakeUv)
    checks: FakeChecks = field(default_factory=FakeChecks)
    told: Told = field(default_factory=Told)

    def build(self, variant: str = "cpu") -> Plan:
        made = self.plan(variant)
        Builder(made, self.uv, self.checks, self.told).build()
        return made


@pytest.fixture
def site(release: Release, plan: Callable[..., Plan]) -> Site:
    """A repository in which nothing is built yet."""
    return Site(plan)
