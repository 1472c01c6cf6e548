"""Build the service's images on the tests' engine, as `make deploy` builds them: only what changed.

The engine that Debian ships is given them, too, where it is there: what is tested on it has no network to build with.

python -m tests.tools.images [--rebuild]
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import docker
from rich.console import Console
from sciencebox.host import build, images
from sciencebox.host.compose import network_environment
from sciencebox.host.steps import Screen, StepError
from sciencebox.settings import Settings

from tests.engine import rig

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Build what is missing."""
    settings = Settings()
    network = network_environment(settings, os.environ)
    try:
        with rig.running(rig.cached()) as engine:
            client = docker.DockerClient(base_url=engine.url, version="auto", timeout=600)
            plans = images.plans(ROOT, build.identify_debian(settings))
            rebuild = "--rebuild" in sys.argv[1:]
            screen = Screen(Console())
            with screen.working("Images"):
                outcome = build.build_images(client, plans, settings, network, screen, rebuild=rebuild)
            screen.finished("Images", outcome)
            client.close()
            if rig.DEBIAN.exists():
                with rig.apart(rig.debian()) as debian:
                    for plan in plans:
                        rig.copy_image(plan.tag, engine, debian)
    except (rig.RigError, StepError, images.InputsError) as error:
        print(f"tests/tools: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
