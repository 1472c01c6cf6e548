"""From a release file and its locks to a published view.

Every step makes one tree at its final path, checks it and only then records it as finished, so a build that
breaks or is interrupted goes on at the first unfinished tree. The view is switched last.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from .check import Imported
from .environment import PackageSet, create_environment, install_packages, install_project, own_packages
from .errors import StackError
from .headers import find_headers, header_variables, write_shim
from .interpreter import InterpreterSource, install_interpreter, interpreter_tree
from .java import find_java
from .lock import digest, lock_path, read_lock
from .tree import Layout, finish_tree, only_builder, read_record, start_tree, switch_view
from .view import ViewEnvironment, ViewPlan, view_texts

if TYPE_CHECKING:
    from .carried import Part
    from .check import Checks
    from .progress import Progress
    from .project import Project
    from .release import Release
    from .uv import Uv

_FORMAT = "7"  # to be raised when `Builder` makes something else from the same parts
_SPARE_BYTES = 500_000_000


@dataclass(frozen=True)
class Plan:
    """What is to be published; every path and key follows from it."""

    release: Release
    variant: str
    layout: Layout
    interpreter: InterpreterSource
    packages: tuple[PackageSet, ...]
    project: Project | None
    headers: Part | None = None
    java: Part | None = None

    @property
    def name(self) -> str:
        """The name users see: of the release's variant."""
        return self.release.variants[self.variant].release

    @property
    def view(self) -> Path:
        """The link that is switched."""
        return self.layout.view(self.name)

    @property
    def key(self) -> str:
        """Content of the release tree: its texts, whatever their place, its links, and the project's package."""
        content = {
            **view_texts(self.view_plan, Path("/")),
            **{path: str(target) for path, target in self.links.items()},
        }
        parts = (f"{path}\0{text}" for path, text in sorted(content.items()))
        return digest(_FORMAT, self.project.key if self.project else "", *parts)[:12]

    @property
    def tree(self) -> Path:
        """Where the view will lead."""
        return self.layout.tree(self.name, self.key)

    def packages_tree(self, packages: PackageSet) -> Path:
        """The heavy tree of one environment."""
        return self.layout.tree(packages.environment, packages.key)

    def site_packages(self, packages: PackageSet) -> Path:
        """Where the packages of one environment lie."""
        return packages.site_packages(self.packages_tree(packages))

    @property
    def links(self) -> dict[str, Path]:
        """What links in the release tree lead to, by their path in it."""
        found = {name: Path(self.release.default) / name for name in ("bin", "lib")}
        for packages in self.packages:
            for name in self.release.environments[packages.environment].labextensions:
                path = f"share/jupyter/labextensions/{name}"
                found[path] = self.site_packages(packages) / path
        return found

    @property
    def carried(self) -> tuple[Part, ...]:
        """What it carries of the distribution, besides the interpreter."""
        return tuple(part for part in (self.headers, self.java) if part is not None)

    def carried_variables(self, environment: str) -> dict[str, str]:
        """Variables by which an environment finds what it needs of that."""
        wanted = self.release.environments[environment]
        found: dict[str, str] = {}
        if self.headers is not None and wanted.headers:
            found |= header_variables(self.headers.tree(self.layout))
        if self.java is not None and wanted.java:
            found["JAVA_HOME"] = str(self.java.tree(self.layout))
        return found

    @property
    def view_plan(self) -> ViewPlan:
        """What the texts of the view are made from."""
        environments = tuple(
            ViewEnvironment(
                name=packages.environment,
                title=self.release.environments[packages.environment].title,
                lock=packages.lock,
                packages=self.packages_tree(packages),
                variables={
                    **self.release.variables(packages.environment, self.variant, str(self.site_packages(packages))),
                    **self.carried_variables(packages.environment),
                },
                extensions=tuple(self.release.environments[packages.environment].extensions),
                cuda=packages.lock.cuda if self.variant == "cuda" else "",
            )
            for packages in self.packages
        )
        return ViewPlan(
            release=self.name,
            platform=self.release.platform,
            compiler=self.release.compiler,
            default=self.release.default,
            interpreter=interpreter_tree(self.layout, self.interpreter),
            interpreter_version=self.interpreter.version,
            environments=environments,
            project=self.project,
            java_version=self.java.version if self.java else "",
        )


def make_plan(
    *, release: Release, variant: str, folder: Path, root: Path, interpreter: InterpreterSource, project: Project | None
) -> Plan:
    """Put together what `build` needs; ``folder`` holds the release file and its locks.

    Raises:
        StackError: unknown variant, or a lock is missing or out of date.
    """
    release.require_variant(variant)
    packages = tuple(
        PackageSet(
            environment=name,
            lock=read_lock(folder, release, name, variant),
            lock_file=lock_path(folder, release, name, variant),
            python=release.python,
            platform=release.platform,
            trim=tuple(environment.variants[variant].trim),
            sources=release.sources(name, variant),
        )
        for name, environment in release.environments.items()
    )
    wants_headers = any(environment.headers for environment in release.environments.values())
    headers = find_headers(release.compiler) if wants_headers else None
    wants_java = any(environment.java for environment in release.environments.values())
    java = find_java(release.java) if wants_java else None
    return Plan(release, variant, Layout(root, release.platform), interpreter, packages, project, headers, java)


def is_published(plan: Plan) -> bool:
    """Whether the view already shows exactly this."""
    tree = plan.tree
    return read_record(tree) is not None and plan.view.is_symlink() and plan.view.resolve() == tree.resolve()


@dataclass(frozen=True)
class Builder:
    """Carries out a plan."""

    plan: Plan
    uv: Uv
    checks: Checks
    progress: Progress

    def build(self) -> None:
        """Build what is not there yet and publish it.

        Raises:
            StackError: something could not be built or failed its check; the published release is as before.
        """
        plan = self.plan
        with only_builder(plan.layout.work):
            _require_space(plan)
            with self.progress.working("interpreter"):
                interpreter = install_interpreter(plan.layout, plan.interpreter)
            for part in plan.carried:
                part.install(plan.layout)
            for packages in plan.packages:
                self._make_packages(packages, interpreter)
            if read_record(plan.tree) is None:
                self._make_release(interpreter)
            switch_view(plan.view, plan.tree, plan.layout.work)

    def _make_packages(self, packages: PackageSet, interpreter: Path) -> None:
        name, tree = packages.environment, self.plan.packages_tree(packages)
        if read_record(tree) is not None:
            self.progress.say(f"{name}: packages are there already")
            return
        start_tree(tree)
        python = interpreter / "bin" / f"python{packages.python}"
        with self.progress.working(f"{name}: packages") as step:
            install_packages(packages, tree, python, self.uv, step.tool_says)
        with self.progress.working(f"{name}: imports"):
            release, site_packages = self.plan.release, packages.site_packages(tree)
            modules = tuple(release.environments[name].imports)
            variables = release.variables(name, self.plan.variant, str(site_packages))
            self.checks.imports(Imported(name, modules, variables), python, site_packages)
        with self.progress.working(f"{name}: to disk"):
            details = {"lock": packages.lock.digest[:12], "packages": str(len(packages.lock.pins))}
            finish_tree(tree, name, packages.key, (), details)

    def _make_release(self, interpreter: Path) -> None:
        plan, tree = self.plan, self.plan.tree
        start_tree(tree)
        with self.progress.working("kernels and setup scripts"), TemporaryDirectory() as scratch:
            wheel = plan.project.wheel(Path(scratch)) if plan.project else None
            for packages in plan.packages:
                site_packages = plan.site_packages(packages)
                own = own_packages(plan.name, packages.environment)
                python = create_environment(
                    tree / packages.environment, interpreter, site_packages, packages.python, own
                )
                if wheel is not None:
                    install_project(wheel, python, self.uv)
                if plan.headers is not None and plan.release.environments[packages.environment].headers:
                    write_shim(python.with_name("c++"), plan.headers.tree(plan.layout), plan.headers.version)
            _write_texts_and_links(plan)
        for packages in plan.packages:
            name = packages.environment
            with self.progress.working(f"{name}: kernel"):
                modules = (plan.project.name,) if plan.project else ()
                self.checks.kernel(name, tree / name / "bin" / "python", tree / "share" / "jupyter", modules)
        finish_tree(tree, plan.name, plan.key, _uses(plan), _details(plan))


def _write_texts_and_links(plan: Plan) -> None:
    tree = plan.tree
    for path, text in view_texts(plan.view_plan, tree).items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text, encoding="utf-8")
    for path, target in plan.links.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).symlink_to(target)


def _uses(plan: Plan) -> tuple[str, ...]:
    trees = [interpreter_tree(plan.layout, plan.interpreter), *map(plan.packages_tree, plan.packages)]
    trees += [part.tree(plan.layout) for part in plan.carried]
    return tuple(str(tree.relative_to(plan.layout.root)) for tree in trees)


def _details(plan: Plan) -> dict[str, str]:
    own = f"{plan.project.name} {plan.project.version}" if plan.project else ""
    details = {"variant": plan.variant, "environments": " ".join(p.environment for p in plan.packages), "project": own}
    if plan.variant == "cuda":  # the form compares it with the driver
        titled = ((plan.release.environments[p.environment].title, p.lock.cuda) for p in plan.packages)
        details["cuda"] = ", ".join(f"{title} {version}" for title, version in titled if version)
    return details


def _require_space(plan: Plan) -> None:
    missing = [p.environment for p in plan.packages if read_record(plan.packages_tree(p)) is None]
    environments = plan.release.environments
    needed = sum(environments[name].variants[plan.variant].disk_gb for name in missing) * 1e9 + _SPARE_BYTES
    free = shutil.disk_usage(plan.layout.root).free
    if free < needed:
        raise StackError(
            f"{plan.name} needs {needed / 1e9:.1f} GB more in {plan.layout.root} and {free / 1e9:.1f} GB are free;"
            " free some space (`sciencebox-stack prune` removes trees that no release uses) and run again."
        )
