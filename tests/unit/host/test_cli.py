"""The command line: failures are a sentence and a status, questions come before data is lost."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from sciencebox import cli
from sciencebox.gpus.device import Inventory
from sciencebox.host import backup
from sciencebox.host.deploy import Deployment
from sciencebox.settings import load
from typer.testing import CliRunner

ROOT = Path(__file__).parents[3]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command as the program does; its status."""
    monkeypatch.setattr("sys.argv", ["sciencebox", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.app()
    return int(ended.value.code or 0)


def settings_file(folder: Path, text: str) -> str:
    """A settings file."""
    path = folder / "site.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_mistake_in_the_settings_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = settings_file(tmp_path, "server:\n  https_prt: 1\n")
    for command in (["deploy", "--settings", file], ["doctor", "--settings", file], ["settings", "check", file]):
        assert run(monkeypatch, *command) == 1
        told = capsys.readouterr().err
        assert told == f"{file}:2: unknown key `server.https_prt`; did you mean `https_port`?\n"


def test_the_settings_that_come_with_the_service_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sciencebox.yaml", "demo.yaml"):
        assert run(monkeypatch, "settings", "check", str(ROOT / "deploy" / name)) == 0


def test_the_example_is_what_the_reference_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "settings", "reference") == 0
    assert capsys.readouterr().out == (ROOT / "deploy/sciencebox.yaml").read_text(encoding="utf-8")


def test_the_demonstration_is_simulated_and_beside_the_real_service() -> None:
    demo, real = load(ROOT / "deploy/demo.yaml"), load(ROOT / "deploy/sciencebox.yaml")
    assert demo.gpus.simulate == 2
    assert len(demo.accounts.demo_users) == 3
    assert demo.name != real.name
    assert demo.data_root != real.data_root
    assert {demo.server.https_port, demo.server.http_port} & {real.server.https_port, real.server.http_port} == set()


def test_destroy_asks_for_the_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    reached: list[str] = []
    monkeypatch.setattr(Deployment, "take_down", lambda *_: reached.append("down") or "stopped")
    monkeypatch.setattr(Deployment, "erase", lambda *_: reached.append("erase") or "removed")
    file = settings_file(tmp_path, "name: box\n")
    for answer in ("\n", "yes\n", "other\n"):
        told = CliRunner().invoke(cli.commands, ["destroy", "--settings", file], input=answer)
        assert str(told.exception) == "Nothing was removed."
        assert "users' homes" in told.output
        assert reached == []
    assert CliRunner().invoke(cli.commands, ["destroy", "--settings", file], input="box\n").exit_code == 0
    assert reached == ["down", "erase"]
    assert CliRunner().invoke(cli.commands, ["destroy", "--settings", file, "--yes"]).exit_code == 0


def test_gpus_for_programs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = settings_file(tmp_path, "gpus: {simulate: 1}\n")
    assert run(monkeypatch, "gpus", "--json", "--settings", file) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["devices"][0]["simulated"] is True
    assert set(told) == {*Inventory.__dataclass_fields__, "holders_unknown"}


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_ended_or_whose_connection_is_lost_cleans_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, ending: signal.Signals
) -> None:
    before = {one: signal.signal(one, signal.SIG_DFL) for one in (signal.SIGTERM, signal.SIGHUP)}
    monkeypatch.setattr(backup, "_members", lambda *_, **__: signal.raise_signal(ending))
    (tmp_path / "box/state").mkdir(parents=True)
    (tmp_path / "box/state/hub.sqlite").touch()
    file = settings_file(tmp_path, f"data_root: {tmp_path}/box\n")
    try:
        assert run(monkeypatch, "backup", "--settings", file, str(tmp_path / "box.tar")) == 130
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    assert "Interrupted." in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "box/state").iterdir()] == ["hub.sqlite"]


def test_brackets_in_a_reason_are_shown_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "box/state").mkdir(parents=True)
    file = settings_file(tmp_path, f"data_root: {tmp_path}/box\ngpus: {{simulate: 1}}\n")
    assert run(monkeypatch, "drain", "0", "--settings", file, "--reason", " ") == 1
    assert "Say why" in capsys.readouterr().err
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.setenv("SUDO_USER", "ada")
    assert run(monkeypatch, "drain", "0", "--settings", file, "--reason", "see [/var/log/x] [ticket]") == 0
    assert run(monkeypatch, "gpus", "--settings", file) == 0
    assert capsys.readouterr().out.count("see [/var/log/x] [ticket]") == 2
    assert json.loads((tmp_path / "box/state/audit.jsonl").read_text())["who"] == "ada on the server"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["repository", "tags"], "The container engine does not answer"),
        (["status"], "The container engine does not answer"),
        (["usage"], "cannot be read: file is not a database"),
    ],
)
def test_what_is_broken_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, command: list[str], told: str
) -> None:
    (tmp_path / "box/state").mkdir(parents=True)
    (tmp_path / "box/state/hub.sqlite").write_text("no database, but longer than the heading of one would have to be")
    where = f"data_root: {tmp_path}/box\nengine: {{socket: {tmp_path}/none}}\nstack: {{publish: {{enabled: true}}}}\n"
    assert run(monkeypatch, *command, "--settings", settings_file(tmp_path, where)) == 1
    assert told in capsys.readouterr().err


def test_an_unknown_option_is_status_2(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "deploy", "--nonsense") == 2


def test_outside_a_checkout_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(cli, "CHECKOUT", tmp_path)
    assert run(monkeypatch, "status", "--settings", settings_file(tmp_path, "")) == 1
    assert "needs the checkout" in capsys.readouterr().err
