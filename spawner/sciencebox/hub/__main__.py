"""`python -m sciencebox.hub`: run the hub as the deployment's environment says."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sciencebox import settings as settings_file
from sciencebox.hub.app import ScienceBoxHub
from sciencebox.hub.config import Place, build_config
from sciencebox.sessions.desk import Desk
from sciencebox.sessions.warming import Warmer


def main() -> None:
    """Read the settings, put the hub together and run it until it is told to stop."""
    try:
        settings = settings_file.load(Path(os.environ["SCIENCEBOX_SETTINGS"]))
    except settings_file.SettingsError as error:
        sys.exit(str(error))
    place = Place(state=Path(os.environ["SCIENCEBOX_STATE"]))
    hub = ScienceBoxHub.instance(config=build_config(settings, place))
    hub.desk = Desk.from_environment(settings, place.state, os.environ)
    hub.desk.stacks.after = Warmer(settings, place.state / "read-ahead").see
    ScienceBoxHub.launch_instance(argv=[])


if __name__ == "__main__":
    main()
