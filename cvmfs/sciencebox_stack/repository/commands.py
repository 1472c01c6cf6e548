"""The commands about repositories: keys, publish, resign, verify, tags, rollback and gc."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from ..errors import StackError
from ..progress import ConsoleProgress, console
from .keys import KeyFiles, Master, Signer, make_keys, read_certificate, read_public, require_safe
from .letters import MANIFEST
from .maintain import Keep, collect
from .maintain import rollback as roll_back
from .objects import DamagedError
from .publish import WHITELIST_DAYS, Published, Repository
from .publish import publish as publish_folder
from .source import FolderSource, Source, WebSource
from .verify import SHOWN, Trusted, require_not_older, verify_all
from .verify import verify as verify_chain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RENEW_DAYS = 14  # before the whitelist expires: who publishes every week is never warned of it
READERS = 16  # at once: each waits for disk or network most of the time


def _name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,59}", name):
        raise typer.BadParameter("use small letters, digits, dots and dashes, as in software.example.org")
    return name


Name = Annotated[
    str,
    typer.Option(
        "--repository", metavar="NAME", callback=_name, help="Name of the repository, such as software.example.org."
    ),
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the repository, for a web server.")]
Keys = Annotated[Path, typer.Option("--keys", metavar="DIR", help="Folder of its keys.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to the program."""
    for command in (keys, publish, resign, verify, tags, rollback, gc):
        app.command()(command)


def keys(repository: Name, keys: Keys) -> None:
    """Make the keys of a repository; those that are there are kept.

    Give DIR/NAME.pub to whoever mounts it. DIR/NAME.masterkey is needed only by `resign`: keep it off this server if
    you can.
    """
    files = KeyFiles(keys, repository)
    make_keys(files)
    _say(f"The keys of {repository} are in {keys}. Clients need {files.public}.")


def publish(
    source: Annotated[Path, typer.Option(metavar="DIR", help="Folder to publish.")],
    repository: Name,
    out: Out,
    keys: Keys,
    tag: Annotated[str, typer.Option(metavar="T", help="A name for this revision, to which one can go back.")] = "",
    checksum: Annotated[bool, typer.Option("--checksum", help="Read every file, and repair damaged objects.")] = False,
) -> None:
    """Publish a folder as the next revision of a repository; moves only what changed."""
    require_safe(KeyFiles(keys, repository), source)
    if out.resolve().is_relative_to(source.resolve()):
        raise StackError(f"The repository {out} lies inside {source}, and would be published in itself. Move it away.")
    with _writing(repository, out, keys) as (files, target):
        signer, progress = Signer.read(files), ConsoleProgress(console())
        _keep_whitelist(files, target, signer, progress)
        began = time.monotonic()
        with progress.working("publishing") as step:
            done = publish_folder(
                target, source, signer, tag=tag, checksum=checksum, on_progress=_bytes(step.now, time.monotonic)
            )
    _report(done, time.monotonic() - began, progress)
    if tag and not done.is_new:
        progress.say(f"It has the name {tag} now.")


def resign(
    repository: Name,
    out: Out,
    keys: Keys,
    days: Annotated[int, typer.Option(min=1, max=366, help="How long the whitelist is valid.")] = WHITELIST_DAYS,
) -> None:
    """Sign the whitelist anew with the master key, before it expires."""
    with _writing(repository, out, keys) as (files, target):
        _require_same_name(target)
        whitelist = target.renew_whitelist(Master.read(files), read_certificate(files), days)
    _say(f"The whitelist of {repository} is valid until {whitelist.expires:%Y-%m-%d %H:%M} UTC.")


def verify(
    where: Annotated[str, typer.Argument(metavar="URL|DIR", help="The repository.")],
    key: Annotated[Path, typer.Option(metavar="FILE", help="Public half of the master key that you trust.")],
    repository: Annotated[str, typer.Option(metavar="NAME", help="The name that it must have.")] = "",
    full: Annotated[bool, typer.Option("--full", help="Read every object, of earlier revisions too.")] = False,
    seen: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Remembers the newest revision, and refuses older ones.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Follow the chain of trust: master key, whitelist, certificate, manifest, catalogs; with --full all objects."""
    source: Source = WebSource(where) if "://" in where else FolderSource(Path(where))
    trusted = verify_chain(source, read_public(key), repository)
    if seen is not None:
        require_not_older(trusted.manifest, seen)
    counted: dict[str, object] = {}
    if full:
        progress = ConsoleProgress(Console(stderr=True))
        with progress.working("reading all objects") as step:
            found = verify_all(
                source, trusted.manifest, READERS, lambda done, of: step.now(f"{done:,} of {of:,} objects")
            )
        if found.damaged:
            more = len(found.damaged) - SHOWN
            listed = "\n  ".join(found.damaged[:SHOWN]) + (f"\n  and {more} more" if more > 0 else "")
            raise DamagedError(
                f"{len(found.damaged)} of {found.catalogs + found.objects} objects are damaged:\n  {listed}\n"
                "Who publishes it repairs what the last revision needs with `sciencebox-stack publish --checksum`."
            )
        counted = {
            "revisions": found.revisions, "catalogs": found.catalogs, "files": found.files, "objects": found.objects,
        }  # fmt: skip
    _show_trust(trusted, counted, as_json=as_json)


def tags(repository: Name, out: Out, as_json: AsJson = False) -> None:
    """List the revisions that one can go back to."""
    target = Repository(out, repository)
    found = target.tags(target.manifest())
    if as_json:
        sys.stdout.write(json.dumps([asdict(tag) for tag in found], indent=2) + "\n")
        return
    if not found:
        _say(f"Nothing is published in {out} yet.")
        return
    table = Table("tag", "revision", "published (UTC)", box=None)
    for tag in found:
        moment = datetime.fromtimestamp(tag.timestamp, timezone.utc)
        table.add_row(tag.name, str(tag.revision), f"{moment:%Y-%m-%d %H:%M}")
    console().print(table)


def rollback(
    tag: Annotated[str, typer.Argument(metavar="TAG", help="As `tags` shows it.")],
    repository: Name,
    out: Out,
    keys: Keys,
) -> None:
    """Publish the content of a tag again, as a new revision. `rollback` to the newer tag undoes it."""
    _require_published(out)
    with _writing(repository, out, keys) as (files, target):
        manifest = roll_back(target, Signer.read(files), tag)
    _say(f"Revision {manifest.revision} of {repository} shows what {tag} is.")


def gc(
    repository: Name,
    out: Out,
    keys: Keys,
    revisions: Annotated[int, typer.Option("--keep", min=1, help="How many of the newest revisions stay.")] = 3,
    days: Annotated[float, typer.Option("--days", min=0, help="Younger revisions stay, too.")] = 7,
    dry_run: DryRun = False,
) -> None:
    """Remove objects that no revision needs. Named tags, the newest revisions and young ones are kept."""
    _require_published(out)
    with _writing(repository, out, keys) as (files, target):
        progress, signer = ConsoleProgress(console()), Signer.read(files)
        with progress.working("looking for what no revision needs") as step:
            done = collect(
                target, signer, Keep(revisions, days), dry_run=dry_run,
                on_progress=lambda count: step.now(f"{count:,} objects"),
            )  # fmt: skip
    would = "would be " if dry_run else ""
    names = f" {len(done.tags)} revisions {would}forgotten." if done.tags else ""
    _say(f"{done.objects:,} objects {would}removed, {done.freed_bytes / 1e6:,.1f} MB.{names}")


def _require_published(out: Path) -> None:
    """Before anything is made in a folder that was named by mistake."""
    if not (out / MANIFEST).exists():
        raise StackError(f"Nothing is published in {out} yet. `sciencebox-stack publish` begins.")


@contextmanager
def _writing(repository: str, out: Path, keys: Path) -> Iterator[tuple[KeyFiles, Repository]]:
    os.umask(0o022)  # what is published is for everyone to read
    files, target = KeyFiles(keys, repository), Repository(out, repository)
    require_safe(files, out)
    with target.writing():
        yield files, target


def _require_same_name(target: Repository) -> None:
    """Refuse to put the whitelist of one repository into the folder of another."""
    before = target.whitelist()
    if before is not None and before.repository != target.name:
        raise StackError(f"{target.root} holds the repository {before.repository}, not {target.name}.")


def _keep_whitelist(files: KeyFiles, target: Repository, signer: Signer, progress: ConsoleProgress) -> None:
    """Sign a whitelist where there is none or it ends soon and the master key is here; else say so in time."""
    whitelist, now = target.whitelist(), datetime.now(timezone.utc)
    if whitelist is not None and whitelist.expires > now + timedelta(days=RENEW_DAYS):
        return
    if files.master.exists():
        target.renew_whitelist(Master.read(files), signer.certificate)
    elif whitelist is not None:
        ends = "expires" if whitelist.expires > now else "has expired"
        progress.say(
            f"The whitelist {ends}, on {whitelist.expires:%Y-%m-%d}; clients refuse the repository from then on. "
            "Sign it where the master key is: `sciencebox-stack resign`."
        )


def _report(done: Published, seconds: float, progress: ConsoleProgress) -> None:
    for sentence in done.advice:
        progress.say(sentence)
    manifest, written = done.manifest, done.written
    if not done.is_new:
        progress.say(f"Nothing has changed since revision {manifest.revision} of {manifest.repository}.")
        return
    progress.say(
        f"Revision {manifest.revision} of {manifest.repository}: {done.files:,} files, {done.bytes_read / 1e6:,.0f} MB "
        f"read, {written.objects:,} new objects of {written.stored_bytes / 1e6:,.0f} MB ({seconds:.0f} s)"
    )


def _show_trust(trusted: Trusted, counted: dict[str, object], *, as_json: bool) -> None:
    whitelist, manifest = trusted.whitelist, trusted.manifest
    facts = {
        "repository": manifest.repository,
        "revision": manifest.revision,
        "published": f"{datetime.fromtimestamp(manifest.timestamp, timezone.utc):%Y-%m-%d %H:%M} UTC",
        "whitelist expires": f"{whitelist.expires:%Y-%m-%d %H:%M} UTC",
        "root catalog": manifest.root,
        **counted,
    }
    if as_json:
        sys.stdout.write(json.dumps({name.replace(" ", "_"): value for name, value in facts.items()}, indent=2) + "\n")
        return
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) and name != "revision" else str(value))
    console().print(table)
    _say("Everything that was looked at is as its owner signed it.")


def _bytes(show: Callable[[str], None], clock: Callable[[], float]) -> Callable[[int, int], None]:
    began = clock()

    def on_progress(done: int, total: int) -> None:
        took = clock() - began
        shown = f"{done / 1e6:,.0f} of {total / 1e6:,.0f} MB"
        if done and took >= 1:  # before, it says nothing of the rest
            shown += f", {done / took / 1e6:.0f} MB/s, {(total - done) * took / done:.0f} s left"
        show(shown)

    return on_progress


def _say(sentence: str) -> None:
    console().print(sentence, highlight=False, markup=False, emoji=False, soft_wrap=True)
