"""From a plan to a published view, and what is left when that goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from sciencebox_stack import build as build_module
from sciencebox_stack.build import Builder, is_published
from sciencebox_stack.errors import StackError
from sciencebox_stack.tree import Layout, only_builder, read_record

from .conftest import RELEASE, Site

Write = Callable[..., None]


def test_a_release_is_published_under_its_variants_name(site: Site, root: Path) -> None:
    plan = site.build()
    assert plan.view == root / "lcg/views/T_1/x86_64-test-opt"
    assert is_published(plan)
    assert not is_published(site.plan("cuda"))
    assert site.build("cuda").view == root / "lcg/views/T_1_cuda/x86_64-test-opt"
    assert is_published(plan)


def test_the_views_bin_and_lib_are_those_of_the_default_environment(site: Site) -> None:
    view = site.build().view
    assert (view / "bin" / "tool").resolve() == (view / "alpha" / "bin" / "tool").resolve()
    assert (view / "lib").resolve() == (view / "alpha" / "lib").resolve()


def test_every_import_of_the_release_file_is_tried(site: Site) -> None:
    site.build()
    assert site.checks.imported == [("alpha", "numpy", "torch"), ("beta", "numpy")]


def test_what_is_to_be_trimmed_is_gone(site: Site) -> None:
    plan = site.build()
    alpha, beta = (packages.site_packages(plan.packages_tree(packages)) for packages in plan.packages)
    assert not list(alpha.glob("heavy/*"))
    assert list(beta.glob("heavy/*"))


def test_a_pattern_that_trims_nothing_is_an_error(folder: Path, site: Site, write_locks: Write) -> None:
    (folder / "T_1.toml").write_text(RELEASE.replace("heavy/*.so", "light/*.so"))
    with pytest.raises(StackError, match=r"alpha has no file light/\*\.so to trim; the wheels have changed"):
        site.build()


def test_a_second_build_installs_nothing(site: Site) -> None:
    site.build()
    site.uv.tasks.clear()
    site.build()
    assert site.uv.tasks == []


def test_another_package_of_the_notebooks_leaves_the_heavy_trees_alone(site: Site, wheel: Path) -> None:
    first = site.build()
    wheel.write_bytes(b"second")
    site.uv.tasks.clear()
    second = site.build()
    assert set(site.uv.tasks) == {f"install {wheel.name}"}
    assert second.view.resolve() == second.tree != first.tree


def test_another_lock_makes_other_trees_and_keeps_the_old_ones(site: Site, write_locks: Write) -> None:
    first = site.build()
    write_locks(numpy="2.4.7")
    second = site.build()
    assert second.view.resolve() == second.tree
    assert read_record(first.tree) is not None
    assert {first.packages_tree(p) for p in first.packages}.isdisjoint(second.packages_tree(p) for p in second.packages)


def test_environments_of_two_variants_with_one_content_share_their_tree(site: Site) -> None:
    cpu, cuda = site.build("cpu"), site.build("cuda")
    assert cpu.packages_tree(cpu.packages[1]) == cuda.packages_tree(cuda.packages[1])
    assert cpu.packages_tree(cpu.packages[0]) != cuda.packages_tree(cuda.packages[0])  # trimmed, and not


@pytest.mark.parametrize("failing", ["beta", "beta kernel"])
def test_a_build_that_fails_its_check_leaves_the_published_release(
    site: Site, write_locks: Write, failing: str
) -> None:
    good = site.build()
    write_locks(numpy="2.4.7")
    site.checks.failing.add(failing)
    with pytest.raises(StackError, match="beta"):
        site.build()
    assert good.view.resolve() == good.tree
    assert not is_published(site.plan())


def test_readers_see_the_old_release_until_the_new_one_has_passed(site: Site, write_locks: Write) -> None:
    good = site.build()
    write_locks(numpy="2.4.7")
    seen: list[Path] = []
    site.checks.at_kernel = lambda: seen.append(good.view.resolve())
    new = site.build()
    assert set(seen) == {good.tree}
    assert good.view.resolve() == new.tree


def test_a_build_goes_on_where_it_broke(site: Site) -> None:
    site.uv.broken.add("install beta")
    with pytest.raises(StackError, match="Could not install beta"):
        site.build()
    site.uv.broken.clear()
    site.uv.tasks.clear()
    plan = site.build()
    assert "install alpha" not in site.uv.tasks
    assert "install beta" in site.uv.tasks
    assert "alpha: packages are there already" in site.told.lines
    assert is_published(plan)


def test_an_interrupted_build_goes_on_and_half_a_tree_is_not_taken_for_one(site: Site) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    site.checks.at_kernel = interrupt
    with pytest.raises(KeyboardInterrupt):
        site.build()
    plan = site.plan()
    assert plan.tree.is_dir()
    assert not plan.view.exists()
    (plan.tree / "rubbish").touch()
    site.checks.at_kernel = lambda: None
    site.build()
    assert is_published(plan)
    assert not (plan.view / "rubbish").exists()


def test_a_view_that_was_removed_comes_back_without_an_installation(site: Site) -> None:
    plan = site.build()
    plan.view.unlink()
    site.uv.tasks.clear()
    site.build()
    assert is_published(plan)
    assert site.uv.tasks == []


def test_a_second_builder_is_refused_and_touches_nothing(site: Site, root: Path) -> None:
    with only_builder(Layout(root, "").work), pytest.raises(StackError, match="Another build is at work"):
        site.build()
    assert site.uv.tasks == []


def test_too_little_space_is_told_before_anything_is_fetched(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module.shutil, "disk_usage", lambda _path: SimpleNamespace(free=600_000_000))
    with pytest.raises(StackError, match=r"T_1 needs 0.7 GB more in .* and 0.6 GB are free; free some space"):
        site.build()
    assert site.uv.tasks == []


def test_space_is_asked_only_for_what_is_missing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.uv.broken.add("install beta")
    with pytest.raises(StackError):
        site.build()
    site.uv.broken.clear()
    monkeypatch.setattr(build_module.shutil, "disk_usage", lambda _path: SimpleNamespace(free=650_000_000))
    assert is_published(site.build())


@pytest.mark.parametrize("library", ["libcuda.so.1", "libnvidia-ml.so", "libnvidia-ptxjitcompiler.so.580.1"])
def test_a_library_of_the_driver_in_a_package_is_refused(
    site: Site, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install = type(site.uv).run

    def with_stub(self: object, task: str, arguments: list[str], on_line: object = None) -> None:
        install(self, task, arguments, on_line)  # type: ignore[arg-type]
        if task == "install beta":
            target = Path(arguments[arguments.index("--target") + 1])
            (target / "stubs").mkdir()
            (target / "stubs" / library).touch()

    monkeypatch.setattr(type(site.uv), "run", with_stub)
    with pytest.raises(StackError, match=rf"stubs/{library} would be loaded instead of the host's driver"):
        site.build()


def test_progress_names_each_step_once(site: Site) -> None:
    Builder(site.plan(), site.uv, site.checks, site.told).build()
    steps = [line for line in site.told.lines if not line.startswith("Installed")]
    assert steps == [
        "interpreter",
        *(f"{name}: {what}" for name in ("alpha", "beta") for what in ("packages", "imports", "to disk")),
        "kernels and setup scripts",
        "alpha: kernel",
        "beta: kernel",
    ]
