"""`python -m sciencebox.hub`: run the hub as the deployment's environment says."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sciencebox import settings as settings_file
from sciencebox.gpus.inventory import read_inventory, simulated_inventory
from sciencebox.gpus.marks import MarkFile, marked
from sciencebox.hub.app import ScienceBoxHub
from sciencebox.hub.config import Place, build_config
from sciencebox.sessions.attach import find_driver_files
from sciencebox.sessions.desk import Desk
from sciencebox.sessions.engine import Engine
from sciencebox.sessions.extensions import Extensions
from sciencebox.sessions.identity import Identities
from sciencebox.sessions.options import Machine
from sciencebox.sessions.tickets import TicketFile
from sciencebox.sessions.warming import Warmer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sciencebox.settings import Settings


def main() -> None:
    """Read the settings, put the hub together and run it until it is told to stop."""
    try:
        settings = settings_file.load(Path(os.environ["SCIENCEBOX_SETTINGS"]))
    except settings_file.SettingsError as error:
        sys.exit(str(error))
    place = Place(state=Path(os.environ["SCIENCEBOX_STATE"]))
    hub = ScienceBoxHub.instance(config=build_config(settings, place))
    hub.desk = desk(settings, place.state, os.environ)
    hub.desk.stacks.after = Warmer(settings, place.state / "read-ahead").see
    ScienceBoxHub.launch_instance(argv=[])


def desk(settings: Settings, state: Path, environment: Mapping[str, str]) -> Desk:
    """The desk of this server. The driver may be seen elsewhere than where it lies on the host: see `deploy/`."""
    simulate, on_host = settings.gpus.simulate, settings.gpus.driver_root
    library = environment.get("SCIENCEBOX_NVML")
    seen = Path(environment.get("SCIENCEBOX_DRIVER", str(on_host)))
    dev_root = Path(environment.get("SCIENCEBOX_DEV_ROOT", "/dev"))
    marks = MarkFile(state)
    return Desk(
        settings,
        Engine(),
        Identities(settings.data_root / "homes", state),
        lambda: marked(simulated_inventory(simulate) if simulate else read_inventory(library), marks.read()),
        lambda: find_driver_files(seen, on_host, dev_root),
        machine=Machine(os.cpu_count() or 1, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")),
        tickets=TicketFile(state / "queue.json"),
        marks=marks,
        extensions=Extensions(state / "extensions.json"),
    )


if __name__ == "__main__":
    main()
