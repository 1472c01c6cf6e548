"""Building: what is due, where Debian comes from, and how a failing build is told. The engine is a stand-in."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import docker
import pytest
from rich.console import Console
from sciencebox.host import build, images
from sciencebox.host.steps import Screen, StepError
from sciencebox.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


class Engine:
    """An engine that remembers images by tag and builds whatever it is sent."""

    def __init__(self, *, registry: bool = False) -> None:
        self.tags: dict[str, dict[str, str]] = {}
        self.built: list[dict[str, Any]] = []
        self.pulled: list[str] = []
        self.registry = registry
        self.api = SimpleNamespace(build=self._build, pull=self._pull, import_image_from_data=self._import)
        self.images = SimpleNamespace(get=self._get, prune=self._prune)

    def _prune(self, **_: Any) -> None:
        raise docker.errors.APIError("a prune operation is already running")

    def _get(self, tag: str) -> Any:
        if tag not in self.tags:
            raise docker.errors.ImageNotFound(tag)
        return SimpleNamespace(labels=self.tags[tag])

    def _pull(self, repository: str, tag: str) -> None:
        self.pulled.append(f"{repository}:{tag}")
        if not self.registry:
            raise docker.errors.APIError("no such host")
        self.tags[f"{repository}:{tag}"] = {}

    def _import(self, stream: Any, repository: str, tag: str) -> None:
        while stream.read(65536):
            pass
        self.tags[f"{repository}:{tag}"] = {}

    def _build(self, **arguments: Any) -> list[dict[str, str]]:
        self.built.append(arguments)
        self.tags[arguments["tag"]] = arguments["labels"]
        return [{"stream": "Step 1/2 : FROM x\n"}]


def plan(name: str, inputs: str = "1") -> images.Plan:
    """An image to build."""
    return images.Plan(name, images.tag(name), (images.File(f"images/{name}/Dockerfile", b"FROM x\n"),), inputs)


@pytest.fixture
def screen() -> Screen:
    """A screen that nobody looks at."""
    return Screen(Console(file=io.StringIO()))


@pytest.fixture(autouse=True)
def bootstrapped(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The mirrors that Debian was bootstrapped from."""
    mirrors: list[str | None] = []

    def bootstrap(client: Engine, mirror: str | None, _screen: Screen) -> None:
        mirrors.append(mirror)
        client.tags[build.bootstrapped(mirror)] = {}

    monkeypatch.setattr(build, "bootstrap", bootstrap)
    return mirrors


def test_only_what_changed_is_built(screen: Screen) -> None:
    engine = Engine(registry=True)
    assert build.build_images(engine, [plan("base"), plan("hub")], Settings(), {}, screen) == "built base, hub"
    assert build.build_images(engine, [plan("base"), plan("hub")], Settings(), {}, screen) == "all up to date"
    outcome = build.build_images(engine, [plan("base"), plan("hub", "2")], Settings(), {}, screen)
    assert outcome == "built hub; 1 up to date"
    assert [arguments["tag"] for arguments in engine.built] == [images.tag(n) for n in ("base", "hub", "hub")]


def test_everything_is_built_when_asked(screen: Screen) -> None:
    engine = Engine(registry=True)
    build.build_images(engine, [plan("base")], Settings(), {}, screen)
    build.build_images(engine, [plan("base")], Settings(), {}, screen, rebuild=True)
    assert [arguments["nocache"] for arguments in engine.built] == [False, True]
    assert engine.pulled == ["debian:bookworm-slim"] * 2


def test_proxies_and_indexes_reach_the_build(screen: Screen) -> None:
    engine = Engine(registry=True)
    build.build_images(engine, [plan("base")], Settings(), {"HTTPS_PROXY": "http://proxy:1"}, screen)
    assert engine.built[0]["buildargs"] == {"HTTPS_PROXY": "http://proxy:1", "BASE_IMAGE": "debian:bookworm-slim"}


def test_debian_is_bootstrapped_where_no_registry_answers(screen: Screen, bootstrapped: list[str | None]) -> None:
    engine = Engine()
    assert build.provide_debian(engine, Settings(), screen) == build.BOOTSTRAPPED
    assert build.provide_debian(engine, Settings(), screen) == build.BOOTSTRAPPED
    assert bootstrapped == [None]


def test_a_mirror_is_bootstrapped_from(screen: Screen, bootstrapped: list[str | None]) -> None:
    engine = Engine(registry=True)
    mirrors = ["http://mirror.example/debian", "http://its-successor.example/debian"]
    for mirror in (*mirrors, *mirrors):
        settings = Settings.model_validate({"network": {"apt_mirror": mirror}})
        assert build.provide_debian(engine, settings, screen) == build.bootstrapped(mirror)
    assert bootstrapped == mirrors, "packages come from the one that the settings name, and it is made once"
    assert engine.pulled == []


def test_an_image_of_others_is_pulled_once_or_it_is_said_how_to_bring_it(screen: Screen) -> None:
    engine, image = Engine(registry=True), "registry.example.org/cvmfs/service:1"
    build.pull(engine, image, screen)
    build.pull(engine, image, screen)
    assert engine.pulled == [image]
    with pytest.raises(StepError, match=r"cannot be pulled: no such host .*`docker load`"):
        build.pull(Engine(), image, screen)


def test_a_failing_build_is_told_with_its_last_line(screen: Screen) -> None:
    stream = [{"stream": "Step 1/2 : RUN x\n"}, {"stream": "E: no space left\n"}, {"error": "returned 100."}]
    with pytest.raises(StepError, match=r"hub could not be built: returned 100\. Last line: E: no space left"):
        build.follow(stream, "hub", screen)


@pytest.mark.parametrize(("security", "lines"), [(True, 3), (False, 2)])
def test_updates_are_in_the_bootstrapped_system(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, screen: Screen, security: bool, lines: int
) -> None:
    monkeypatch.setattr(build, "_answers", lambda url: security and url.startswith("http://m.example/debian-security/"))
    sources = tmp_path / "sources.list"
    sources.write_text("deb http://m.example/debian bookworm main\n")
    build._add_updates(sources, screen)
    assert len(sources.read_text().splitlines()) == lines
    assert "deb http://m.example/debian bookworm-updates main" in sources.read_text()
