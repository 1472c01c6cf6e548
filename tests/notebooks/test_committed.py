"""Notebooks as they are committed: without outputs, for the stack's kernels, in readable pieces."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
KERNELS = {"pytorch", "tensorflow"}


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> nbformat.NotebookNode:
    found = nbformat.read(request.param, as_version=4)
    nbformat.validate(found)
    return found


def test_there_is_no_output_and_no_trace_of_a_run(notebook: nbformat.NotebookNode) -> None:
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        assert not cell.get("attachments")


def test_it_names_a_kernel_of_the_stack(notebook: nbformat.NotebookNode) -> None:
    assert notebook.metadata.kernelspec.name in KERNELS


def test_there_is_one_parameter_cell_that_sets_the_size(notebook: nbformat.NotebookNode) -> None:
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    assert 'size = os.environ.get("SCIENCEBOX_NOTEBOOK_SIZE", "quick")' in cell.source


def test_cells_are_short_and_the_notebook_begins_with_words(notebook: nbformat.NotebookNode) -> None:
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")
    assert all(len(cell.source.splitlines()) <= 40 for cell in notebook.cells if cell.cell_type == "code")
