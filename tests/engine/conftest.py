"""An engine with CDI, with or without a description of the two fake cards."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import docker
import pytest

from tests.engine import rig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.driver.fake import FakeDriver

BASE = "sciencebox/base:0.1.0"


@pytest.fixture(scope="package")
def engine(cdi_engine: rig.Engine) -> rig.Engine:
    """The engine of the test tools, running."""
    return cdi_engine


@pytest.fixture(scope="package")
def client(engine: rig.Engine) -> Iterator[docker.APIClient]:
    with contextlib.closing(engine.connect()) as client:
        yield client


@pytest.fixture(scope="package")
def base(client: docker.APIClient) -> str:
    """The image that all others stand on; it has Python."""
    try:
        client.inspect_image(BASE)
    except docker.errors.ImageNotFound:
        pytest.skip(f"{BASE} is not built: run `make test-tools`")
    return BASE


@pytest.fixture(scope="package")
def debian_client(engine: rig.Engine, base: str, driver: FakeDriver) -> Iterator[docker.APIClient]:
    """The distribution's engine beside the other, with the same base image and with NVIDIA's runtime."""
    try:
        debian = rig.isolated({"nvidia": rig.write_runtime(driver.root)})
        with rig.running(debian), contextlib.closing(debian.connect()) as client:
            rig.copy_image(base, engine, debian)
            yield client
    except rig.RigError as error:
        pytest.skip(str(error))


@pytest.fixture
def no_cdi(engine: rig.Engine) -> Iterator[None]:
    """The engine knows no card by name; what it knew before it knows again after the test."""
    before = {path: path.read_bytes() for path in engine.cdi.glob("*.yaml")}
    for path in before:
        path.unlink()
    yield
    for path in engine.cdi.glob("*.yaml"):
        path.unlink()
    for path, content in before.items():
        path.write_bytes(content)


@pytest.fixture
def cdi(engine: rig.Engine, driver: FakeDriver, no_cdi: None) -> None:
    """The engine knows the fake cards by name, as long as the test runs."""
    rig.write_cdi_spec(driver.root, engine.cdi)
