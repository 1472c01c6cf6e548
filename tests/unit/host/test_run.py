"""deploy/host/run.sh, through which the Makefile's commands run: how somebody who is not root becomes it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

RUN = Path(__file__).parents[3] / "deploy/host/run.sh"
PROXY = "http://ada:the-password@proxy.example.org:3128"


@pytest.fixture
def programs(tmp_path: Path) -> dict[str, str]:
    """An environment in which one is not root, and sudo writes down how it was called and what it was given."""
    for name, does in {
        "id": "echo 1000",
        "sudo": f'printf "%s\\n" "$@" > {tmp_path}/called; env > {tmp_path}/given',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HTTPS_PROXY": PROXY, "SETTINGS": "site.yaml"}


def test_no_password_is_on_a_command_line_where_everybody_reads_it(programs: dict[str, str], tmp_path: Path) -> None:
    subprocess.run([RUN, "drain", "0", "--reason", "its fan; is $(replaced)"], env=programs, check=True)
    called = (tmp_path / "called").read_text().splitlines()
    assert called[1:] == [str(RUN), "drain", "0", "--reason", "its fan; is $(replaced)"]
    assert called[0] == "--preserve-env=SETTINGS,HTTPS_PROXY"
    assert f"HTTPS_PROXY={PROXY}" in (tmp_path / "given").read_text()


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("network:\n  https_proxy: http://a:1  # ours\nserver:\n  http_proxy: http://x\n", ["HTTPS_PROXY=http://a:1"]),
        ("network:\r\n  https_proxy: http://a:1\r\n", ["HTTPS_PROXY=http://a:1"]),
        ("network:\n  https_proxy: null\n  http_proxy: ~\n  no_proxy:   # none\n", []),
        ('network:\n  no_proxy: "a, b"\n  https_proxy: http://u:#@a\n', ["HTTPS_PROXY=http://u:#@a", "NO_PROXY=a, b"]),
        ("network: {https_proxy: http://a:1, no_proxy: 'a,b'}\n", ["HTTPS_PROXY=http://a:1", "NO_PROXY=a,b"]),
        ("network: {\n  https_proxy: http://a:1,\n  no_proxy: a}\n", ["HTTPS_PROXY=http://a:1", "NO_PROXY=a"]),
        ("network:\n  # https_proxy: http://a:1\n  no_proxy: a,b\n", ["NO_PROXY=a,b"]),
    ],
)
def test_a_proxy_of_the_settings_is_there_before_they_can_be_read(tmp_path: Path, text: str, given: list[str]) -> None:
    (tmp_path / "site.yaml").write_text(text, newline="")
    for name, does in {"id": "echo 1000", "python3": f"env > {tmp_path}/given; exit 1"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SETTINGS": f"{tmp_path}/site.yaml", "HOME": str(tmp_path)}
    said = subprocess.run([RUN, "k8s-images"], env=env, capture_output=True, text=True, check=False)
    assert said.stderr.startswith("Install Python 3.10 or newer")
    told = (tmp_path / "given").read_bytes().decode().split("\n")
    assert sorted(line for line in told if "PROXY" in line) == given
    assert f"PATH={env['PATH']}:/usr/local/sbin:/usr/sbin:/sbin" in told, "else what is there is taken for absent"


PYTHON = """#!/bin/sh
case "$1 $2" in
    "-m venv") mkdir -p "$3/bin" && ln -s "$0" "$3/bin/python" ;;
    "-m pip") ;;
    "-c "*) echo "$HOME" ;;
    "--version ") echo "Python 3.11.$(date +%s%N)" ;;
    *) printf "%s\\n" "$@" ;;
esac
"""


def test_the_checkout_may_be_in_a_folder_with_a_space(tmp_path: Path) -> None:
    box = tmp_path / "my box"
    for name in ("requirements/host.txt", "spawner/pyproject.toml", "deploy/host/run.sh"):
        (box / name).parent.mkdir(parents=True)
        (box / name).touch()
    (box / "deploy/host/run.sh").write_text(RUN.read_text())
    for name, text in {"id": "#!/bin/sh\necho 0\n", "python3": PYTHON}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    command = ["bash", str(box / "deploy/host/run.sh"), "settings", "check"]
    for said in ("Preparing the command line", ""):  # the second time there is nothing to prepare
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        assert done.stderr.startswith(said)
        assert done.stdout.splitlines()[-3:] == [f"{box}/.venv-host/bin/sciencebox", "settings", "check"]
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("given", "called"),
    [
        (["backup", "TO=/mnt/my disk/$$(id).tar"], ["backup", "/mnt/my disk/$(id).tar"]),
        (["restore"], ["restore"]),
        (["drain", "GPU=0", "REASON=its fan; `id`"], ["drain", "0", "--reason", "its fan; `id`"]),
        (["release", "GPU=GPU 1"], ["release", "GPU 1"]),
        (
            ["deploy-k8s", "VALUES=my site.yaml", "CHARTS=my charts", "ARGS=--check"],
            ["deploy-k8s", "--values", "my site.yaml", "--namespace", "sciencebox", "--charts", "my charts", "--check"],
        ),
        (["k8s-images"], ["k8s-images", "--values", "deploy/helm/examples/one-node.yaml"]),
    ],
)
def test_what_is_written_after_make_reaches_the_command_as_it_is(
    tmp_path: Path, given: list[str], called: list[str]
) -> None:
    (tmp_path / "deploy/host").mkdir(parents=True)
    (tmp_path / "deploy/host/run.sh").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "deploy/host/run.sh").chmod(0o755)
    command = ["make", "--file", str(RUN.parents[2] / "Makefile"), *given]
    env = {"PATH": os.environ["PATH"]}
    said = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert (said.stdout.splitlines(), said.stderr) == (called, "")


def test_without_a_command_it_says_how_it_is_called() -> None:
    said = subprocess.run([RUN], capture_output=True, text=True, check=False)
    assert said.returncode == 1
    assert said.stderr.startswith("usage: deploy/host/run.sh COMMAND [ARGUMENTS]")
