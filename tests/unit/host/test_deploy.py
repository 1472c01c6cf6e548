"""A deployment's own decisions: what it refuses, what it copies, and what it never removes."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from docker.errors import NotFound
from rich.console import Console
from sciencebox import cli
from sciencebox.files import let_everybody_read
from sciencebox.host import deploy, stack
from sciencebox.host.backup import Note
from sciencebox.host.deploy import Deployment
from sciencebox.host.ports import PortUse
from sciencebox.host.steps import Screen, StepError
from sciencebox.host.watch import Service
from sciencebox.sessions.identity import Uids
from sciencebox.settings import Settings

from tests.unit.host.test_doctor import HEALTHY

ROOT = Path(__file__).parents[3]


def deployment(folder: Path, **values: Any) -> Deployment:
    """A deployment below a folder."""
    settings = Settings.model_validate({"data_root": str(folder / "box"), **values})
    return Deployment(settings, ROOT, {}, host=HEALTHY)


@pytest.fixture
def screen() -> Screen:
    """A screen that nobody looks at."""
    return Screen(Console(file=io.StringIO()))


@pytest.fixture(autouse=True)
def no_other_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests need neither be root nor have an engine."""
    monkeypatch.setattr(deploy.os, "chown", lambda *_: None)
    monkeypatch.setattr(deploy.engine, "connect", lambda *_: MagicMock())


def test_a_taken_port_is_told_and_nothing_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, screen: Screen
) -> None:
    taken = replace(HEALTHY, ports=(PortUse(443, "nginx (process 12)"), PortUse(80)))
    monkeypatch.setattr(deploy, "read_host", lambda *_: taken)
    with pytest.raises(StepError, match=r"443 is taken by nginx .* set another `server\.https_port`"):
        deployment(tmp_path).check_host(screen)
    assert not (tmp_path / "box").exists()


def test_folders_are_made_private_where_they_must_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, screen: Screen
) -> None:
    monkeypatch.setattr(deploy, "read_host", lambda *_: HEALTHY)
    made = deployment(tmp_path)
    made.check_host(screen)
    assert (tmp_path / "box/state").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "box/cvmfs/sciencebox.local").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "box/state/deploy.log").exists()
    for what in (Deployment.check_host, Deployment.take_down):  # nothing is taken down while it is being set up
        with pytest.raises(StepError, match="Another deployment of the same name is at work"):
            what(deployment(tmp_path), screen)
    for file in (made._lock, screen.log_file):
        assert file is not None
        file.close()


def test_a_disk_that_is_not_mounted_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(deploy, "read_host", lambda *_: HEALTHY)
    shown = io.StringIO()
    (tmp_path / "box/state").mkdir(parents=True)
    Uids(tmp_path / "box/state/identities.sqlite").of("ada")
    (tmp_path / "box/homes").symlink_to("/mnt/none")
    with pytest.raises(StepError, match=r"box/homes leads to /mnt/none, which is not there\. Is it mounted\?"):
        deployment(tmp_path).check_host(Screen(Console(file=shown)))
    assert "box/homes has no home, though users are known: is its disk mounted?" in shown.getvalue()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "cuda"),
        ({"stack": {"variant": "cpu"}}, "cpu"),
        ({"gpus": {"simulate": 2}}, "cpu"),
    ],
)
def test_the_stack_has_the_libraries_that_the_server_can_use(
    tmp_path: Path, values: dict[str, Any], expected: str
) -> None:
    assert deployment(tmp_path, **values).variant() == expected


def test_the_stack_is_built_where_sessions_will_see_it() -> None:
    settings = Settings()
    folder, network = Path("/srv/box/cvmfs/sciencebox.local"), {"PIP_INDEX_URL": "https://i/s"}
    wanted = stack.arguments(settings, folder, "cpu", network, in_use=True)
    assert wanted["volumes"] == {"/srv/box/cvmfs/sciencebox.local": {"bind": "/cvmfs/sciencebox.local", "mode": "rw"}}
    assert wanted["command"] == ["build", "SB_1", "--variant", "cpu", "--root", "/cvmfs/sciencebox.local"]
    assert wanted["environment"]["UV_DEFAULT_INDEX"] == "https://i/s"
    nobody_works = stack.arguments(settings, folder, "cpu", network, in_use=False)
    assert nobody_works["command"] == [*wanted["command"], "--prune"], "what earlier builds left is nobody's"


def test_a_repository_that_is_not_mounted_now_keeps_nobody_from_deploying(tmp_path: Path, screen: Screen) -> None:
    made = deployment(tmp_path, stack={"source": "client", "mount": f"{tmp_path}/cvmfs", "more": ["sft.cern.ch"]})
    absent = [f"Nothing is mounted at /cvmfs/{name}" for name in ("sciencebox.local", "sft.cern.ch")]
    assert made.provide_stack(screen) == f"mounted: nothing. {'. '.join(absent)}"
    view = tmp_path / "cvmfs/sciencebox.local/lcg/views/SB_1/x86_64-debian12-gcc12-opt"
    view.mkdir(parents=True)
    (view / "setup.sh").touch()
    assert made.provide_stack(screen) == f"mounted: SB_1. {absent[1]}"
    (tmp_path / "cvmfs/sft.cern.ch/lcg/views").mkdir(parents=True)
    assert made.provide_stack(screen) == "mounted: SB_1"


def test_who_starts_a_session_while_the_service_is_stopped_does_not_keep_it_from_that(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, screen: Screen
) -> None:
    made, client = deployment(tmp_path), MagicMock()
    client.api.containers.side_effect = [[{"Id": "ada"}], [{"Id": "late"}]]
    services = {"hub": Service("hub", "the-hub", "running")}  # whose data were lost, and Compose's values with them
    monkeypatch.setattr(deploy.watch, "read_services", lambda *_: services)
    monkeypatch.setattr(deploy.engine, "reach", lambda _: client)
    monkeypatch.setattr(deploy.engine, "find_compose", lambda: None)
    monkeypatch.setattr(deploy.network, "remove", lambda *_: None)
    client.api.stop.side_effect = NotFound("it has ended by itself")
    assert made.take_down(screen) == "stopped, with 2 sessions"
    client.api.stop.assert_called_once_with("the-hub")
    removed = [call.args[0] for call in client.api.remove_container.call_args_list]
    jobs = [f"sciencebox-{job}" for job in ("stack", "demo-data", "keys", "publish")]
    assert removed == ["ada", *jobs, "the-hub", "late"]
    assert all(call.kwargs["v"] for call in client.api.remove_container.call_args_list), "nor what images keep beside"


def test_nothing_is_restored_beneath_a_service_that_is_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its containers have the folders that were there when they were made, and a deployment leaves them as they are."""
    monkeypatch.setattr(cli.backups, "look", lambda _: Note("sciencebox", "0.1.0", "today", 0, homes=True))
    monkeypatch.setattr(cli.backups, "restore", lambda *_: "restored")
    there = {"hub": Service("hub", "1", "running")}
    monkeypatch.setattr(deploy.watch, "read_services", lambda *_: there)
    (tmp_path / "site.yaml").write_text(f"data_root: {tmp_path}/box\n")
    monkeypatch.setattr(deploy.engine, "look", lambda _: HEALTHY.engine)
    with pytest.raises(StepError, match=r"The service is here, .*: `make down` first"):
        cli.restore(tmp_path / "box.tar", tmp_path / "site.yaml")
    for state, services in ((HEALTHY.engine, {}), (replace(HEALTHY.engine, version=""), there)):
        there = services
        monkeypatch.setattr(deploy.engine, "look", lambda _, state=state: state)
        cli.restore(tmp_path / "box.tar", tmp_path / "site.yaml")


def test_what_containers_read_of_the_checkout_can_be_read_there(tmp_path: Path) -> None:
    file = tmp_path / "Caddyfile"
    file.touch(mode=0o600)
    let_everybody_read(file)
    assert file.stat().st_mode & 0o777 == 0o644
    assert all((ROOT / "deploy/compose" / name).is_file() for name in deploy.READ_IN_CONTAINERS)


@pytest.mark.parametrize(("port", "address"), [(443, "https://box.example"), (9443, "https://box.example:9443")])
def test_the_address(tmp_path: Path, port: int, address: str) -> None:
    assert deployment(tmp_path, server={"hostname": "box.example", "https_port": port}).address == address
