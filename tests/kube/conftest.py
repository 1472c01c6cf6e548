"""The control plane, once for all tests, and a service on it for each file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fakes.kubelet import Kubelets, node, wait_for_nodes
from tests.kube import rig
from tests.kube.site import Site
from tests.unit.helm.chart import find_helm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.ControlPlane]:
    """The control plane, running."""
    if find_helm() is None:
        pytest.skip("no helm: run `make test-tools`")
    try:
        with rig.running(tmp_path_factory.mktemp("control-plane")) as plane:
            yield plane
    except rig.RigError as error:
        pytest.skip(str(error))


@pytest.fixture
def site(plane: rig.ControlPlane, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A service with one node that has two GPUs. Sessions are processes where a test is marked so."""
    name = request.node.name.replace("_", "-").lower()[:50].rstrip("-")
    with Kubelets(plane.url, rig.ADMIN_TOKEN, plane.authority, tmp_path) as kubelets:
        site = Site(plane, kubelets, name, tmp_path)
        try:
            kubelets.add(node("gpu-a", gpus=2))
            site.install()
            wait_for_nodes(kubelets)
            yield site
        finally:
            site.close()
            for name in list(kubelets.nodes):
                kubelets.remove(name)
