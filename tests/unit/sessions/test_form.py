"""The spawn form's HTML: what it offers, what it shows chosen, and what it says at a field that cannot be had."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st
from sciencebox.sessions.form import Refused, gpu_facts, gpu_rows, options_form, render
from sciencebox.sessions.options import FIELDS, GpuChoice, Offer, OptionsError, parse_options, to_user_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bs4 import Tag

GIB = 1024**3
EVIL = """<script>alert("1")</script>'"""
A100 = GpuChoice("NVIDIA A100", 80 * GIB, free=1, total=2, held=1, holders=("maria",))
T4 = GpuChoice("NVIDIA T4", 16 * GIB, free=6, total=6)
OFFER = Offer(
    stacks=("SB_1_cuda", "SB_1"),
    environments={"SB_1_cuda": ("pytorch", "root")},
    cores=(1, 2, 4),
    memory_bytes=(2 * GIB, 4 * GIB, 8 * GIB),
    default_cores=2,
    default_memory_bytes=4 * GIB,
    gpus=(A100, T4),
    any_gpu=GpuChoice("any", None, free=7, total=8, held=1, holders=("maria",)),
    max_gpus=4,
)
CPU_ONLY = replace(OFFER, gpus=(), any_gpu=None, reason="The NVIDIA driver is not installed.")
DEFAULTS = {"stack": "SB_1_cuda", "cores": "2", "memory": "4 GiB", "gpu": "none"}


class Form:
    """The form as a browser has it."""

    def __init__(self, html: str) -> None:
        self.soup = BeautifulSoup(html, "html.parser")

    def one(self, selector: str) -> Tag:
        found = self.soup.select(selector)
        assert len(found) == 1, f"{selector}: {found}"
        return found[0]

    def text(self, selector: str) -> str:
        return " ".join(self.one(selector).get_text().split())

    def row(self, gpu: str) -> str:
        return " ".join(
            next(row for row in self.soup.select("[data-gpu]") if row["data-gpu"] == gpu).get_text().split()
        )

    def offered(self, name: str) -> list[Any]:
        if name == "stack":
            return [option["value"] for option in self.soup.select("select[name=stack] option")]
        return [choice["value"] for choice in self.soup.select(f"input[name={name}]")]

    def sends(self) -> dict[str, list[str]]:
        """What pressing Start sends, read from the elements as the HTML standard has it."""
        sent = {}
        for field in self.soup.select("select[name], input[name]"):
            disabled = field.has_attr("disabled") or any(p.has_attr("disabled") for p in field.find_parents("fieldset"))
            if disabled or (field.get("type") == "radio" and not field.has_attr("checked")):
                continue
            if field.name == "select":
                options = field.select("option[selected]") or field.select("option")[:1]
                sent[str(field["name"])] = [str(options[0]["value"])]
            else:
                sent[str(field["name"])] = [str(field["value"])]
        return sent

    def chosen(self) -> dict[str, str]:
        return {name: value for name, (value,) in self.sends().items() if name != "gpu_count"}

    def errors(self) -> dict[str, str]:
        return {str(error["id"]).removesuffix("-error"): error.get_text() for error in self.soup.select("[id$=-error]")}


def form(offer: Offer = OFFER, user: str = "ada", **sources: Any) -> Form:
    return Form(options_form(offer, user, **sources))


def refused(entered: Mapping[str, list[str]], offer: Offer = OFFER) -> Refused:
    with pytest.raises(OptionsError) as caught:
        parse_options(entered, offer)
    return Refused(entered, caught.value)


# What is offered


def test_everything_on_offer_can_be_chosen_and_nothing_else():
    shown = form()
    assert shown.offered("stack") == ["SB_1_cuda", "SB_1"]
    assert [option.text for option in shown.soup.select("#stack option")] == ["SB_1_cuda: pytorch, root", "SB_1"]
    assert shown.offered("cores") == ["1", "2", "4"]
    assert shown.offered("memory") == ["2 GiB", "4 GiB", "8 GiB"]
    assert shown.offered("gpu") == ["none", "any", "NVIDIA A100", "NVIDIA T4"]


def test_each_gpu_is_told_with_its_numbers():
    shown = form()
    assert shown.row("any") == "Any GPU the first that is free · in use by maria 7 of 8 free"
    assert shown.row("NVIDIA A100") == "NVIDIA A100 80 GiB each · in use by maria 1 of 2 free"
    assert shown.row("NVIDIA T4") == "NVIDIA T4 16 GiB each 6 of 6 free"
    assert "free" not in shown.row("none")


def test_the_form_as_it_comes_is_accepted():
    assert parse_options(form().sends(), OFFER) == parse_options({}, OFFER)


def test_every_field_has_a_name_that_is_read_out():
    shown = form()
    labelled = {label["for"] for label in shown.soup.select("label[for]")}
    assert {field["id"] for field in shown.soup.select("select, input")} == labelled
    for fieldset in shown.soup.select("fieldset"):
        assert fieldset.legend and fieldset.legend.get_text(strip=True)
    ids = [element["id"] for element in shown.soup.select("[id]")]
    assert len(ids) == len(set(ids))
    for element in shown.soup.select("[aria-describedby]"):
        assert set(str(element["aria-describedby"]).split()) <= set(ids)


def test_how_many_is_asked_only_where_more_than_one_is_possible():
    assert form().one("#gpu_count")["max"] == "1"  # nothing chosen yet
    assert form(link={"gpu": ["NVIDIA T4"]}).one("#gpu_count")["max"] == "4"  # a session's limit
    assert form(link={"gpu": ["NVIDIA A100"]}).one("#gpu_count")["max"] == "2"  # what there is
    assert not form(replace(OFFER, max_gpus=1)).soup.select("[name=gpu_count]")


def test_kernels_for_gpus_are_pointed_out_only_where_there_are_any():
    assert "_cuda can use a GPU" in form().text("#stack-about")
    assert "_cuda" not in form(replace(OFFER, stacks=("SB_1",))).text("#stack-about")


def test_without_a_published_stack_a_session_can_still_be_started():
    shown = form(replace(OFFER, stacks=()))
    assert shown.one("#stack").has_attr("disabled")
    assert "kernels appear once a stack is published" in shown.text("#stack-about")
    assert "stack" not in shown.sends()
    assert parse_options(shown.sends(), replace(OFFER, stacks=())).stack == ""


def test_a_stack_that_cannot_be_read_is_said_and_a_session_can_still_be_started():
    offer = replace(OFFER, stacks=(), stack_fault="/cvmfs/box.example does not answer.")
    about = form(offer).text("#stack-about")
    assert about.startswith("/cvmfs/box.example does not answer. Sessions start without its kernels")
    assert parse_options({"gpu": "none"}, offer).stack == ""
    with pytest.raises(OptionsError, match=r"/cvmfs/box\.example does not answer\. Leave the field out"):
        parse_options({"stack": "SB_1"}, offer)


def test_a_repository_that_cannot_be_read_is_said_where_another_can():
    offer = replace(OFFER, stack_fault="/cvmfs/box.example does not answer.")
    assert form(offer).offered("stack") == list(OFFER.stacks)
    said = "/cvmfs/box.example does not answer. What is there cannot be chosen now."
    assert form(offer).text(".alert-warning") == said


def test_an_environment_that_the_driver_is_too_old_for_is_said():
    note = "PyTorch of SB_1_cuda needs a driver for CUDA 13; this server's serves CUDA 12.4 <and no more>."
    assert form(replace(OFFER, stack_notes=(note,))).text(".alert-warning") == note


def test_without_a_gpu_the_form_says_why_and_offers_the_rest():
    shown = form(CPU_ONLY)
    assert shown.text("#gpu-reason") == "The NVIDIA driver is not installed. Sessions without a GPU work."
    assert not shown.one("#gpu-reason").has_attr("hidden")
    assert shown.one("fieldset:has([name=gpu])").has_attr("disabled")
    assert shown.offered("gpu") == ["none"]
    assert parse_options(shown.sends(), CPU_ONLY) == parse_options({}, CPU_ONLY)
    last_time = {"gpu": "NVIDIA T4", "gpu_count": 1}
    assert form(CPU_ONLY, last=last_time).one("[name=gpu]").has_attr("checked")


def test_a_reason_why_none_can_be_had_now_leaves_the_choice():
    silent = replace(OFFER, gpus=(replace(A100, free=0, held=0, holders=()),), reason="The driver does not answer.")
    shown = form(silent)
    assert shown.text("#gpu-reason").startswith("The driver does not answer.")
    assert not shown.one("fieldset:has([name=gpu])").has_attr("disabled")
    assert "out of service" not in shown.row("NVIDIA A100")  # nobody knows
    assert form().one("#gpu-reason").has_attr("hidden")


def test_simulated_gpus_are_called_so():
    assert "SIMULATED" in form(replace(OFFER, simulated=True)).soup.get_text()
    assert "SIMULATED" not in form().soup.get_text()


# Who has the rest


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        (T4, ""),
        (A100, "in use by maria"),
        (replace(A100, free=0, held=2, holders=("ada", "maria")), "in use by maria and you"),
        (replace(A100, free=0, held=2, holders=("ada",)), "in use by you"),
        (replace(A100, holders=()), "1 in use"),
        (replace(A100, free=1, held=0, holders=()), "1 out of service"),
        (replace(A100, total=3), "in use by maria, 1 out of service"),
        (GpuChoice("T4", GIB, 0, 5, 5, tuple("bcdef")), "in use by b, c, d, e and f"),
        (GpuChoice("T4", GIB, 0, 6, 6, tuple("bcdefg")), "in use by b, c, d, e, f and 1 other"),
        (GpuChoice("T4", GIB, 0, 9, 9, tuple("abcdefghi")), "in use by a, b, c, d, e and 4 others"),
    ],
)
def test_who_has_the_others(choice: GpuChoice, says: str):
    shown = gpu_rows(replace(OFFER, gpus=(choice,)), "ada")[1].in_use
    assert shown == says


def test_many_holders_are_counted_and_the_reader_is_named_last():
    crowd = tuple(sorted(["ada", *(f"user{n:02}" for n in range(12))]))
    busy = GpuChoice("NVIDIA T4", 16 * GIB, free=0, total=13, held=13, holders=crowd)
    said = gpu_rows(replace(OFFER, gpus=(busy,)), "ada")[1].in_use
    assert said == "in use by user00, user01, user02, user03, user04, 7 others and you"


def test_a_gpu_whose_memory_is_unknown_is_offered_all_the_same():
    assert "memory unknown" in form(replace(OFFER, gpus=(replace(A100, memory_bytes=None),))).row("NVIDIA A100")


# What is shown chosen


def test_the_first_visit_shows_the_defaults():
    assert form().chosen() == DEFAULTS
    assert form(last={}, link={}).chosen() == DEFAULTS
    assert form().errors() == {}


def test_the_last_choice_is_remembered():
    last = to_user_options(parse_options({"cores": 4, "memory": "8 GiB", "gpu": "NVIDIA T4", "gpu_count": 3}, OFFER))
    shown = form(last=json.loads(json.dumps(last)))
    assert shown.chosen() == {"stack": "SB_1_cuda", "cores": "4", "memory": "8 GiB", "gpu": "NVIDIA T4"}
    assert shown.sends()["gpu_count"] == ["3"]


@pytest.mark.parametrize(
    ("stale", "shown_instead"),
    [
        ({"stack": "SB_0"}, {"stack": "SB_1_cuda"}),
        ({"cores": 64}, {"cores": "2"}),
        ({"memory": "1 TiB"}, {"memory": "4 GiB"}),
        ({"gpu": "NVIDIA H100", "gpu_count": 1}, {"gpu": "none"}),
        ({"gpu_count": 9}, {}),
        ({"image": "evil:latest"}, {}),
        ({"cores": ["4", "1"], "memory": {"GiB": 4}, "gpu": None}, {"cores": "2", "memory": "4 GiB", "gpu": "none"}),
    ],
)
def test_what_is_no_longer_offered_of_the_last_choice_is_passed_over(
    stale: dict[str, Any], shown_instead: dict[str, str]
):
    last = {"stack": "SB_1", "cores": 4, "memory": "8 GiB", "gpu": "NVIDIA A100", "gpu_count": 2}
    kept = {"stack": "SB_1", "cores": "4", "memory": "8 GiB", "gpu": "NVIDIA A100"}
    shown = form(last={**last, **stale})
    assert shown.chosen() == {**kept, **shown_instead}
    assert shown.errors() == {}  # nobody asked for it just now


def test_a_link_comes_before_the_last_choice_field_by_field():
    last = {"stack": "SB_1", "cores": 4, "memory": "8 GiB", "gpu": "NVIDIA A100", "gpu_count": 2}
    shown = form(last=last, link={"cores": ["1"], "gpu": ["NVIDIA T4"], "gpu_count": ["3"]})
    assert shown.chosen() == {"stack": "SB_1", "cores": "1", "memory": "8 GiB", "gpu": "NVIDIA T4"}
    assert shown.sends()["gpu_count"] == ["3"]


def test_a_link_that_asks_for_what_is_not_offered_says_so_at_the_field():
    shown = form(
        last={"cores": 4}, link={"stack": ["SB_0"], "cores": ["64"], "gpu": ["NVIDIA H100"], "gpu_count": ["2"]}
    )
    assert shown.chosen() == {**DEFAULTS, "cores": "4"}
    assert set(shown.errors()) == {"stack", "cores", "gpu"}
    assert form(link={"gpu": ["NVIDIA A100"], "gpu_count": ["9"]}).errors().keys() == {"gpu_count"}
    assert form(link={"utm_source": ["mail"]}).errors() == {}


def test_a_link_to_a_gpu_works_where_there_is_none():
    shown = form(CPU_ONLY, link={"cores": ["4"], "gpu": ["NVIDIA A100"], "gpu_count": ["2"]})
    assert shown.chosen() == {"stack": "SB_1_cuda", "cores": "4", "memory": "4 GiB"}
    assert shown.errors().keys() == {"gpu"}


@given(
    source=st.dictionaries(
        st.sampled_from([*FIELDS, "image", "cmd"]),
        st.one_of(
            st.none(), st.integers(), st.text(max_size=30), st.lists(st.text(max_size=9), max_size=3), st.booleans()
        ),
    )
)
def test_whatever_a_link_or_the_memory_holds_the_form_can_be_sent(source: dict[str, Any]):
    for sources in ({"last": source}, {"link": source}):
        parse_options(form(**sources).sends(), OFFER)


# A form that was refused


ENTERED = {"stack": ["SB_1"], "cores": ["4"], "memory": ["8 GiB"], "gpu": ["NVIDIA T4"], "gpu_count": ["3"]}


@pytest.mark.parametrize(
    ("wrong", "field", "says"),
    [
        ({"stack": ["SB_0"]}, "stack", "Choose SB_1_cuda or SB_1."),
        ({"cores": ["64"]}, "cores", "Choose 1, 2 or 4."),
        ({"memory": ["4000"]}, "memory", "Choose 2 GiB, 4 GiB or 8 GiB."),
        ({"gpu": ["NVIDIA H100"]}, "gpu", "Choose none, any, NVIDIA A100 or NVIDIA T4."),
        ({"gpu_count": ["5"]}, "gpu_count", "Choose a whole number from 1 to 4: a session may hold 4 at most."),
    ],
)
def test_a_refused_form_is_shown_as_it_was_with_the_error_at_its_field(
    wrong: dict[str, list[str]], field: str, says: str
):
    entered = {**ENTERED, **wrong}
    shown = form(refused=refused(entered), last={"cores": 1, "memory": "2 GiB"})
    assert shown.errors() == {field: says}
    right = {name: values[0] for name, values in entered.items() if name not in {field, "gpu_count"}}
    assert right.items() <= shown.chosen().items()
    # A screen reader reads the message with the field.
    marked = shown.one("[aria-invalid=true]")
    assert f"{field}-error" in str(marked["aria-describedby"]).split()
    assert field in [marked.get("name"), *(choice["name"] for choice in marked.select("input[name]"))]
    assert shown.one(f"#{field}-error")["role"] == "alert"


@pytest.mark.parametrize("typed", ["", "0", "-1", "1.5", "two", "5", "1" * 50])
def test_the_number_that_was_typed_is_still_there(typed: str):
    shown = form(refused=refused({**ENTERED, "gpu_count": [typed]}))
    assert shown.one("#gpu_count")["value"] == (typed[:10] if typed != "0" else "1")
    assert "is-invalid" in shown.one("#gpu_count")["class"]


def test_a_card_that_went_away_while_the_form_was_open_is_told_where_it_was():
    gone = replace(OFFER, gpus=(A100,))
    shown = form(gone, refused=refused(ENTERED, gone))
    assert shown.chosen() == {"stack": "SB_1", "cores": "4", "memory": "8 GiB", "gpu": "none"}
    assert shown.errors() == {"gpu": "Choose none, any or NVIDIA A100."}


def test_a_refused_number_is_told_even_where_none_is_asked_for():
    one_each = replace(OFFER, max_gpus=1)
    shown = form(one_each, refused=refused({**ENTERED, "gpu_count": ["2"]}, one_each))
    assert shown.errors() == {"gpu_count": "Only 1 is possible: a session may hold 1 at most."}


# Nothing that others wrote is markup


def test_names_kinds_and_values_are_text():
    evil = replace(
        OFFER,
        stacks=(EVIL,),
        gpus=(GpuChoice(EVIL, GIB, 0, 1, 1, (EVIL,)),),
        any_gpu=GpuChoice("any", None, 0, 1, 1, (EVIL,)),
        reason=EVIL,
    )
    html = options_form(evil, EVIL[::-1], link={"gpu": [EVIL]})
    assert "<script" not in html
    assert EVIL in Form(html).row(EVIL)
    assert Form(html).chosen() == {**DEFAULTS, "stack": EVIL, "gpu": EVIL}


@pytest.mark.parametrize("field", FIELDS)
def test_what_was_entered_is_text(field: str):
    assert "<script" not in options_form(OFFER, "ada", refused=refused({**ENTERED, field: [EVIL]}))
    assert "<script" not in options_form(OFFER, "ada", link={**ENTERED, field: [EVIL]})
    assert "<script" not in options_form(OFFER, "ada", last={**ENTERED, field: EVIL})
    everything = {**DEFAULTS, "gpu_count": "1", field: EVIL}
    assert "<script" not in render(OFFER, everything, {field: EVIL}, user=EVIL)


def test_an_attribute_cannot_be_left():
    shown = Form(render(OFFER, {**DEFAULTS, "gpu_count": '1" onfocus="alert(1)'}))
    assert shown.one("#gpu_count")["value"] == '1" onfocus="alert(1)'
    assert not shown.soup.select("[onfocus]")


# What an open form is refreshed with


def test_the_open_form_is_told_the_same_as_a_new_one():
    facts = json.loads(json.dumps(gpu_facts(OFFER, "maria")))
    assert [row["gpu"] for row in facts["gpus"]] == form().offered("gpu")[1:]
    for row in facts["gpus"]:
        told = form(user="maria").row(row["gpu"])
        assert told == f"{row['title']} {row['about']}{' · ' if row['in_use'] else ''}{row['in_use']} {row['numbers']}"
    assert facts["gpus"][1]["in_use"] == "in use by you"
    assert facts["reason"] == ""


def test_an_open_form_learns_why_no_gpu_can_be_had():
    assert gpu_facts(CPU_ONLY) == {"gpus": [], "reason": "The NVIDIA driver is not installed.", "simulated": False}
