"""A file of values for a cluster: merged as helm does it, every mistake told with its line before anything is done."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from sciencebox.host import values
from sciencebox.settings import SettingsError

from tests.unit.helm.chart import CHART, EXAMPLES, Chart, one

if TYPE_CHECKING:
    from pathlib import Path

DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


def read(text: str) -> values.Values:
    return values.read(text, "site.yaml", DEFAULTS, SCHEMA)


def refusal(text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        read(text)
    return str(caught.value)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_right(example: Path) -> None:
    assert read(example.read_text()).settings.stack.source == "client"


def test_nothing_means_the_defaults() -> None:
    assert read("").merged == DEFAULTS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "cvmfs:\n  source: csi\nsciencebox:\n  gpus:\n    max_per_sesion: 2\n",
            "site.yaml:5: unknown key `gpus.max_per_sesion`; did you mean `max_per_session`?",
        ),
        (
            "sciencebox:\n  sessions:\n    pids: many\n",
            "site.yaml:3: `sessions.pids` must be a whole number from 64 to 1000000; given: 'many'",
        ),
        ("cvmfs:\n  sorce: host\n", "site.yaml:2: unknown value `cvmfs.sorce`; did you mean `source`?"),
        (
            "serviceMonitor:\n  lables: {}\n",
            "site.yaml:2: unknown value `serviceMonitor.lables`; did you mean `labels`?",
        ),
        ("jupyterHub: {}\n", "site.yaml:1: unknown value `jupyterHub`; did you mean `jupyterhub`?"),
        ("data: {}\ndata: {}\n", "site.yaml:2: `data` stands in line 1 already"),
        ("a: [1\n", "site.yaml:2: not valid YAML"),
        ("- 1\n", "site.yaml: expected keys such as `sciencebox:`, found [1]"),
        (
            "sciencebox:\n  accounts: {administrator: ''}\n",
            "site.yaml:2: `accounts.administrator` must be a login name",
        ),
    ],
)
def test_a_mistake_is_told_with_its_line(text: str, expected: str) -> None:
    assert expected in refusal(text)


def test_all_mistakes_are_told_at_once() -> None:
    told = refusal("cvmfs: {sorce: host}\nsciencebox: {gpus: {simulate: 99}, nme: x}\n")
    assert len(told.splitlines()) == 3


TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
SECTIONS = st.dictionaries(st.sampled_from("abc"), TREES, max_size=3)


@given(SECTIONS)
def test_merging_nothing_changes_nothing(below: dict[str, Any]) -> None:
    assert values.merge(below, {}) == below


@given(SECTIONS, SECTIONS)
def test_what_is_merged_last_is_what_counts(below: dict[str, Any], above: dict[str, Any]) -> None:
    merged = values.merge(below, above)
    for key, value in above.items():
        if value is None:
            assert key not in merged
        elif not isinstance(value, dict):
            assert merged[key] == value


def test_merging_is_helms(chart: Chart, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    text = "sciencebox: {limits: {gpus: 2}, stack: {repository: software.example.org}}\n"
    file.write_text(text)
    rendered = one(chart.objects(file), "Secret", "sciencebox-settings")["stringData"]["sciencebox.yaml"]
    assert yaml.safe_load(rendered) == read(text).merged["sciencebox"]


def test_what_helm_says_is_told_without_its_template() -> None:
    said = (
        "Error: execution error at (sciencebox/templates/checks.yaml:1:4): Do this.\n\nUse --debug flag to render out\n"
    )
    assert values.in_words(said) == "Do this."
    assert values.in_words("Error: INSTALLATION FAILED: no route") == "INSTALLATION FAILED: no route"
    assert (
        values.in_words("Error: 2 errors occurred:\n\t* one is wrong\n\t* another is\n\n") == "one is wrong another is"
    )
    assert values.in_words("") == "helm gave no reason."


def test_images_are_found_wherever_pods_are_described() -> None:
    pods = {"spec": {"template": {"spec": {"initContainers": [{"image": "b"}], "containers": [{"image": "a"}]}}}}
    rendered = yaml.safe_dump_all([pods, {"spec": {"containers": [{"image": "a"}]}}, None])
    assert values.images(rendered) == ["a", "b"]
