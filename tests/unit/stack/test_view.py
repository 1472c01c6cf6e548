"""What a view says: to shells, to Jupyter and to whoever reads its manifest."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sciencebox_stack.view import view_texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from sciencebox_stack.build import Plan

    from .conftest import Site

OWN = "/home/maria/.local/sciencebox/T_1"
SHELLS = [shell for shell in ("bash", "dash", "zsh") if shutil.which(shell)]


def shell(name: str, script: str, **variables: str) -> str:
    """What ``script`` printed, in a shell that takes every unset variable for an error."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/home/maria", **variables}
    command = [shutil.which(name) or name, "-eu", "-c", script]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def view(site: Site) -> Path:
    return site.build().view


@pytest.mark.parametrize("name", SHELLS)
def test_setup_puts_the_environment_first_on_the_path(view: Path, name: str) -> None:
    said = shell(name, f'. {view}/setup.sh; printf "%s\\n" "$PATH" "$LCG_VERSION" "$BINARY_TAG"; command -v tool')
    path, version, tag, tool = said.splitlines()
    assert path == f"{OWN}/alpha/bin:{view.resolve()}/alpha/bin:/usr/bin:/bin"
    assert (version, tag) == ("T_1", "x86_64-test-opt")
    assert tool == f"{view.resolve()}/alpha/bin/tool"


@pytest.mark.parametrize("name", SHELLS)
def test_setup_of_an_environment_chooses_it_and_keeps_odd_values_whole(view: Path, name: str) -> None:
    said = shell(
        name, f'. {view}/beta/setup.sh; printf "%s\\n" "$SCIENCEBOX_PACKAGES" "$GREETING" "$SCIENCEBOX_ENVIRONMENT"'
    )
    assert said.splitlines() == [f"{OWN}/beta", "it's a test", "beta"]


@pytest.mark.parametrize("name", SHELLS)
def test_setup_forgets_the_pythons_that_were_set_before(view: Path, name: str) -> None:
    script = f'. {view}/setup.sh; printf "%s" "${{PYTHONPATH-unset}} ${{PYTHONHOME-unset}}"'
    assert shell(name, script, PYTHONPATH="/elsewhere", PYTHONHOME="/elsewhere") == "unset unset"


@pytest.mark.parametrize("name", SHELLS)
def test_setup_adds_to_a_jupyter_path_and_works_without_one(view: Path, name: str) -> None:
    script = f'. {view}/setup.sh; printf "%s" "$JUPYTER_PATH"'
    own = f"{view.resolve()}/share/jupyter"
    assert shell(name, script) == own
    assert shell(name, script, JUPYTER_PATH="/mine") == f"{own}:/mine"


def test_a_kernel_is_started_by_its_environments_python_and_nothing_of_the_session_reaches_it(view: Path) -> None:
    kernel = json.loads((view / "share/jupyter/kernels/beta/kernel.json").read_text())
    assert kernel["argv"][0] == f"{view.resolve()}/beta/bin/python"
    assert kernel["argv"][-1] == "{connection_file}"
    assert kernel["display_name"] == "Beta (T_1)"
    own = "${HOME}/.local/sciencebox/T_1/beta"
    assert kernel["env"]["PATH"] == f"{own}/bin:{view.resolve()}/beta/bin:${{PATH}}"
    assert kernel["env"]["SCIENCEBOX_PACKAGES"] == own
    assert kernel["env"]["PYTHONPATH"] == ""
    assert kernel["env"]["GREETING"] == "it's a test"
    assert kernel["env"]["CUDA_VISIBLE_DEVICES"] == ""


def test_both_parts_of_an_extension_come_from_one_environment(folder: Path, site: Site) -> None:
    file = folder / "T_1.toml"
    file.write_text(file.read_text() + 'extensions = ["watch.kernel"]\nlabextensions = ["watch"]\n')
    plain, plan = site.plan(), site.build()
    kernel = json.loads((plan.view / "share/jupyter/kernels/beta/kernel.json").read_text())
    assert kernel["argv"][-1] == "--ext=watch.kernel"
    link = plan.view / "share/jupyter/labextensions/watch"
    assert link.readlink() == plan.site_packages(plan.packages[1]) / "share/jupyter/labextensions/watch"
    file.write_text(file.read_text().replace('["watch"]', '["look"]'))
    assert site.plan().key != plain.key


def test_a_variable_may_name_the_folder_of_the_packages(folder: Path, site: Site) -> None:
    file = folder / "T_1.toml"
    file.write_text(file.read_text().replace("it's a test", "{packages}/home"))
    plan = site.build()
    said = shell("sh", f'. {plan.view}/beta/setup.sh; printf %s "$GREETING"')
    assert said == f"{plan.site_packages(plan.packages[1])}/home"


def test_a_kernel_of_a_running_session_keeps_its_files_when_the_view_is_switched(
    site: Site, write_locks: Callable[..., None]
) -> None:
    started = json.loads((site.build().view / "share/jupyter/kernels/beta/kernel.json").read_text())["argv"][0]
    write_locks(numpy="2.4.7")
    assert site.build().view.resolve() not in Path(started).parents
    assert Path(started).is_symlink()


def test_the_manifest_lists_every_distribution_with_what_it_needs(plan: Callable[..., Plan], site: Site) -> None:
    text = (site.build().view / "LCG_externals_x86_64-test-opt.txt").read_text()
    head, lines = text.splitlines()[:3], [line.split("; ") for line in text.splitlines()[3:]]
    assert head == ["PLATFORM: x86_64-test-opt", "VERSION: T_1", "COMPILER: gcc;12.2.0"]
    assert [line[0] for line in lines] == ["Python", "numpy", "torch", "brainmri", "numpy", "brainmri"]
    assert all(len(line) == 5 for line in lines)
    assert all(Path(line[3]).is_dir() for line in lines)
    made = plan()
    assert lines[1][3] == str(made.packages_tree(made.packages[0]))


def test_a_distribution_in_the_manifest_names_its_dependencies(plan: Callable[..., Plan], site: Site) -> None:
    path = plan().packages[0].lock_file
    path.write_text(path.read_text().replace("torch==", "    # via torch\ntorch=="))
    pins = {pin.name: pin for pin in plan().packages[0].lock.pins}
    text = view_texts(plan().view_plan, Path("/somewhere"))["LCG_externals_x86_64-test-opt.txt"]
    (line,) = (line for line in text.splitlines() if line.startswith("torch;"))
    assert line.endswith(f"; numpy-{pins['numpy'].key}")


def test_the_bill_of_materials_names_every_distribution_once_with_its_environments(site: Site) -> None:
    plan = site.plan("cpu")
    bill = json.loads(view_texts(plan.view_plan, Path("/"))["sbom.cdx.json"])
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "T_1")
    found = {component["name"]: component for component in bill["components"]}
    pins = {(pin.name, pin.version) for packages in plan.packages for pin in packages.lock.pins}
    assert {(component["name"], component["version"]) for component in bill["components"][1:]} == pins
    numpy = found["numpy"]
    assert numpy["purl"] == f"pkg:pypi/numpy@{numpy['version']}"
    assert [one["value"] for one in numpy["properties"]] == ["alpha", "beta"]
    assert all(len(one["content"]) == 64 for one in numpy["hashes"])
