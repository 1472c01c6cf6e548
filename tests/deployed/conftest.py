"""One deployment for all of these tests, made by the command that the README gives."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sciencebox.host import images

from tests.conftest import ROOT, stack_folder
from tests.service import Service, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import docker

    from tests.engine.rig import Engine
    from tests.fakes.driver.fake import FakeDriver

SETTINGS = """
name: {name}
data_root: {data_root}
server: {{hostname: localhost, https_port: {https}, http_port: {http}}}
engine: {{socket: {socket}}}
gpus: {{driver_root: {driver_root}, attach: {attach}}}
stack: {{variant: cpu}}
accounts: {{administrator: admin}}
monitoring: {{enabled: true, port: {monitoring}}}
idle: {{gpu_minutes: 0.1, warn_minutes: 0.06}}
groups:
  - {{name: brief, session_hours: 0.004, extension_hours: 1}}
  - {{name: thrifty, gpu_hours_week: 0.034}}
"""


AT_WORK = 50  # percent of the time in which a card computes


def make(
    target: str, settings: Path, *arguments: str, check: bool = True, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one of the Makefile's targets for a settings file."""
    # Without what a make around this one was told: `make test ARGS=...` would give its ARGS to this target.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    environment = {**inherited, "SETTINGS": str(settings), "ARGS": " ".join(arguments), **(variables or {})}
    done = subprocess.run(["make", target], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"make {target}:\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    return done


@contextmanager
def deployed(
    engine: Engine,
    driver: FakeDriver,
    data_root: Path,
    stack: Path,
    name: str = "sciencebox-test",
    ports: tuple[int, int] = (10443, 10080),
    attach: str = "auto",
) -> Iterator[Service]:
    """A service from nothing but a settings file; removed afterwards. The stack's folder is used where it is."""
    driver.set({f"gpu{index}.busy": AT_WORK for index in range(2)})  # else their sessions would be stopped
    settings = data_root.with_suffix(".yaml")
    https, http = ports
    settings.write_text(
        SETTINGS.format(
            name=name,
            data_root=data_root,
            https=https,
            http=http,
            socket=engine.socket,
            driver_root=driver.root,
            attach=attach,
            monitoring=http + 1,
        )
    )
    make("destroy", settings, "--yes", check=False)  # what an interrupted run left
    shutil.rmtree(data_root, ignore_errors=True)
    (data_root / "cvmfs").mkdir(parents=True)
    (data_root / "cvmfs/sciencebox.local").symlink_to(stack)
    said = make("deploy", settings).stdout
    service = Service(name, f"https://localhost:{https}", settings, data_root, engine.url, said)
    try:
        yield service
    finally:
        data_root.with_name("hub.log").write_bytes(service.hub.logs())  # pytest keeps the folders of three runs
        service.close()
        make("destroy", settings, "--yes")


@pytest.fixture(scope="session")
def stack() -> Path:
    """The software stack of `make test-tools`."""
    folder = stack_folder()
    if not (folder / "lcg/views/SB_1").exists():
        pytest.skip("the software stack is not built; run `make test-tools`")
    return folder


@pytest.fixture(scope="package")
def service(
    cdi_engine: Engine, driver: FakeDriver, stack: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """The service on an engine with CDI, with two cards."""
    with deployed(cdi_engine, driver, tmp_path_factory.mktemp("deployed") / "box", stack) as service:
        yield service


@pytest.fixture(scope="module")
def settings(service: Service) -> Iterator[str]:
    """The settings that the service has before and after a file's tests, each of which may deploy others."""
    before = service.settings.read_text()
    yield before
    if service.settings.read_text() != before:
        service.settings.write_text(before)
        make("deploy", service.settings)


@contextmanager
def quick(engine: docker.DockerClient) -> Iterator[None]:
    """In the place of the image of sessions, one whose server does nothing: who has which card is the question."""
    tag = images.tag("session")
    real = engine.images.get(tag)
    made, _ = engine.images.build(
        path=str(Path(__file__).with_name("session")), tag=tag, buildargs={"SESSION": real.id}
    )
    try:
        yield
    finally:
        real.tag(tag)
        engine.images.remove(made.id, force=True)


@pytest.fixture(scope="module")
def quick_sessions(service: Service) -> Iterator[None]:
    """The sessions of these tests start quickly, and have no JupyterLab."""
    with quick(service.engine):
        yield


@pytest.fixture
def nothing_left(service: Service) -> Iterator[None]:
    """A test that begins and ends without a session, a waiting user or a card in use."""
    yield
    for person in service.people.values():
        if person.session():
            person.stop()
    wait_until(lambda: not service.holders(), "every card is free")
