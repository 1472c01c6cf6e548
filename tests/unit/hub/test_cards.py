"""What each GPU is said to be on the GPUs page, to whom."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from sciencebox.gpus.broker import Broker, Place
from sciencebox.gpus.device import Device, Health, Inventory, Load, Process
from sciencebox.gpus.pool import GpuRequest, Holding
from sciencebox.gpus.processes import BY_SESSION
from sciencebox.gpus.queue import Ticket
from sciencebox.gpus.shares import divide
from sciencebox.gpus_section import GpuShares
from sciencebox.hub.base import Reader
from sciencebox.hub.gpus import Card, Line, cards, line, view
from sciencebox.hub.live import Live
from sciencebox.sessions.desk import Snapshot
from sciencebox.sessions.options import Offer

GIB = 1024**3
OFFER = Offer(("SB_1",), (1,), (GIB,), 1, GIB)
DEVICE = Device("GPU-0", 0, "NVIDIA A100", 80 * GIB, pci_id="00000000:41:00.0")
ADA = Reader("ada", admin=False, shows_holders=True)
ADA_IN_PRIVATE = replace(ADA, shows_holders=False)
ADMIN_IN_PRIVATE = Reader("admin", admin=True, shows_holders=False)
LOST = {"health": Health.QUARANTINED, "health_reason": "it does not answer (GPU is lost)"}
EARLY, LATE = 1_790_000_000.0, 1_790_003_600.0


def held(user: str, since: float | None = EARLY, uuid: str = "GPU-0") -> Holding:
    return Holding(uuid, user, f"sciencebox-session-{user}-{since}", since)


def seen(devices: list[Device], *holdings: Holding, reader: Reader = ADA) -> list[Card]:
    """The cards, with what the broker itself says of devices that it does not grant."""
    broker = Broker()
    broker.see_ledger(holdings, broker.look(), 1_790_000_000.0)
    broker.see_inventory(Inventory(tuple(devices)), broker.look())
    return cards(Snapshot(Inventory(tuple(devices)), OFFER, holdings, broker.unfit(), "cdi", ""), reader)


@pytest.mark.parametrize(
    ("changed", "holdings", "reader", "state", "about"),
    [
        ({}, [], ADA, "free", "Free"),
        ({}, [held("ada")], ADA, "used", "In use by you"),
        ({}, [held("maria")], ADA, "used", "In use by maria"),
        ({}, [held("maria")], ADA_IN_PRIVATE, "used", "In use"),
        ({}, [held("ada")], ADA_IN_PRIVATE, "used", "In use by you"),
        ({}, [held("maria")], ADMIN_IN_PRIVATE, "used", "In use by maria"),
        # A card in two containers ought not to be; whoever looks is told of both.
        ({}, [held("maria"), held("ada", LATE)], ADA, "used", "In use by maria, you"),
        ({}, [held("maria"), held("ada", LATE)], ADA_IN_PRIVATE, "used", "In use by you"),
        ({}, [held("maria"), held("maria", LATE)], ADA, "used", "In use by maria"),
        (LOST, [], ADA, "out", "In quarantine: it does not answer (GPU is lost)"),
        ({"health": Health.DRAINED}, [], ADA, "out", "Was taken out of service by the administrator"),
        ({"health": Health.SUSPECT}, [], ADA, "out", "Suspect"),
        (LOST, [held("maria")], ADA, "used", "In use by maria; it does not answer (GPU is lost)"),
        (LOST, [held("maria")], ADA_IN_PRIVATE, "used", "In use; it does not answer (GPU is lost)"),
        ({"health": Health.SUSPECT}, [held("ada")], ADA, "used", "In use by you; suspect"),
        (
            {"processes": (Process(4711),)},
            [],
            ADA,
            "out",
            "In use by a program (process 4711) that this service did not start",
        ),
        ({"processes": (Process(4711),)}, [held("maria")], ADA, "used", "In use by maria"),
        ({"mig_enabled": True}, [], ADA, "divided", "Divided into MIG instances"),
        ({"mig_enabled": True, **LOST}, [], ADA, "out", "In quarantine: it does not answer (GPU is lost)"),
        # Held as a whole when it was divided: its session is what matters.
        ({"mig_enabled": True}, [held("maria")], ADA, "used", "In use by maria"),
        ({"mig_enabled": True, "mig_profile": "1g.10gb", "parent_uuid": "GPU-9"}, [], ADA, "free", "Free"),
    ],
)
def test_a_card_in_words(changed: dict[str, Any], holdings: list[Holding], reader: Reader, state: str, about: str):
    (card,) = seen([replace(DEVICE, **changed)], *holdings, reader=reader)
    assert (card.state, card.about) == (state, about)


def test_what_a_card_is():
    assert seen([DEVICE]) == [
        Card("0", "NVIDIA A100", "80 GiB", "00000000:41:00.0", "GPU-0", "free", "Free", None, simulated=False)
    ]


def test_what_the_driver_does_not_tell_is_said_to_be_unknown():
    (card,) = seen([Device("GPU-7", 7, simulated=True)])
    assert (card.index, card.kind, card.memory, card.pci, card.simulated) == ("7", "Unknown GPU", "unknown", "", True)


def test_a_divided_gpu_is_followed_by_its_instances_each_with_its_own_state():
    parent = replace(DEVICE, mig_enabled=True)
    instances = [
        Device(f"MIG-{n}", 0, "NVIDIA A100", 10 * GIB, mig_profile="1g.10gb", parent_uuid="GPU-0") for n in range(2)
    ]
    found = seen([parent, *instances], held("maria", uuid="MIG-1"))
    assert [(card.uuid, card.kind, card.state) for card in found] == [
        ("GPU-0", "NVIDIA A100", "divided"),
        ("MIG-0", "NVIDIA A100 MIG 1g.10gb", "free"),
        ("MIG-1", "NVIDIA A100 MIG 1g.10gb", "used"),
    ]


def test_a_gpu_in_shares_is_followed_by_them_and_taken_out_only_as_a_whole():
    devices = list(divide(Inventory((DEVICE,)), [GpuShares(model="NVIDIA A100", parts=2)]).devices)
    found = seen(devices, held("maria", uuid="GPU-0:2of2"), reader=replace(ADMIN_IN_PRIVATE))
    assert [(card.uuid, card.kind, card.memory, card.about, bool(card.actions)) for card in found] == [
        ("GPU-0", "NVIDIA A100", "80 GiB", "Divided into 2 shares", True),
        ("GPU-0:1of2", "NVIDIA A100 1/2 share", "40 GiB", "Free", False),
        ("GPU-0:2of2", "NVIDIA A100 1/2 share", "40 GiB", "In use by maria", False),
    ]


def test_what_a_share_does_is_shown_where_it_is_known():
    card = replace(DEVICE, load=Load(0.75, 30 * GIB, 61, 300.0))
    whole, known, unknown = divide(Inventory((card,)), [GpuShares(model="NVIDIA A100", parts=2)]).devices
    live = Live(SimpleNamespace(watchers=[]))
    live.see([whole, replace(known, load=replace(known.load, utilisation=0.25, memory_used_bytes=GIB)), unknown], (), 0)
    loads = json.loads(live.loads())
    assert loads["GPU-0"] == {
        **{"utilisation": 0.75, "history": [0.75], "memory": 80 * GIB, "memory_used": 30 * GIB},
        **{"temperature": 61, "power": None},
    }
    assert [(loads[d.uuid]["utilisation"], loads[d.uuid]["history"]) for d in (known, unknown)] == [
        (0.25, [0.25]),
        (None, [None]),
    ]
    assert [loads[d.uuid]["memory_used"] for d in (known, unknown)] == [GIB, None]
    assert {loads[d.uuid]["power"] for d in (known, unknown)} == {None}


@pytest.mark.parametrize(
    ("changed", "actions"),
    [
        ({}, ["PUT drain", "PUT quarantine"]),
        ({"health": Health.DRAINED, "marked": True, "drained": True}, ["DELETE drain"]),
        ({"health": Health.QUARANTINED, "marked": True}, ["DELETE quarantine"]),
        ({"health": Health.QUARANTINED, "marked": True, "drained": True}, ["DELETE quarantine"]),
        (LOST, ["PUT drain", "PUT quarantine"]),
        (LOST | {"drained": True}, ["DELETE drain"]),
    ],
)
def test_an_administrator_may_take_back_what_somebody_said_of_a_card(changed: dict[str, Any], actions: list[str]):
    (card,) = seen([replace(DEVICE, **changed)], reader=ADMIN_IN_PRIVATE)
    assert [action for _, action in card.actions] == actions


def test_since_when_a_card_is_out_of_service():
    assert seen([replace(DEVICE, **LOST, health_since=EARLY)])[0].since == EARLY


def test_administrators_are_told_why_it_is_not_known_what_each_share_does():
    device = replace(DEVICE, shares=2, unknown={BY_SESSION: "the driver does not tell which process computes"})
    snapshot = Snapshot(Inventory((device,), driver_version="580.1"), OFFER, (), {}, "cdi", "It is there.")
    told = "What each share of GPU 0 does is not known: the driver does not tell which process computes."
    assert view(snapshot, (), ADMIN_IN_PRIVATE).about == f"Driver 580.1. Attached by: cdi. It is there. {told}"
    assert view(snapshot, (), ADA).about == ""


@pytest.mark.parametrize(
    ("holdings", "since"),
    [([], None), ([held("maria")], EARLY), ([held("maria", LATE), held("ada")], EARLY), ([held("maria", None)], None)],
)
def test_since_when_a_card_is_in_use(holdings: list[Holding], since: float | None):
    assert [card.since for card in seen([DEVICE], *holdings)] == [since]


def test_a_session_on_a_card_that_is_gone_makes_no_line():
    assert seen([DEVICE], held("maria", uuid="GPU-9"))[0].state == "free"
    assert seen([]) == []


@pytest.mark.parametrize(
    ("reader", "names"),
    [(ADA, ["bob", "you"]), (ADA_IN_PRIVATE, ["somebody", "you"]), (ADMIN_IN_PRIVATE, ["bob", "ada"])],
)
def test_who_waits_is_named_to_those_who_may_know(reader: Reader, names: list[str]):
    places = [
        Place(Ticket("s-bob", GpuRequest("bob", 2, "NVIDIA A100"), EARLY), 1, LATE),
        Place(Ticket("s-ada", GpuRequest("ada", 1), LATE), 2, None),
    ]
    assert line(places, reader) == [
        Line(1, names[0], "2 x NVIDIA A100", EARLY, LATE),
        Line(2, names[1], "1 GPU", LATE, None),
    ]
