"""The engine that Debian ships, for the tests of a package: each that wants it imports it into its conftest."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import docker
import pytest
from sciencebox.host import build, images
from sciencebox.settings import Settings

from tests.conftest import ROOT
from tests.engine import rig

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["debian_engine"]


@pytest.fixture(scope="package")
def debian_engine() -> Iterator[rig.Engine]:
    """The engine, with our images, in a network that the tests have for themselves."""
    plans = images.plans(ROOT, build.identify_debian(Settings()))
    try:
        with rig.apart(rig.debian()) as engine:
            with closing(docker.DockerClient(base_url=engine.url)) as client:
                changed = build.due(client, plans)
            if changed:
                names = ", ".join(plan.name for plan in changed)
                pytest.skip(f"Debian's engine has not the images of this checkout ({names}): run `make test-tools`")
            yield engine
    except rig.RigError as error:
        pytest.skip(str(error))
