"""The command `sciencebox-stack`."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from .build import Builder, is_published, make_plan
from .check import RealChecks
from .content import content_digest
from .errors import StackError
from .interpreter import find_interpreter
from .lock import compile_lock
from .progress import ConsoleProgress, console
from .project import read_project
from .published import Published, published, remove_stale_downloads, remove_tree, unused_trees
from .release import bundled_releases, load_release, release_names
from .repository.commands import add_to
from .tree import Layout, only_builder
from .uv import Uv, find_uv

INTERRUPTED = 130

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Build and publish releases of the software stack.")

ReleaseName = Annotated[str, typer.Argument(metavar="RELEASE", help="Name of the release, as `list` shows it.")]
Root = Annotated[
    Path,
    typer.Option("--root", help="Path of the repository, where it is built and will be mounted.", show_default=True),
]
Releases = Annotated[
    Path | None,
    typer.Option("--releases", help="Folder of release files; the ones that come with the program if left out."),
]
DEFAULT_ROOT = Path("/cvmfs/sciencebox.local")


@app.command()
def build(
    release: ReleaseName,
    root: Root = DEFAULT_ROOT,
    variant: Annotated[str, typer.Option(help="cpu, or cuda for servers with an NVIDIA driver.")] = "cpu",
    brainmri: Annotated[
        Path | None,
        typer.Option(
            envvar="SCIENCEBOX_STACK_BRAINMRI",
            help="The notebooks' package: its folder or wheel, laid over every environment.",
        ),
    ] = None,
    releases: Releases = None,
    *,
    prune: Annotated[bool, typer.Option("--prune", help="Then remove trees that no published release uses.")] = False,
) -> None:
    """Build a release from its locks and publish it; does nothing when it is published already."""
    os.umask(0o022)  # what is published is for everyone to read
    folder = releases or bundled_releases()
    described = load_release(release, folder)
    described.require_variant(variant)
    project = read_project(brainmri) if brainmri else None
    plan = make_plan(
        release=described,
        variant=variant,
        folder=folder,
        root=_absolute(root),
        interpreter=find_interpreter(described.python),
        project=project,
    )
    progress = ConsoleProgress(console())
    began, found = time.monotonic(), is_published(plan)
    if not found:
        cache = str(plan.layout.work / "cache")
        uv = Uv(find_uv(), {"UV_CACHE_DIR": cache, "PYC_INVALIDATION_MODE": "UNCHECKED_HASH"})
        Builder(plan, uv, RealChecks(), progress).build()
    if prune:
        _remove_unused(plan.layout, progress)
    how = "up to date" if found else "published"
    took = "" if found else f" ({time.monotonic() - began:.0f} s)"
    progress.say(f"{plan.name} is {how} in {plan.view}{took}")


@app.command()
def lock(
    release: ReleaseName,
    releases: Releases = None,
    environment: Annotated[
        list[str] | None, typer.Option("--environment", help="Only this one; others keep their locks.")
    ] = None,
    upgrade: Annotated[bool, typer.Option("--upgrade", help="Also what the release does not name.")] = False,
) -> None:
    """Resolve a release file into its locks, for every environment and variant."""
    folder = releases or bundled_releases()
    described = load_release(release, folder)
    uv, progress = Uv(find_uv()), ConsoleProgress(console())
    if unknown := sorted(set(environment or ()) - set(described.environments)):
        raise StackError(f"{release} has no environment {unknown[0]!r}; it has {', '.join(described.environments)}.")
    for name in environment or described.environments:
        for variant in described.variants:
            resolved = compile_lock(folder, described, name, variant, uv, upgrade=upgrade)
            progress.say(f"{name} ({variant}): {len(resolved.pins)} packages, lock {resolved.digest[:12]}")


@app.command("list")
def list_releases(releases: Releases = None) -> None:
    """Show the releases that can be built."""
    folder = releases or bundled_releases()
    table = Table("release", "variant", "published as", "platform", "environments", box=None)
    for name in release_names(folder):
        described = load_release(name, folder)
        for variant, names in described.variants.items():
            table.add_row(name, variant, names.release, described.platform, " ".join(described.environments))
    console().print(table)


@app.command()
def status(
    root: Root = DEFAULT_ROOT, as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False
) -> None:
    """Show what is published under a root."""
    views, screen = published(root), console()
    if as_json:
        sys.stdout.write(json.dumps([_as_dictionary(view) for view in views], indent=2) + "\n")
        return
    if not views:
        screen.print(f"Nothing is published in {root}.", highlight=False, markup=False)
        return
    table = Table("release", "platform", "content", "environment", "packages", "lock", "size", box=None)
    for view in views:
        own = view.record.details["project"] or "without notebooks' package"
        table.add_row(view.release, view.platform, view.record.key, own, "", "", _gigabytes(view.size))
        for part in view.parts:
            details = part.details
            table.add_row(
                "", "", "", part.name, details.get("packages", ""), details.get("lock", ""), _gigabytes(part.size)
            )
    screen.print(table)
    if left := unused_trees(root):
        screen.print(f"{len(left)} trees are used by no release; `sciencebox-stack prune` removes them.")


@app.command()
def digest(root: Root = DEFAULT_ROOT) -> None:
    """Print the SHA-256 of all that is published, as `sha256sum` does, to compare servers. Reads every file."""
    views = published(root)
    if not views:
        raise StackError(f"Nothing is published in {root}.")
    for view in views:
        for tree in (view.tree, *view.used):
            sys.stdout.write(f"{content_digest(tree)}  {tree.resolve().relative_to(root.resolve())}\n")


@app.command()
def prune(
    root: Root = DEFAULT_ROOT,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
) -> None:
    """Remove trees that no published release uses. Sessions started before an upgrade may still run from them."""
    progress, layout = ConsoleProgress(console()), Layout(_absolute(root), "")
    if not dry_run:
        _remove_unused(layout, progress)
        return
    for tree in unused_trees(layout.root):
        progress.say(f"would remove {tree}")


add_to(app)


def _absolute(root: Path) -> Path:
    if not root.is_absolute():
        raise StackError(f"{root} must be an absolute path: a release only works at the path it was built for.")
    if not root.is_dir():
        raise StackError(f"{root} is not a folder; create it, or mount the folder that is to be published there.")
    return root


def _remove_unused(layout: Layout, progress: ConsoleProgress) -> None:
    with only_builder(layout.work):
        for tree in unused_trees(layout.root):
            progress.say(f"removed {tree} ({_gigabytes(remove_tree(layout.root, tree))})")
        remove_stale_downloads(layout.work / "cache")


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"


def _as_dictionary(view: Published) -> dict[str, object]:
    return {
        "release": view.release,
        "platform": view.platform,
        "key": view.record.key,
        "bytes": view.size,
        **view.record.details,
        "environments": {
            part.name: {**part.details, "key": part.key, "bytes": part.size}
            for part in view.parts
            if "lock" in part.details
        },
    }


class _InterruptedError(BaseException):
    """A signal asked to end; no library may take it for an error of its own."""


def main() -> None:
    """Entry point: an expected failure is one sentence and status 1, a wrong command line is status 2."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        app()
    except StackError as error:
        _give_up(str(error), 1)
    except _InterruptedError:
        _give_up("Interrupted; what is finished is kept, run the same command again to go on.", INTERRUPTED)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            _give_up("The disk is full; free some space and run the same command again. What is finished is kept.", 1)
        _give_up(f"{error.filename or 'The system'}: {error.strerror}.", 1)


def _interrupt(_signal: int, _frame: object) -> None:
    raise _InterruptedError


def _give_up(sentence: str, code: int) -> None:
    Console(stderr=True, soft_wrap=True).print(
        f"sciencebox-stack: {sentence}", style="red", highlight=False, markup=False
    )
    sys.exit(code)
