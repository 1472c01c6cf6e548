"""How the sessions' network is shared out, and the rules that follow from it."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any
from unittest.mock import MagicMock

import pytest
from docker.errors import APIError, NotFound
from hypothesis import given
from hypothesis import strategies as st
from sciencebox.host import network
from sciencebox.host.firewall import Addresses, rules, table
from sciencebox.host.steps import StepError
from sciencebox.host.watch import Service
from sciencebox.settings import Settings, SettingsError, parse

OWNERS = {"hub": "box", "of another": "other"}
BOX = Addresses(IPv4Network("172.20.0.0/16"))


def firewall(**values: Any) -> str:
    """The rules of a deployment with these settings."""
    return rules(Settings.model_validate({"name": "box", "firewall": values}), BOX)


@given(st.integers(8, 28).flatmap(lambda length: st.tuples(st.just(length), st.integers(0, 2**length - 1))))
def test_services_are_never_taken_for_sessions(network: tuple[int, int]) -> None:
    length, number = network
    addresses = Addresses(IPv4Network((number << (32 - length), length)))
    fixed = [addresses.gateway, addresses.hub, addresses.proxy]
    assert len(set(fixed)) == 3
    assert all(IPv4Address(one) in addresses.subnet and IPv4Address(one) not in addresses.sessions for one in fixed)
    assert addresses.sessions.num_addresses * 2 == addresses.subnet.num_addresses


@pytest.mark.parametrize(
    ("told", "shared_out"),
    [
        ({"Subnet": "172.20.0.0/16", "Gateway": "172.20.0.1", "IPRange": "172.20.128.0/17"}, True),
        ({"Subnet": "172.20.0.0/16", "Gateway": "172.20.0.1"}, False),
        ({"Subnet": "172.20.0.0/16", "IPRange": "172.20.64.0/18"}, False),
    ],
)
def test_a_network_of_an_earlier_version_is_recognised(told: dict[str, str], shared_out: bool) -> None:
    assert Addresses.of({"IPAM": {"Config": [told]}}) == (BOX, shared_out)


def test_sessions_have_no_addresses_that_the_rules_do_not_know() -> None:
    told = {"Subnet": "172.20.0.0/16", "Gateway": "172.20.0.1", "IPRange": "172.20.128.0/17"}
    with_ipv6 = {"EnableIPv6": True, "IPAM": {"Config": [{"Subnet": "fd00:20::/64"}, told]}}
    assert Addresses.of(with_ipv6) == (BOX, False)

    engine, made = MagicMock(), MagicMock(attrs=with_ipv6)
    engine.networks.list.return_value = []
    engine.networks.create.return_value = made
    assert network.provide(engine, Settings(), in_use=False) == BOX
    there = MagicMock(attrs={**with_ipv6, "Containers": {"hub": {}, "of another": {}}})
    there.name = "box-sessions"
    services = {name: MagicMock(labels={"com.docker.compose.project": project}) for name, project in OWNERS.items()}
    engine.networks.list.return_value = [there]
    engine.containers.get = services.get
    engine.api.stop.side_effect = NotFound("it has ended by itself")
    box = Settings(name="box")
    with pytest.raises(StepError, match="sessions are in it"):
        network.provide(engine, box, in_use=True)
    assert not there.remove.called
    network.provide(engine, box, in_use=False)
    assert there.remove.called
    assert [call.args[0] for call in engine.api.remove_container.call_args_list] == ["hub"]
    there.disconnect.assert_called_once_with("of another", force=True)

    asked = [call.kwargs["options"] for call in engine.networks.create.call_args_list]
    assert asked == [{"com.docker.network.enable_ipv6": "false"}] * 4


def test_where_every_subnet_is_taken_it_is_said_how_the_engine_gets_others() -> None:
    engine = MagicMock()
    engine.networks.list.return_value = []
    full = "could not find an available, non-overlapping IPv4 address pool among the defaults"
    engine.networks.create.side_effect = APIError("500 Server Error", explanation=full)
    with pytest.raises(StepError, match=r"no network for sessions: could not find .* `default-address-pools`"):
        network.provide(engine, Settings(), in_use=False)


def test_a_firewall_that_was_taken_out_leaves_no_container_that_is_not_started_with_the_server() -> None:
    engine, service = MagicMock(), Service("firewall", "1", "running", "healthy")
    container = engine.containers.get.return_value
    network.lift_rules(engine, {"firewall": service})
    assert [call[0] for call in container.method_calls] == ["update", "kill", "wait"]
    assert engine.api.remove_container.call_args.args == ("1",)
    container.reset_mock()
    network.lift_rules(engine, {"firewall": replace(service, state="exited")})
    assert container.method_calls == []


def test_sessions_reach_each_other_neither_on_the_bridge_nor_by_a_route() -> None:
    dropped = "ip saddr 172.20.128.0/17 ip daddr 172.20.128.0/17 drop"
    assert firewall().count(dropped) == 2


def test_what_is_allowed_comes_before_what_is_refused() -> None:
    text = firewall(refuse=["0.0.0.0/0"], allow=["10.1.2.3", "10.2.0.0/16"])
    allowed, refused = text.index("ip daddr { 10.1.2.3/32, 10.2.0.0/16 } accept"), text.index("{ 0.0.0.0/0 } reject")
    assert allowed < refused


def test_nothing_is_refused_where_nothing_is_named() -> None:
    text = firewall(refuse=[])
    assert "reject" not in text
    assert "{  }" not in text


def test_only_the_deployments_own_tables_are_replaced() -> None:
    text = firewall()
    assert set(re.findall(r"delete table (.*)", text)) == {"bridge sciencebox-box", "inet sciencebox-box"}
    assert table(Settings.model_validate({"name": "box"})) == "sciencebox-box"
    assert "flush" not in text


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("refuse: [10.1.2.3/8]", "an IPv4 network such as 10.0.0.0/8"),
        ("refuse: [metadata.example]", "an IPv4 network such as 10.0.0.0/8"),
        ("refuse: 10.0.0.0/8", "a list"),
        ("refuse: [10.0.0.0/8, 10.1.0.0/16]", "keep the larger"),
        ("refused: []", "did you mean `refuse`?"),
    ],
)
def test_a_wrong_network_is_named(written: str, said: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(said)):
        parse(f"firewall:\n  {written}\n", "box.yaml")
