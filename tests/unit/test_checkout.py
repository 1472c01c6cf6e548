"""The checkout as others get it: no secrets, no addresses of one site, nothing that was made by running it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Written in pieces, so that this file does not find itself.
HOSTS = re.compile("|".join(["py" + r"pi\.org", "pythonhosted" + r"\.org", "npmjs" + r"\.org", r"deb\.deb" + "ian"]))
SECRET = re.compile(r"BEGIN (RSA |EC |OPENSSH )?PRIVATE" + " KEY")


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if names.returncode:
        pytest.skip("not a git checkout")
    return [path for name in names.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def _matches(tracked: list[Path], pattern: re.Pattern[str]) -> list[str]:
    texts = ((path, path.read_text(encoding="utf-8", errors="ignore")) for path in tracked)
    return [str(path.relative_to(ROOT)) for path, text in texts if pattern.search(text)]


def test_which_package_index_is_used_is_the_sites_choice(tracked: list[Path]) -> None:
    assert _matches([path for path in tracked if path.name != "go.sum"], HOSTS) == []


def test_no_private_key_is_committed(tracked: list[Path]) -> None:
    assert _matches(tracked, SECRET) == []


def test_every_requirement_is_held_to_a_hash(tracked: list[Path]) -> None:
    for path in tracked:
        if path.match("requirements/*.txt") or path.match("cvmfs/releases/*/*.txt"):
            text = path.read_text().replace("\\\n", " ")
            pins = [line for line in text.splitlines() if re.match(r"[A-Za-z0-9]", line)]
            assert pins, path
            assert [pin for pin in pins if "--hash=sha256:" not in pin] == [], path


@pytest.mark.parametrize("package", ["anywidget", "jupyterlab-widgets"])
def test_the_browsers_part_of_a_widget_is_of_the_kernels_version(package: str) -> None:
    files = [ROOT / "requirements/session.txt", *sorted((ROOT / "cvmfs/releases/SB_1").glob("pytorch-*.txt"))]
    found = {path.name: re.findall(rf"^{package}==(\S+)", path.read_text(), re.MULTILINE) for path in files}
    assert len({tuple(versions) for versions in found.values()}) == 1, found
    assert all(found.values()), found


def test_notebooks_carry_no_outputs(tracked: list[Path]) -> None:
    for path in (path for path in tracked if path.suffix == ".ipynb"):
        cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
        assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells), path


def test_the_checkers_of_style_and_types_have_nothing_to_say() -> None:
    done = subprocess.run(["make", "lint"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
