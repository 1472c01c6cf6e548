"""The spawn form as its reader sees it."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sciencebox.sessions.form import Refused, gpu_facts, gpu_rows, options_form
from sciencebox.sessions.options import FIELDS, GpuChoice, Offer, OptionsError, parse_options

if TYPE_CHECKING:
    from collections.abc import Mapping

GIB = 1024**3
A100 = GpuChoice("NVIDIA A100", 80 * GIB, free=1, total=2, held=1, holders=("alice",))
T4 = GpuChoice("NVIDIA T4", 16 * GIB, free=6, total=6)
OFFER = Offer(
    stacks=("SB_1_cuda", "SB_1"),
    cores=(1, 2, 4),
    memory_bytes=(2 * GIB, 4 * GIB, 8 * GIB),
    default_cores=2,
    default_memory_bytes=4 * GIB,
    gpus=(A100, T4),
    any_gpu=GpuChoice("any", None, free=7, total=8, held=1, holders=("alice",)),
    max_gpus=4,
)
NO_GPUS = replace(OFFER, gpus=(), any_gpu=None, reason="The NVIDIA driver is not installed.")
DEFAULTS = {"stack": "SB_1_cuda", "cores": "2", "memory": "4 GiB", "gpu": "none", "gpu_count": "1"}
SCRIPT = "<script>alert(1)</script>"


def chosen(form: str) -> dict[str, str]:
    """What the form would send if Start were pressed now."""
    found = {}
    for tag in re.findall(r"<input[^>]*>", form):
        name, value = (re.search(rf'{key}="([^"]*)"', tag) for key in ("name", "value"))
        if name and value and ("checked" in tag or 'type="number"' in tag):
            found[name[1]] = unescape(value[1])
    option = re.search(r'<option value="([^"]*)" selected>', form)
    return {**found, **({"stack": option[1]} if option else {})}


def errors(form: str) -> dict[str, str]:
    """Messages at fields."""
    return {name: unescape(text) for name, text in re.findall(r'<div id="(\w+)-error"[^>]*>([^<]*)</div>', form)}


def text(form: str) -> str:
    """The form in words."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", form)))


# What is shown chosen


def test_a_first_visit_is_shown_the_defaults():
    assert chosen(options_form(OFFER, "ada")) == DEFAULTS


def test_the_last_choice_is_shown_again():
    last = {"stack": "SB_1", "cores": 4, "memory": "8 GiB", "gpu": "NVIDIA T4", "gpu_count": 3}
    assert chosen(options_form(OFFER, "ada", last=last)) == {name: str(value) for name, value in last.items()}


def test_of_a_last_choice_only_what_is_still_there_is_shown():
    last = {"stack": "SB_0", "cores": 64, "memory": "8 GiB", "gpu": "NVIDIA V100", "gpu_count": 2}
    form = options_form(OFFER, "ada", last=last)
    assert chosen(form) == {**DEFAULTS, "memory": "8 GiB"}
    assert errors(form) == {}


def test_a_link_goes_before_the_last_choice_field_by_field():
    form = options_form(OFFER, "ada", last={"cores": 4, "gpu": "any"}, link={"gpu": ["NVIDIA T4"], "gpu_count": ["2"]})
    assert chosen(form) == {**DEFAULTS, "cores": "4", "gpu": "NVIDIA T4", "gpu_count": "2"}


def test_a_link_s_choice_that_is_not_on_offer_is_told_at_its_field():
    form = options_form(OFFER, "ada", link={"gpu": ["NVIDIA H100"], "gpu_count": ["2"], "memory": ["8 GiB"]})
    assert chosen(form) == {**DEFAULTS, "memory": "8 GiB"}
    assert list(errors(form)) == ["gpu"]


@given(
    st.dictionaries(
        st.one_of(st.sampled_from(FIELDS), st.text(max_size=5)),
        st.one_of(st.none(), st.text(max_size=20), st.integers(), st.lists(st.text(max_size=20), max_size=2)),
    )
)
def test_whatever_was_stored_or_linked_the_form_shows_something_that_can_be_sent(anything: dict[str, Any]):
    form = options_form(OFFER, "ada", last=anything, link=anything)
    parse_options(chosen(form), OFFER)


# What was refused


def refused(entered: Mapping[str, list[str]], offer: Offer = OFFER) -> str:
    """The form after this was sent and not accepted."""
    with pytest.raises(OptionsError) as raised:
        parse_options(entered, offer)
    return options_form(offer, "ada", refused=Refused(entered, raised.value))


def test_a_refused_form_keeps_what_was_entered_and_says_what_is_wrong_at_its_field():
    form = refused({"stack": ["SB_1"], "cores": ["4"], "gpu": ["NVIDIA A100"], "gpu_count": ["3"]})
    assert chosen(form) == {**DEFAULTS, "stack": "SB_1", "cores": "4", "gpu": "NVIDIA A100", "gpu_count": "3"}
    assert errors(form) == {"gpu_count": "Choose a whole number from 1 to 2: this server has 2 x NVIDIA A100."}
    assert 'aria-describedby="gpu_count-about gpu_count-error" aria-invalid="true"' in form


def test_a_number_that_is_none_is_shown_as_it_was_typed():
    form = refused({"gpu": ["any"], "gpu_count": ['"><b>']})
    assert chosen(form)["gpu_count"] == '"><b>'
    assert "<b>" not in form


# The GPUs in words


def test_a_line_tells_how_many_are_free_and_who_has_the_rest():
    rows = {row.gpu: row for row in gpu_rows(replace(OFFER, gpus=(replace(A100, total=3), T4)), "bob")}
    assert (rows["NVIDIA A100"].numbers, rows["NVIDIA A100"].in_use) == (
        "1 of 3 free",
        "in use by alice, 1 out of service",
    )
    assert (rows["NVIDIA T4"].numbers, rows["NVIDIA T4"].in_use) == ("6 of 6 free", "")
    assert rows["NVIDIA T4"].about == "16 GiB each"


@pytest.mark.parametrize(
    ("holders", "says"),
    [
        ((), "3 in use"),
        (("bob",), "in use by you"),
        (("alice", "bob"), "in use by alice and you"),
        (("alice", "carol"), "in use by alice and carol"),
        (tuple("acdefg"), "in use by a, c, d, e, f and 1 other"),
        ((*"abcdefgh", "bob"), "in use by a, b, c, d, e, 3 others and you"),
    ],
)
def test_holders_are_named_as_people_would(holders: tuple[str, ...], says: str):
    choice = GpuChoice("NVIDIA T4", None, free=0, total=3, held=3, holders=holders)
    assert gpu_rows(replace(OFFER, gpus=(choice,)), "bob")[1].in_use == says


def test_names_of_people_and_cards_cannot_bring_markup():
    choice = replace(A100, kind=SCRIPT, holders=(SCRIPT,))
    form = options_form(replace(OFFER, gpus=(choice,), reason=SCRIPT, stacks=(SCRIPT,)), SCRIPT, link={"gpu": [SCRIPT]})
    assert "<script" not in form
    assert chosen(form)["gpu"] == SCRIPT


def test_without_gpus_the_form_says_why_and_starts_sessions_all_the_same():
    form = options_form(NO_GPUS, "ada", last={"gpu": "NVIDIA T4", "gpu_count": 1})
    assert "The NVIDIA driver is not installed. Sessions without a GPU work." in text(form)
    assert re.search(r"<fieldset[^>]*gpu-about[^>]*disabled", form)
    assert "gpu_count" not in chosen(form) and chosen(form)["gpu"] == "none"


def test_while_the_engine_cannot_be_read_nothing_is_called_out_of_service():
    offer = replace(OFFER, gpus=(replace(A100, free=0, held=0, holders=()),), reason="The engine cannot be read.")
    form = text(options_form(offer, "ada"))
    assert "0 of 2 free" in form and "out of service" not in form and "The engine cannot be read." in form


def test_where_one_gpu_is_the_most_the_number_is_not_asked_for():
    assert "gpu_count" not in chosen(options_form(replace(OFFER, max_gpus=1), "ada"))


def test_without_a_published_stack_the_form_says_so():
    form = options_form(replace(OFFER, stacks=()), "ada")
    assert "None published yet" in form
    assert "stack" not in chosen(form)
    parse_options(chosen(form), replace(OFFER, stacks=()))


def test_simulated_gpus_are_called_so():
    assert "SIMULATED" in text(options_form(replace(OFFER, simulated=True), "ada"))
    assert "SIMULATED" not in text(options_form(OFFER, "ada"))


def test_an_open_form_is_refreshed_with_the_words_that_it_was_made_of():
    form = text(options_form(OFFER, "bob"))
    facts = gpu_facts(OFFER, "bob")
    assert [row["gpu"] for row in facts["gpus"]] == ["any", "NVIDIA A100", "NVIDIA T4"]
    for row in facts["gpus"]:
        assert row["numbers"] in form and row["in_use"] in form
    assert facts["reason"] == "" and facts["simulated"] is False
