"""What Compose is told."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml
from sciencebox import settings as settings_file
from sciencebox.gpus.device import Inventory
from sciencebox.host.compose import (
    Places,
    as_deployed,
    caller_environment,
    command_line,
    env_file,
    network_environment,
    optional,
    overlay,
    services,
    tls_directive,
)
from sciencebox.host.driver import Driver
from sciencebox.host.engine import Compose
from sciencebox.host.firewall import Addresses
from sciencebox.sessions.attach import DriverFiles
from sciencebox.settings import Settings

PLACES = Places(Path("/srv/box"), Path("/opt/checkout/deploy/compose"))
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
FILES = DriverFiles(
    (f"{LIBRARIES}/libcuda.so.1",),
    nodes=frozenset({"nvidiactl", "nvidia1", "nvidia0", "nvidia-uvm"}),
    nvml=f"{LIBRARIES}/libnvidia-ml.so.1",
)


def settings(**values: Any) -> Settings:
    """Settings with some values."""
    return Settings.model_validate(values)


def values(given: Settings) -> dict[str, str]:
    """The env file, read as Compose reads it."""
    text = env_file(
        given,
        PLACES,
        socket=Path("/run/docker.sock"),
        hostname="box.example",
        addresses=Addresses(IPv4Network("172.20.0.0/16")),
        hub_inputs="h",
        caddy_inputs="c",
    )
    return dict(line.split("=", 1) for line in text.splitlines())


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ({}, {"TLS_DIRECTIVE": "tls internal", "REDIRECT_PORT": "", "HTTPS_PORT": "443", "ACME_EMAIL": ""}),
        ({"https_port": 8443}, {"REDIRECT_PORT": ":8443", "HTTPS_PORT": "8443"}),
        (
            {"tls": "acme", "hostname": "box.example", "acme_email": "ada@box.example"},
            {"TLS_DIRECTIVE": "", "ACME_EMAIL": "email ada@box.example", "ACME_DIRECTORY": "", "ACME_ROOT": ""},
        ),
        (
            {
                "tls": "acme",
                "hostname": "box.example",
                "acme_directory": "https://ca.example:9000/acme/acme/directory",
                "acme_root": "/etc/ca.pem",
            },
            {
                "ACME_EMAIL": "",
                "ACME_DIRECTORY": "acme_ca https://ca.example:9000/acme/acme/directory",
                "ACME_ROOT": "acme_ca_root /certificates/acme-root.pem",
            },
        ),
        (
            {"tls": "files", "certificate": "/c.pem", "key": "/k.pem"},
            {"TLS_DIRECTIVE": "tls /certificates/chain.pem /certificates/key.pem"},
        ),
    ],
)
def test_the_address_and_its_certificate(server: dict[str, Any], expected: dict[str, str]) -> None:
    assert expected.items() <= values(settings(server=server)).items()


def test_every_value_of_the_compose_files_is_given() -> None:
    folder = Path(__file__).parents[3] / "deploy/compose"
    text = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.yaml"))
    given = values(Settings())
    wanted = {part.split("}")[0] for part in text.split("${")[1:]} - {"..."}
    assert wanted - given.keys() == set()
    assert given.keys() - wanted == set()


def test_a_certificate_of_the_site_is_where_caddy_looks() -> None:
    assert tls_directive(settings(server={"tls": "files", "certificate": "/c", "key": "/k"})).startswith("tls /cert")


def test_the_hub_sees_the_driver() -> None:
    text = overlay(Driver(FILES))
    assert text is not None
    hub = yaml.safe_load(text)["services"]["hub"]
    assert hub["devices"] == ["/dev/nvidia0:/dev/nvidia0", "/dev/nvidia1:/dev/nvidia1", "/dev/nvidiactl:/dev/nvidiactl"]
    assert hub["volumes"] == [f"{LIBRARIES}:/run/sciencebox/driver{LIBRARIES}:ro"]
    assert hub["environment"] == {
        "SCIENCEBOX_NVML": f"/run/sciencebox/driver{LIBRARIES}/libnvidia-ml.so.1",
        "SCIENCEBOX_DRIVER": "/run/sciencebox/driver",
        "SCIENCEBOX_DEV_ROOT": "/dev",
    }
    assert hub["pid"] == "host"


def test_a_driver_in_a_container_is_seen_at_the_usual_places() -> None:
    root = "/run/nvidia/driver"
    files = replace(FILES, nvml=f"{root}{LIBRARIES}/libnvidia-ml.so.1", dev_root=f"{root}/dev")
    text = overlay(Driver(files, root=Path(root)))
    assert text is not None
    hub = yaml.safe_load(text)["services"]["hub"]
    assert hub["volumes"] == [f"{root}{LIBRARIES}:/run/sciencebox/driver{LIBRARIES}:ro"]
    assert f"{root}/dev/nvidia0:/dev/nvidia0" in hub["devices"]


def test_folders_of_links_are_bound_too() -> None:
    text = overlay(Driver(FILES, link_folders=("/etc/alternatives",)))
    assert text is not None
    assert "/etc/alternatives:/etc/alternatives:ro" in yaml.safe_load(text)["services"]["hub"]["volumes"]


@pytest.mark.parametrize(
    "driver",
    [
        Driver(),
        Driver(replace(FILES, nodes=frozenset())),
        Driver(replace(FILES, nvml=None)),
        Driver(replace(FILES, libraries=()), inventory=Inventory(reason="none")),
    ],
)
def test_without_a_usable_driver_there_is_no_overlay(driver: Driver) -> None:
    assert overlay(driver) is None


def test_the_deployed_settings_say_what_was_found_here() -> None:
    network = {"HTTPS_PROXY": "http://proxy:3128", "PIP_INDEX_URL": "https://index.example/simple"}
    given = settings(name="box", sessions={"memory": {"choices": ["2 GiB"], "default": "2 GiB"}})
    read = settings_file.parse(as_deployed(given, "box.example", network, "cuda"), "deployed")
    assert (read.server.hostname, read.stack.variant) == ("box.example", "cuda")
    assert read.network.https_proxy == "http://proxy:3128"
    assert read.network.python_index == "https://index.example/simple"
    assert read.sessions == given.sessions


def test_settings_come_before_the_environment() -> None:
    given = settings(network={"http_proxy": "http://of-settings:1"})
    environment = {"HTTP_PROXY": "http://of-environment:1", "https_proxy": "http://lower-case:1", "OTHER": "x"}
    expected = {"HTTP_PROXY": "http://of-settings:1", "HTTPS_PROXY": "http://lower-case:1"}
    assert network_environment(given, environment) == expected


def test_a_proxy_as_environments_have_it_is_one_that_the_hub_accepts() -> None:
    found = network_environment(settings(), {"HTTPS_PROXY": "ada:secret@proxy:3128", "NO_PROXY": "localhost, .example"})
    read = settings_file.parse(as_deployed(settings(), "box.example", found, "cpu"), "deployed")
    assert read.network.https_proxy == "http://ada:secret@proxy:3128"
    assert read.network.no_proxy == "localhost, .example"


def test_the_command_line() -> None:
    line = command_line(Compose(("docker", "compose"), "2.40"), "box", PLACES, with_overlay=True)
    assert line[:6] == ["docker", "compose", "-p", "box", "--env-file", "/srv/box/state/compose.env"]
    assert line[6:] == ["-f", "/opt/checkout/deploy/compose/compose.yaml", "-f", "/srv/box/state/compose.gpu.yaml"]
    assert len(command_line(Compose(("docker-compose",), "1.29.2"), "box", PLACES, with_overlay=False)) == 7


def test_without_its_token_the_proxy_obeys_nobody(tmp_path: Path) -> None:
    compose = yaml.safe_load((Path(__file__).parents[3] / "deploy/compose/compose.yaml").read_text(encoding="utf-8"))
    shell, option, script = compose["services"]["proxy"]["command"]
    script = script.replace("$$", "$").replace("/run/secrets", str(tmp_path))
    (tmp_path / "configurable-http-proxy").write_text('#!/bin/sh\necho "obeys $CONFIGPROXY_AUTH_TOKEN" "$@"\n')
    (tmp_path / "configurable-http-proxy").chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    (tmp_path / "proxy_token").write_text("abc\n")
    said = subprocess.run([shell, option, script], env=env, capture_output=True, text=True, check=True)
    assert said.stdout.startswith("obeys abc --ip=0.0.0.0")
    (tmp_path / "proxy_token").unlink()
    (tmp_path / "proxy_token").mkdir()  # as the engine does where the file is not there
    said = subprocess.run([shell, option, script], env=env, capture_output=True, text=True, check=False)
    assert (said.returncode != 0, said.stdout) == (True, "")


def test_variables_of_the_administrators_shell_do_not_reach_compose() -> None:
    environment = caller_environment({"PATH": "/bin", "NAME": "other", "VERSION": "9"}, Path("/run/docker.sock"))
    assert environment == {"PATH": "/bin", "DOCKER_HOST": "unix:///run/docker.sock"}


def test_a_stack_that_is_mounted_reaches_the_hub_whenever_it_is_mounted() -> None:
    assert values(settings())["STACK_VOLUME"] == "/var/lib/sciencebox/cvmfs/sciencebox.local:" * 2 + "ro"
    assert values(settings(stack={"source": "client"}))["STACK_VOLUME"] == "/cvmfs:/cvmfs:ro,rslave"


def test_a_published_stack_has_a_server_of_its_own() -> None:
    given = settings(stack={"publish": {"enabled": True, "port": 8100}}, monitoring={"enabled": True})
    assert services(given)[-2:] == ("prometheus", "repository")
    told = command_line(
        Compose(("docker-compose",), "1.29.2"), "box", PLACES, with_overlay=False, extra=optional(given)
    )
    assert [Path(file).name for file in told[told.index("-f") :] if file != "-f"] == [
        "compose.yaml",
        "firewall.yaml",
        "monitoring.yaml",
        "repository.yaml",
    ]
    assert values(given)["PUBLISH_PORT"] == "8100"


def test_a_client_of_this_deployment_mounts_what_it_knows_where_to_get_from() -> None:
    stack = {"source": "client", "mount": "/srv/cvmfs", "more": ["sft.cern.ch"], "client": {"enabled": True}}
    given = settings(stack=stack)
    assert services(given)[-1] == "client"
    assert values(given)["CLIENT_REPOSITORIES"] == "sft.cern.ch", "nobody said where sciencebox.local comes from"
    assert values(given)["STACK_MOUNT"] == "/srv/cvmfs"
    own = {"name": "sciencebox.local", "url": "http://box:8000/cvmfs/sciencebox.local", "key": "/etc/box.pub"}
    given = settings(stack=stack | {"client": {"enabled": True, "origins": [own]}})
    assert values(given)["CLIENT_REPOSITORIES"] == "sciencebox.local sft.cern.ch"
