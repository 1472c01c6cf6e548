"""Release files: what they say, and how their mistakes are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sciencebox_stack.errors import StackError
from sciencebox_stack.lock import read_lock
from sciencebox_stack.release import bundled_releases, load_release, release_names

from .conftest import RELEASE

if TYPE_CHECKING:
    from pathlib import Path


def change(folder: Path, old: str, new: str) -> None:
    assert old in RELEASE
    (folder / "T_1.toml").write_text(RELEASE.replace(old, new))


def test_requirements_are_those_of_all_the_environment_and_its_variant(folder: Path) -> None:
    release = load_release("T_1", folder)
    assert release.requirements("alpha", "cpu") == ["numpy==2.4.6", "torch==2.15.0"]
    assert release.requirements("beta", "cpu") == ["numpy==2.4.6"]


def test_variables_of_the_variant_and_of_the_environment_reach_the_kernel(folder: Path) -> None:
    release = load_release("T_1", folder)
    assert release.variables("beta", "cpu", "/p") == {"CUDA_VISIBLE_DEVICES": "", "GREETING": "it's a test"}
    assert release.variables("alpha", "cuda", "/p") == {}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('default = "alpha"', 'defualt = "alpha"', "unknown key defualt; did you mean default?"),
        ("disk_gb = 0.1, trim", "disk_gb = 0.1, xyzzy", "unknown key environments.alpha.variants.cpu.xyzzy; remove it"),
        ('default = "alpha"', "", "default is missing"),
        ('default = "alpha"', 'default = "gamma"', "default is 'gamma', which is none of alpha, beta"),
        ('release = "T_1"', 'release = "../etc"', "variants.cpu.release: String should match pattern"),
        ("[environments.beta]", '[environments."be/ta"]', "environments.be/ta"),
        ('python = "3.11"', 'python = "3.11.2"', "python: String should match pattern"),
        (
            "disk_gb = 0.1 }, cuda = { disk_gb = 0.2 } }\n",
            "disk_gb = 0.1 } }\n",
            "environment beta has no variant cuda",
        ),
        (
            "cuda = { disk_gb = 0.2 } }\n\n",
            "cuda = { disk_gb = 0.2 }, rocm = { disk_gb = 1 } }\n\n",
            "variant rocm",
        ),
        ('imports = ["numpy"]', "imports = []", "environments.beta.imports"),
        ("disk_gb = 0.1 }", "disk_gb = 0 }", "environments.beta.variants.cpu.disk_gb"),
        ('title = "Beta"', 'title = "Beta"\njava = true', "environment beta needs Java, and the release does not say"),
        ('name = "T_1"', 'name = "T_2"', "calls itself 'T_2'; name and file name must agree"),
        ('name = "T_1"', "name = T_1", "is not valid TOML"),
    ],
)
def test_a_mistake_is_named_with_its_file_and_place(folder: Path, old: str, new: str, told: str) -> None:
    change(folder, old, new)
    with pytest.raises(StackError) as error:
        load_release("T_1", folder)
    assert str(folder / "T_1.toml") in str(error.value)
    assert told in str(error.value)


def test_an_unknown_release_is_answered_with_the_nearest(folder: Path) -> None:
    with pytest.raises(StackError, match=r"No release is called 'T_2' in .*; did you mean T_1"):
        load_release("T_2", folder)
    with pytest.raises(StackError, match=r"No release is called 'elsewhere' in .*; there are: T_1"):
        load_release("elsewhere", folder)


def test_an_unknown_variant_is_answered_with_the_known_ones(folder: Path) -> None:
    with pytest.raises(StackError, match="Release T_1 has no variant 'gpu'; it has cpu, cuda"):
        load_release("T_1", folder).require_variant("gpu")


@pytest.mark.parametrize("name", release_names(bundled_releases()))
def test_every_release_that_comes_along_has_locks_that_are_up_to_date(name: str) -> None:
    folder = bundled_releases()
    release = load_release(name, folder)
    for environment in release.environments:
        for variant in release.variants:
            lock = read_lock(folder, release, environment, variant)
            pinned = {(pin.name, pin.version) for pin in lock.pins}
            asked = (requirement.split("==") for requirement in release.requirements(environment, variant))
            assert {(name.split("[")[0], version) for name, version in asked} <= pinned


def test_every_package_of_a_release_that_comes_along_says_why_it_is_there() -> None:
    for name in release_names(bundled_releases()):
        release = load_release(name, bundled_releases())
        named = [release.packages, *(environment.packages for environment in release.environments.values())]
        assert all(package.why for packages in named for package in packages.values())
