"""An engine with CDI and two fake cards that it knows."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import docker
import pytest

from tests.engine import rig
from tests.fakes.driver.fake import FakeDriver, buildable

if TYPE_CHECKING:
    from collections.abc import Iterator

BASE = "sciencebox/base:0.1.0"


@pytest.fixture(scope="session")
def engine() -> Iterator[rig.Engine]:
    """The engine of the test tools, running."""
    try:
        with rig.running(rig.cached()) as engine:
            yield engine
    except rig.RigError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def client(engine: rig.Engine) -> Iterator[docker.APIClient]:
    with contextlib.closing(engine.connect()) as client:
        yield client


@pytest.fixture(scope="session")
def base(client: docker.APIClient) -> str:
    """The image that all others stand on; it has Python."""
    try:
        client.inspect_image(BASE)
    except docker.errors.ImageNotFound:
        pytest.skip(f"{BASE} is not built: run `make test-tools`")
    return BASE


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> FakeDriver:
    """The driver of two cards, with their device nodes."""
    if not buildable():
        pytest.skip("gcc is needed to build the fake driver")
    return FakeDriver.build(tmp_path_factory.mktemp("driver"))


@pytest.fixture
def cdi(engine: rig.Engine, driver: FakeDriver) -> Iterator[None]:
    """The engine knows the cards by name, as long as the test runs."""
    spec = rig.write_cdi_spec(driver.root, engine.cdi)
    yield
    spec.unlink(missing_ok=True)
