"""An image is built anew exactly when something that goes into it has changed."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sciencebox.host import images

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[3]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small checkout with a base and a hub image."""
    for path, text in {
        ".dockerignore": "*\n!images\n**/__pycache__\n**/*.egg-info\n",
        "images/base/Dockerfile": "FROM debian\nCOPY images/base/certificates/ /certificates/\n",
        "images/base/certificates/README.md": "none\n",
        "images/hub/Dockerfile": "COPY --chmod=755 requirements/hub.txt \\\n spawner/ /x/\nCOPY --from=x a b\n",
        "requirements/hub.txt": "jupyterhub\n",
        "requirements/other.txt": "other\n",
        "spawner/hub.py": "print()\n",
        "spawner/__pycache__/hub.pyc": "",
        "spawner/x.egg-info/PKG-INFO": "",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    return tmp_path


def hashes(checkout: Path, debian: str = "debian", certificates: Path = Path("/nonexistent")) -> dict[str, str]:
    """The inputs' hash of every image."""
    return {plan.name: plan.inputs for plan in images.plans(checkout, debian, certificates)}


def changed(checkout: Path, change: Callable[[], object]) -> set[str]:
    """The images that are due after a change."""
    before = hashes(checkout)
    change()
    after = hashes(checkout)
    return {name for name in after if after[name] != before.get(name)}


def test_only_what_is_copied_is_sent(checkout: Path) -> None:
    hub = images.plans(checkout, "debian", Path("/nonexistent"))[1]
    assert [file.path for file in hub.files] == ["images/hub/Dockerfile", "requirements/hub.txt", "spawner/hub.py"]


def test_a_change_makes_its_image_due(checkout: Path) -> None:
    assert changed(checkout, lambda: (checkout / "spawner/hub.py").write_text("print(1)\n")) == {"hub"}
    assert changed(checkout, lambda: (checkout / "spawner/hub.py").chmod(0o755)) == {"hub"}
    assert changed(checkout, lambda: (checkout / "spawner/new.py").write_text("")) == {"hub"}
    assert changed(checkout, lambda: (checkout / "spawner/new.py").rename(checkout / "spawner/newer.py")) == {"hub"}


def test_a_change_of_the_base_makes_all_images_due(checkout: Path) -> None:
    readme = checkout / "images/base/certificates/README.md"
    assert changed(checkout, lambda: readme.write_text("x")) == {"base", "hub"}
    assert hashes(checkout, debian="debian:13") != hashes(checkout)


def test_what_is_not_copied_does_not_matter(checkout: Path) -> None:
    assert changed(checkout, lambda: (checkout / "requirements/other.txt").write_text("x")) == set()
    assert changed(checkout, lambda: (checkout / "spawner/__pycache__/hub.pyc").write_text("x")) == set()
    # Another umask, another time of checkout: the same image.
    assert changed(checkout, lambda: (checkout / "spawner/hub.py").chmod(0o600)) == set()


def test_certificates_of_the_host_go_into_the_base(checkout: Path, tmp_path: Path) -> None:
    folder = tmp_path / "host"
    folder.mkdir()
    without = hashes(checkout, certificates=folder)
    (folder / "site.crt").write_text("PEM")
    (folder / "gone.crt").symlink_to(tmp_path / "removed-since.pem")
    for place in ("host/hospital", "elsewhere"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "root.crt").write_text(place)
    (folder / "university").symlink_to(tmp_path / "elsewhere")  # Debian follows it, too
    base = images.plans(checkout, "debian", folder)[0]
    names = {file.path.removeprefix("images/base/certificates/") for file in base.files}
    assert names >= {"site.crt", "hospital/root.crt", "university/root.crt"}, "none takes the place of another"
    assert base.inputs != without["base"]


def test_a_missing_source_is_named(checkout: Path) -> None:
    (checkout / "requirements/hub.txt").unlink()
    with pytest.raises(images.InputsError, match=r"images/hub/Dockerfile copies requirements/hub\.txt"):
        hashes(checkout)


def test_the_archive_can_be_read_by_everybody(checkout: Path) -> None:
    (checkout / "spawner/hub.py").chmod(0o600)
    plan = images.plans(checkout, "debian", Path("/nonexistent"))[1]
    with tarfile.open(fileobj=images.archive(plan.files)) as tar:
        assert {member.mode for member in tar} == {0o644}
        content = tar.extractfile("spawner/hub.py")
        assert content is not None
        assert content.read() == b"print()\n"


def test_every_image_of_this_checkout_can_be_planned() -> None:
    plans = images.plans(ROOT, "debian")
    assert [plan.name for plan in plans][:4] == ["base", "session", "proxy", "hub"]
    for plan in plans:
        assert plan.dockerfile in [file.path for file in plan.files]
        assert not [file.path for file in plan.files if "__pycache__" in file.path]
