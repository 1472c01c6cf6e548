"""What JupyterLab tells of the session that it is in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.service import wait_until

if TYPE_CHECKING:
    from tests.service import Service

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("nothing_left")]


def test_it_shows_the_session_s_own_gpu_and_when_it_ends(service: Service) -> None:
    service.person("pia")
    service.join("brief", "pia")
    with service.session("pia", gpu="any", gpu_count=1) as pia:
        assert pia.ask("POST", "sciencebox/session").ok, "it goes on for an hour"
        end = pia.end()
        assert end["seconds_left"] == pytest.approx(3600, abs=60)
        assert (end["idle_seconds_left"], end["faults"]) == (None, [])
        wait_until(lambda: "jupyterlab-nvdashboard" in pia.reach("lab").text, "the dashboard is there")
        assert pia.reach("nvdashboard/accelerators/check").json()["has_gpu"]


def test_without_a_gpu_an_environment_script_that_fails_is_said_and_keeps_nobody_from_it(service: Service) -> None:
    with service.session("maria"):
        service.run("maria", ["sh", "-c", "mkdir -p ~/.sciencebox && echo no-such-tool > ~/.sciencebox/environment.sh"])
    with service.session("maria") as maria:
        assert "jupyterlab-nvdashboard" not in maria.reach("lab").text
        assert "no-such-tool: command not found" in maria.reach("sciencebox/session").json()["script"]
        assert service.run("maria", ["sh", "-c", "rm -r ~/.sciencebox"])[0] == 0
