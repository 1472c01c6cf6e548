"""The proofs that a tree must give, with the tests' own Python."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from sciencebox_stack.check import Imported, RealChecks
from sciencebox_stack.errors import StackError
from sciencebox_stack.interpreter import find_interpreter

PYTHON = Path(sys.executable)


def test_modules_of_the_tree_are_imported_and_pth_files_count(tmp_path: Path) -> None:
    (tmp_path / "one.py").touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "two.py").touch()
    (tmp_path / "sub.pth").write_text("sub\n")
    RealChecks().imports(Imported("alpha", ("one", "two")), PYTHON, tmp_path)


def test_a_module_that_fails_is_told_in_the_words_of_its_error(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("import missing_part")
    with pytest.raises(StackError, match="alpha does not import: ModuleNotFoundError: No module named 'missing_part'"):
        RealChecks().imports(Imported("alpha", ("one",)), PYTHON, tmp_path)


def test_the_builders_own_variables_do_not_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "borrowed.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "elsewhere"))
    with pytest.raises(StackError, match="No module named 'borrowed'"):
        RealChecks().imports(Imported("alpha", ("borrowed",)), PYTHON, tmp_path)


def test_the_variables_of_its_kernel_are_set(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("import os; assert os.environ['BACKEND'] == 'torch'")
    RealChecks().imports(Imported("alpha", ("one",), {"BACKEND": "torch"}), PYTHON, tmp_path)


def test_a_kernel_that_does_not_start_is_named(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"The kernel of alpha does not work: .*alpha"):
        RealChecks().kernel("alpha", PYTHON, tmp_path, ())


def test_a_machine_without_the_distributions_python_is_sent_to_the_image() -> None:
    with pytest.raises(StackError, match=r"does not have in /usr/bin/python3\.99; build in the image sciencebox/cvmfs"):
        find_interpreter("3.99")
