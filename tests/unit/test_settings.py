"""The settings file: what is accepted, and that every mistake is told with its line and what would be right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from sciencebox import explain
from sciencebox.settings import Settings, SettingsError, load, parse

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = "site.yaml"


def refusal(text: str) -> str:
    """The message that the settings are refused with."""
    with pytest.raises(SettingsError) as caught:
        parse(text, SOURCE)
    return str(caught.value)


def test_an_empty_file_means_the_defaults() -> None:
    assert parse("", SOURCE) == parse("# nothing\n", SOURCE) == Settings()


def test_a_key_without_a_value_means_its_default() -> None:
    assert parse("server:\n  https_port:\nsessions:\n", SOURCE) == Settings()


def test_a_day_is_text_where_text_is_wanted() -> None:
    assert parse("groups: [{name: 2026-11-27}]", SOURCE).groups[0].name == "2026-11-27"


def test_values_reach_the_model() -> None:
    settings = parse(
        "server: {https_port: 8443}\nsessions: {memory: {choices: [1 GiB, 512 MiB], default: 1GiB}}", SOURCE
    )
    assert settings.server.https_port == 8443
    assert settings.sessions.memory.choices == [1024**3, 512 * 1024**2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "name: a\nserver:\n  https_prt: 1\n",
            "site.yaml:3: unknown key `server.https_prt`; did you mean `https_port`?",
        ),
        ("zzz: 1\n", "site.yaml:1: unknown key `zzz`; known here: name, data_root, server,"),
        (
            "server:\n  https_port: many\n",
            "site.yaml:2: `server.https_port` must be a whole number from 1 to 65535; given: 'many'",
        ),
        ("server:\n  http_port: 70000\n", "site.yaml:2: `server.http_port` must be a whole number from 1 to 65535"),
        ("kubernetes: {kueue: GPUs}", "`kubernetes.kueue` must be the name of a LocalQueue, of small letters"),
        ("kubernetes: {prometheus: 'https://me:pw@prom'}", "give a token by `prometheus_token_file`"),
        ("kubernetes: {prometheus: 'http://prom', prometheus_token_file: /t}", "need a `prometheus` with https://"),
        (
            "gpus:\n\n  simulate: true\n",
            "site.yaml:3: `gpus.simulate` must be a whole number from 0 to 16; given: True",
        ),
        ("gpus: {show_holders: 3}", "`gpus.show_holders` must be true or false; given: 3"),
        ("stack: {client: {enabled: true}}", "stack: `client` needs `source: client`"),
        (
            "stack: {source: client, client: {enabled: true}}",
            "`client.origins` must say where sciencebox.local comes from: `name`, `url` and `key`",
        ),
        (
            "stack: {source: client, more: [sft.cern.ch, x.org], client: {enabled: true}}",
            "`client.origins` must say where x.org comes from",
        ),
        ("stack: {client: {cache: 1 MiB}}", "stack.client.cache: must be at least 1 GiB; given: 1 MiB"),
        ("stack: {client: {cache: much}}", "`stack.client.cache` must be a size such as 50 GiB, at least 1 GiB"),
        (
            "stack: {client: {proxy: 'squid:3128'}}",
            "`stack.client.proxy` must be caches as in CVMFS_HTTP_PROXY, such as",
        ),
        (
            "stack: {client: {origins: [{name: x.org, url: 'http://s/$(x)', key: /k}]}}",
            "must be the repository's address",
        ),
        ("stack: {client: {origins: [{name: x.org, url: 'http://s/x', key: k}]}}", "`key` must be an absolute path"),
        ("limits: {session_hours: 1:30}", "`limits.session_hours` must be a number from 0 to 8760; given: '1:30'"),
        ("server: {https_port: 0443}", "`server.https_port` must be a whole number from 1 to 65535; given: '0443'"),
        ("firewall: {refuse: [10]}", "`firewall.refuse.0` must be an IPv4 network such as 10.0.0.0/8, or an address"),
        ("groups: [{name: a, gpus: 1}, {name: a, weight: 2}]", "`groups` has 'a' more than once"),
        ("accounts: {ldap: {group_filter: '(m={uid.x})'}}", "`group_filter` may have `{userdn}` and `{uid}`, and no"),
        ("gpus: {attach: magic}", "`gpus.attach` must be `auto`, `cdi`, `nvidia` or `bind`; given: 'magic'"),
        ("gpus: {max_per_session: 0}", "`gpus.max_per_session` must be a whole number from 1 to 64; given: 0"),
        (
            "sessions:\n  memory:\n    default: -4 GiB\n",
            "site.yaml:3: `sessions.memory.default` must be a size such as 8 GiB, at least 256 MiB; given: '-4 GiB'",
        ),
        (
            "sessions:\n  memory:\n    choices:\n    - 1 GiB\n    - -5\n",
            "site.yaml:5: `sessions.memory.choices.1` must be a size such as 8 GiB",
        ),
        ("sessions: {shared_memory: 1 MiB}", "sessions.shared_memory: must be at least 256 MiB; given: 1 MiB"),
        (
            "sessions: {memory: {default: 3 GiB}}",
            "`default: 3 GiB` is not one of the choices 2 GiB, 4 GiB, 8 GiB, 16 GiB",
        ),
        ("sessions: {cores: {default: 3}}", "`default: 3` is not one of the choices [1, 2, 4, 8]"),
        ("sessions: {cores: {choices: []}}", "`sessions.cores.choices` must be a list, at least one"),
        ("sessions: 4", "`sessions` must be a section with the keys cores, memory,"),
        ("name: a\nname: b\n", "site.yaml:2: `name` stands in line 1 already"),
        ("server:\n  tls: acme\n  tls: files\n", "site.yaml:3: `server.tls` stands in line 2 already"),
        ("on: 1\n", "site.yaml:1: the key `on` is not text"),
        ("server:\n  1: 2\n", "site.yaml:2: the key `server.1` is not text"),
        ("server: {https_port: 80}", "`https_port` and `http_port` must differ; both are 80"),
        ("server: {tls: files}", "`tls: files` needs both `certificate` and `key`"),
        ("server: {tls: acme}", "`tls: acme` needs `hostname`"),
        ("server: {acme_email: 'ada@x {'}", "`server.acme_email` must be a mail address"),
        ("server: {acme_directory: 'https://ca/ {'}", "`server.acme_directory` must be an address that begins with"),
        ("server: {acme_root: /ca.pem}", "`acme_root` is of no use without `acme_directory`"),
        ("server: {hostname: 'https://x'}", "`server.hostname` must be a host name or an IPv4 address"),
        ("server: {hostname: '..'}", "`server.hostname` must be a host name or an IPv4 address"),
        ("server: {hostname: gpu-.example.org}", "`server.hostname` must be a host name or an IPv4 address"),
        ("data_root: here", "`data_root` must be an absolute path; given: 'here'"),
        ("data_root: //srv/box", "`data_root` must be an absolute path; given: '//srv/box'"),
        ("data_root: /", "`data_root` must be a folder of its own"),
        ("data_root: '/srv/a b'", "`data_root` may have letters, digits"),
        ("data_root: /srv/../etc", "`data_root` may have letters, digits and `/._-` only, and no `..`"),
        ("engine: {socket: '/run/a:b'}", "`engine.socket` may have letters, digits"),
        ("network: {http_proxy: proxy:3128}", "`network.http_proxy` must be an address that begins with http://"),
        ("accounts: {administrator: Root}", "`accounts.administrator` must be a login name"),
        ("accounts: {demo_users: [admin]}", "`demo_users` must not have the administrator, admin"),
        ("gpus: {shares: [{model: NVIDIA L4}]}", "`gpus.shares.0.parts`"),
        ("gpus: {shares: [{model: NVIDIA L4, parts: 1}]}", "`gpus.shares.0.parts` must be a whole number from 2 to 48"),
        (
            "accounts: {source: oidc}",
            "`source: oidc` needs `oidc.issuer` and `oidc.client_id` and `oidc.client_secret`",
        ),
        ("accounts: {source: ldap}", "`source: ldap` needs `ldap.server` and `ldap.user_base`"),
        (
            "accounts: {source: ldap, ldap: {server: 'ldaps://x', user_base: dc=x}}",
            "needs somebody in `rights.administrators` or `rights.administrator_groups`",
        ),
        (
            "accounts: {source: ldap, ldap: {server: 'ldaps://x', user_base: dc=x, reader: cn=x}}",
            "`ldap.reader` and `ldap.reader_password` are of use only together",
        ),
        (
            "accounts: {source: ldap, demo_users: [a], rights: {administrators: [a]}, "
            "ldap: {server: 'ldaps://x', user_base: dc=x}}",
            "`demo_users` are accounts of this service",
        ),
        ("accounts: {ldap: {server: x}}", "`accounts.ldap.server` must be an address such as ldaps://ldap.example.org"),
        ("accounts: {ldap: {group_filter: '(a={b})'}}", "`group_filter` may have `{userdn}` and `{uid}`"),
        ("stack: {repository: ../x}", "`stack.repository` must be a repository name such as sciencebox.local"),
        ("name: [", "site.yaml:1: not valid YAML"),
        ("data_root: 2026-13-45\n", "site.yaml:1: `data_root` must be an absolute path; given: '2026-13-45'"),
        ("name: !!int x", "site.yaml: a value is not what its tag says"),
        ("server: {https_port: !!timestamp x}", "site.yaml: a value is not what its tag says"),
        (
            "server: {http_port: 9090}\nmonitoring: {enabled: true}\n",
            "`server.http_port` and `monitoring.port` are both 9090; choose another one",
        ),
        ("name: &a [*a]", "site.yaml: a part of it contains itself"),
        ("- 1", "site.yaml: expected keys such as `name:`, found [1]"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, expected: str) -> None:
    assert expected in refusal(text)


def test_all_mistakes_are_told_at_once() -> None:
    lines = refusal("nam: a\nserver:\n  https_port: 0\n  tls: none\n").splitlines()
    assert sorted(line.split(": ")[0] for line in lines) == ["site.yaml:1", "site.yaml:3", "site.yaml:4"]


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"missing\.yaml: cannot be read: No such file"):
        load(tmp_path / "missing.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="is not a text file in UTF-8"):
        load(tmp_path / "binary.yaml")


def test_the_reference_is_a_settings_file_with_the_defaults() -> None:
    text = explain.reference(Settings.model_json_schema(), Settings().model_dump())
    assert parse(text, "reference") == Settings()
    for number, line in enumerate(text.splitlines(), 1):
        assert len(line) <= 120, number


def test_the_reference_documents_every_key() -> None:
    lines = explain.reference(Settings.model_json_schema(), Settings().model_dump()).splitlines()
    keys = [number for number, line in enumerate(lines) if line and not line.lstrip().startswith("#")]
    assert [lines[number] for number in keys if not lines[number - 1].lstrip().startswith("#")] == []


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, "0 bytes"), (1000, "1000 bytes"), (1536 * 1024**2, "1.5 GiB"), (4 * 1024**3, "4 GiB"), (1024**4, "1 TiB")],
)
def test_sizes_are_written_as_people_do(count: int, expected: str) -> None:
    assert explain.size(count) == expected


_WORDS = st.sampled_from(
    [*Settings.model_fields, "https_port", "tls", "default", "memory", "choices", "hostnam", "8 GiB"]
)
_YAML = st.recursive(
    st.none() | st.booleans() | st.integers() | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS | st.integers(), inner, max_size=4),
    max_leaves=12,
)


@given(_YAML)
def test_any_yaml_is_accepted_or_refused_in_words(values: object) -> None:
    try:
        parse(yaml.safe_dump(values), SOURCE)
    except SettingsError as error:
        assert all(line.startswith(SOURCE) for line in str(error).splitlines())
