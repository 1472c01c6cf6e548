"""The same service on the engine that Debian ships: no CDI, no NVIDIA toolkit, the driver's files alone."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from sciencebox.host import images

from tests.deployed.conftest import deployed, nothing_left, stack
from tests.engine import rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fakes.driver.fake import FakeDriver
    from tests.service import Service

__all__ = ["nothing_left", "stack"]


@pytest.fixture(scope="package")
def debian_engine(cdi_engine: rig.Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Engine]:
    """Debian's engine with the images of the other one, which is stopped meanwhile: two would share one firewall."""
    try:
        engine = rig.debian()
        archives = list(_save_images(cdi_engine, tmp_path_factory.mktemp("images")))
        rig.stop(cdi_engine)
        try:
            with rig.running(engine):
                for archive, tag, image_id in archives:
                    if not rig.has_image(engine, tag, image_id):
                        rig.load_image(archive, engine)
                    archive.unlink()
                yield engine
        finally:
            rig.start(cdi_engine)
    except rig.RigError as error:
        pytest.skip(str(error))


def _save_images(engine: rig.Engine, folder: Path) -> Iterator[tuple[Path, str, str]]:
    for name in images.NAMES:
        with contextlib.closing(engine.connect()) as client:
            image_id = client.inspect_image(images.tag(name))["Id"]
        archive = folder / f"{name}.tar"
        rig.save_image(images.tag(name), engine, archive)
        yield archive, images.tag(name), image_id


@pytest.fixture(scope="package")
def service(
    debian_engine: rig.Engine, driver: FakeDriver, stack: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """The service with two cards, attached by the driver's files."""
    with deployed(debian_engine, driver, tmp_path_factory.mktemp("distribution") / "box", stack) as service:
        yield service
