"""Runs the notebooks as JupyterLab does, in the kernels of a built software stack."""

from __future__ import annotations

import html
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest

from tests.conftest import ROOT, STACK_TOOL, stack_folder

if TYPE_CHECKING:
    from collections.abc import Callable

NOTEBOOKS = ROOT / "notebooks"


@dataclass(frozen=True)
class Executed:
    """A notebook after its run, and the home folder it ran in."""

    notebook: nbformat.NotebookNode
    home: Path

    def outputs(self) -> list[nbformat.NotebookNode]:
        """All outputs in reading order."""
        return [output for cell in self.notebook.cells for output in cell.get("outputs", [])]

    @property
    def text(self) -> str:
        """What was printed to standard output."""
        return "".join(output.text for output in self.outputs() if output.get("name") == "stdout")

    @property
    def shown(self) -> str:
        """Tables and paragraphs, without their HTML."""
        pages = (output.get("data", {}).get("text/html", "") for output in self.outputs())
        return html.unescape(re.sub(r"<[^>]+>", " ", "".join(pages)))

    @property
    def figures(self) -> int:
        """How many figures were shown."""
        return sum("image/png" in output.get("data", {}) for output in self.outputs())

    @property
    def complaints(self) -> list[str]:
        """Errors and whatever was written to standard error: a reader should see neither."""
        return [
            output.get("text") or "\n".join(output.get("traceback", []))
            for output in self.outputs()
            if output.get("name") == "stderr" or output.output_type == "error"
        ]


@dataclass(frozen=True)
class Kernels:
    """`share/jupyter/kernels` of a stack, and what to put before a command so that it sees the stack at its path."""

    folder: Path
    enter: tuple[str, ...] = ()


def find_kernels() -> Kernels | None:
    """Those of SCIENCEBOX_TEST_KERNELS, else of the newest view that tests/tools/stack.sh built."""
    if given := os.environ.get("SCIENCEBOX_TEST_KERNELS"):
        return Kernels(Path(given))
    built = stack_folder()
    found = sorted(built.glob("lcg/views/*/*/share/jupyter/kernels"), key=lambda path: path.stat().st_mtime)
    # A notebook runs in a home of its own, which would lead the tool to another cache.
    enter = ("env", f"SCIENCEBOX_TEST_STACK={built}", str(STACK_TOOL), "--enter")
    return Kernels(found[-1], enter) if found else None


@pytest.fixture(scope="session")
def kernels() -> Kernels:
    """The kernels of the stack, or skip."""
    found = find_kernels()
    if found is None:
        pytest.skip("no software stack is built; run `make test-tools`, or set SCIENCEBOX_TEST_KERNELS")
    if found.enter and os.geteuid() != 0:
        pytest.skip("the stack is bound at its path by root; run as root, or set SCIENCEBOX_TEST_KERNELS")
    return found


def results(home: Path, name: str) -> list[dict]:
    """What the runs of a notebook stored that were brought to their end."""
    return [json.loads(path.read_text()) for path in (home / "sciencebox-runs" / name).glob("*/result.json")]


@pytest.fixture(scope="module")
def synthetic(
    request: pytest.FixtureRequest, execute: Callable[..., Executed], tmp_path_factory: pytest.TempPathFactory
) -> Executed:
    """The notebook of a test module, by its NAME, run where there is no data."""
    return execute(request.module.NAME, tmp_path_factory.mktemp("synthetic"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real MRI data, or skip."""
    root = Path(os.environ.get("SCIENCEBOX_DATA") or ROOT.parent / "shared" / "data")
    if not (root / "figshare" / "labels.csv").is_file():
        pytest.skip(f"no real MRI data: {root} has no figshare/labels.csv; set SCIENCEBOX_DATA")
    return root


@pytest.fixture(scope="session")
def execute(kernels: Kernels, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Executed]:
    """Run a notebook of the project, by name, or one made by a test; at size smoke, in a home folder of its own."""
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from nbclient import NotebookClient

    class StackKernels(KernelSpecManager):
        """The stack's kernels, started where it lies at its path, with the notebooks' package of the checkout."""

        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            specification = super().get_kernel_spec(kernel_name)
            specification.argv = [*one_core, *kernels.enter, *specification.argv]
            specification.env = {name: value for name, value in specification.env.items() if name != "PYTHONPATH"}
            return specification

    class StackKernelManager(AsyncKernelManager):
        """Starts the stack's kernels, none of those installed elsewhere."""

        def _kernel_spec_manager_default(self) -> KernelSpecManager:
            return StackKernels(kernel_dirs=[str(kernels.folder)], ensure_native_kernel=False)

    # Other tests run beside: a kernel's threads that wait for each other would take a third more time of both cores.
    cores, worker = sorted(os.sched_getaffinity(0)), int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    one_core = ("taskset", "--cpu-list", str(cores[worker % len(cores)]))
    fonts = tmp_path_factory.mktemp("fonts")

    def run(
        what: str | nbformat.NotebookNode, home: Path, session: dict[str, object] | None = None, **environ: str
    ) -> Executed:
        notebook = nbformat.read(NOTEBOOKS / f"{what}.ipynb", as_version=4) if isinstance(what, str) else what
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SCIENCEBOX_", "PYTHON"))},
            "PYTHONPATH": str(NOTEBOOKS),  # the package as it is here, not as it was when the stack was built
            "HOME": str(home),
            "MPLCONFIGDIR": str(fonts),  # Matplotlib looks at every font once, not once in each home
            "SCIENCEBOX_DATA": str(home / "no-data"),
            "SCIENCEBOX_NOTEBOOK_SIZE": "smoke",
            **({"SCIENCEBOX_SESSION": json.dumps(session)} if session else {}),
            **environ,
        }
        client = NotebookClient(
            notebook,
            kernel_manager_class=StackKernelManager,
            timeout=300,
            allow_errors=True,
            shutdown_kernel="immediate",  # what a library tidies up as Python ends takes seconds
        )
        client.execute(cwd=str(home), env=environment)
        return Executed(notebook, home)

    return run
