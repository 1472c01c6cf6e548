"""The pure parts of measuring: the order, the steps, what is kept, the cards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.bench import cards, machine, measure, results

if TYPE_CHECKING:
    from pathlib import Path


def test_rounds_go_forth_and_back() -> None:
    assert measure.in_turn("ABC", 1) == ["A", "B", "C"]
    assert measure.in_turn("ABC", 2) == ["C", "B", "A"]


def test_the_steps_of_a_start_add_up_to_the_whole() -> None:
    seen = {"begun": 1.0, "created": 1.5, "started": 2.0, "ready": 5.0}

    assert measure.steps(0.0, seen, 5.25) == {
        "grant": 1.0,
        "create": 0.5,
        "start": 0.5,
        "import": 3.0,
        "first 200": 0.25,
    }


def test_an_event_that_is_told_late_makes_no_step_negative() -> None:
    seen = {"begun": 1.0, "created": 1.5, "started": 2.0, "ready": 5.5}

    parts = measure.steps(0.0, seen, 5.25)

    assert min(parts.values()) >= 0
    assert sum(parts.values()) == pytest.approx(5.25)


def test_the_time_of_the_engine_is_read_whether_it_has_a_fraction_or_not() -> None:
    assert measure.moment("1970-01-02T00:00:01.123456789Z") == pytest.approx(86401.123456789)
    assert measure.moment("1970-01-01T00:00:01Z") == 1.0


def figure(value: float, *, quick: bool) -> dict[str, Any]:
    return {"values": [value], "quick": quick}


@pytest.mark.parametrize(
    ("earlier", "later", "kept"), [(True, True, 2.0), (True, False, 2.0), (False, False, 2.0), (False, True, 1.0)]
)
def test_a_quick_trial_never_replaces_a_full_measurement(earlier: bool, later: bool, kept: float) -> None:
    before = results.with_figure({}, "form", figure(1.0, quick=earlier))

    after = results.with_figure(before, "form", figure(2.0, quick=later))

    assert after["form"]["values"] == [kept]


def test_a_run_of_some_figures_keeps_the_others(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    assert results.read(file) == {}

    results.write(file, results.with_figure(results.read(file), "form", figure(1.0, quick=False)))
    results.write(file, results.with_figure(results.read(file), "images", figure(2.0, quick=False)))

    assert set(results.read(file)) == {"form", "images"}


def test_cards_are_described_by_names_that_no_other_specification_has() -> None:
    names = ["0", "1", *cards.UUIDS, "all"]
    spec = {"kind": "nvidia.com/gpu", "devices": [{"name": name} for name in names]}

    found = cards.by_uuid(spec)

    assert [device["name"] for device in found["devices"]] == list(cards.UUIDS)
    assert found["kind"] == "nvidia.com/gpu"


@pytest.mark.parametrize(
    ("arguments", "typed"),
    [
        ([], "make bench"),
        (["--quick"], "make bench ARGS=--quick"),
        (["--only", "form"], "make bench ARGS='--only form'"),
    ],
)
def test_the_command_is_told_as_it_is_typed(arguments: list[str], typed: str) -> None:
    assert machine.command(arguments) == typed


def test_the_processor_is_named_where_the_kernel_names_it() -> None:
    assert machine.cpu_model("processor\t: 0\nmodel name\t: A: 4 GHz\n") == "A: 4 GHz"
    assert machine.cpu_model("")


def test_what_is_in_the_images_is_asked_of_them() -> None:
    class Containers:
        def run(self, _image: str, command: list[str], **_options: object) -> bytes:
            return f"{command[-1]} 5.1\n".encode()

    class Client:
        containers = Containers()

    said = machine.versions(Client())
    assert said.startswith("ScienceBox GPU ")
    assert said.endswith("hub: dockerspawner 5.1; session: jupyterlab 5.1; plain image: jupyterlab 5.1")
