"""A small repository, published once and copied for each test that changes it."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from sciencebox_stack.repository.keys import KeyFiles, Master, Signer, make_keys
from sciencebox_stack.repository.publish import Published, Repository, publish
from sciencebox_stack.repository.source import FolderSource
from sciencebox_stack.repository.verify import Trusted, verify

NAME = "software.example.org"


@dataclass
class Site:
    """Who publishes: the folder that is published, the repository, and its keys."""

    source: Path
    repository: Repository
    keys: KeyFiles
    signer: Signer

    def publish(self, **options: object) -> Published:
        self.repository.store.written = type(self.repository.store.written)()
        with self.repository.writing():
            return publish(self.repository, self.source, self.signer, **options)  # type: ignore[arg-type]

    def verify(self) -> Trusted:
        return verify(FolderSource(self.repository.root), self.keys.public.read_bytes(), NAME)

    def objects(self) -> set[str]:
        return {name.path for name in self.repository.store.names()}


def fill(folder: Path) -> None:
    """Files as a stack has them: a tree that begins a catalog, a long file, links, a script, odd names."""
    tree = folder / "lcg/releases/pytorch/0123/x86_64"
    (tree / "bin").mkdir(parents=True)
    (tree / "lib/empty").mkdir(parents=True)
    (tree / "bin/python").write_text("#!/bin/sh\n")
    (tree / "bin/python").chmod(0o6755)
    (tree / "bin/python3").symlink_to("./python")
    (tree / "lib/long.so").write_bytes(os.urandom(1_000_000) * 17)
    (tree / "lib/empty.txt").write_bytes(b"")
    (tree / "lib/Größe (µm).txt").write_text("named with care")
    (folder / "lcg/views/SB_1").mkdir(parents=True)
    (folder / "lcg/views/SB_1/x86_64").symlink_to("../../releases/pytorch/0123/x86_64")
    (folder / "README").write_text("A stack.\n")
    (folder / ".build").mkdir()
    (folder / ".build/lock").write_text("")


@pytest.fixture(scope="session")
def published_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    keys = KeyFiles(folder / "keys", NAME)
    make_keys(keys)
    site = Site(folder / "source", Repository(folder / "web", NAME), keys, Signer.read(keys))
    site.source.mkdir()
    fill(site.source)
    with site.repository.writing():
        site.repository.renew_whitelist(Master.read(site.keys), site.signer.certificate)
    site.publish(tag="first")
    return site


def _unused(folder: str, names: list[str]) -> list[str]:
    """Most of the 256 folders for objects, which whoever publishes makes again."""
    return [name for name in names if Path(folder).name == "data" and not any(Path(folder, name).iterdir())]


@pytest.fixture
def site(published_site: Site, tmp_path: Path) -> Site:
    """A copy of one's own, at revision 1."""
    old = published_site.source.parent
    for name in ("source", "web", "keys"):
        shutil.copytree(old / name, tmp_path / name, symlinks=True, ignore=_unused if name == "web" else None)
    repository, keys = Repository(tmp_path / "web", NAME), KeyFiles(tmp_path / "keys", NAME)
    return Site(tmp_path / "source", repository, keys, published_site.signer)
