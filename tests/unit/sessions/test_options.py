"""What the form, its links and the API accept, and what they are told otherwise."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sciencebox import explain
from sciencebox import settings as settings_file
from sciencebox.gpus.broker import Availability
from sciencebox.gpus.pool import Holding
from sciencebox.sessions.options import (
    FIELDS,
    GpuChoice,
    Machine,
    Offer,
    OptionsError,
    SessionOptions,
    least_memory,
    make_offer,
    parse_options,
    to_user_options,
)

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
    gpu_memory_bytes=(80 * GIB,),
    max_gpus=4,
)
CPU_ONLY = replace(OFFER, gpus=(), any_gpu=None, reason="The NVIDIA driver is not installed.")


# Accepting


def test_an_empty_request_takes_every_default():
    assert parse_options({}, OFFER) == SessionOptions("SB_1_cuda", 2, 4 * GIB, "none", 0)


def test_a_form_sends_lists_of_strings():
    form = {"stack": ["SB_1"], "cores": ["4"], "memory": ["8 GiB"], "gpu": ["NVIDIA T4"], "gpu_count": ["3"]}
    assert parse_options(form, OFFER) == SessionOptions("SB_1", 4, 8 * GIB, "NVIDIA T4", 3)


def test_the_api_sends_strings_and_numbers():
    body = {"stack": "SB_1", "cores": 4, "memory": 8 * GIB, "gpu": "any", "gpu_count": 2}
    assert parse_options(body, OFFER) == SessionOptions("SB_1", 4, 8 * GIB, "any", 2)


def test_any_gpu_may_have_to_have_some_memory():
    options = parse_options({"gpu": ["any"], "gpu_memory": ["80 GiB"]}, OFFER)
    assert options.gpu_memory_bytes == 80 * GIB
    assert least_memory(to_user_options(options)) == 80 * GIB
    assert parse_options({"gpu": "any", "gpu_memory": "any"}, OFFER).gpu_memory_bytes is None
    assert parse_options({"gpu": "NVIDIA T4", "gpu_memory": "80 GiB"}, OFFER).gpu_memory_bytes is None


@pytest.mark.parametrize("value", ["81 GiB", "0", "", "80", "lots"])
def test_a_memory_that_no_gpu_has_is_refused(value: str):
    with pytest.raises(OptionsError, match="any or 80 GiB"):
        parse_options({"gpu": "any", "gpu_memory": value}, OFFER)
    with pytest.raises(OptionsError, match="same memory"):
        parse_options({"gpu": "any", "gpu_memory": value}, replace(OFFER, gpu_memory_bytes=()))


def test_sizes_are_offered_where_gpus_differ():
    found = [Availability(f"card {size}", size * 2**20, 1, 1) for size in (81_559, 15_360, 24_576)]
    settings = settings_file.parse("", "test")
    assert make_offer(settings, found, {"SB_1": ()}).gpu_memory_bytes == (24 * GIB, 79 * GIB)
    assert make_offer(settings, found[:1], {"SB_1": ()}).gpu_memory_bytes == ()


def test_a_gpu_without_a_number_is_one_gpu():
    assert parse_options({"gpu": "any"}, OFFER).gpu_count == 1


def test_the_number_in_the_form_does_not_matter_without_a_gpu():
    assert parse_options({"gpu": ["none"], "gpu_count": ["1"]}, OFFER).gpu_count == 0


def test_a_server_without_gpus_and_without_a_stack_still_starts_sessions():
    bare = replace(CPU_ONLY, stacks=())
    assert parse_options({"gpu": "none"}, bare) == SessionOptions("", 2, 4 * GIB, "none", 0)


@st.composite
def offers(draw: st.DrawFn) -> Offer:
    cores = sorted(draw(st.sets(st.integers(1, 1024), min_size=1, max_size=5)))
    memory = sorted(n * GIB // 4 for n in draw(st.sets(st.integers(1, 4000), min_size=1, max_size=5)))
    kinds = draw(st.sets(st.text(min_size=1, max_size=30).filter(lambda kind: kind not in {"any", "none"}), max_size=3))
    gpus = tuple(GpuChoice(kind, None, 0, draw(st.integers(1, 8))) for kind in sorted(kinds))
    return Offer(
        stacks=tuple(draw(st.sets(st.from_regex(r"[A-Za-z0-9_]{1,20}", fullmatch=True), max_size=3))),
        cores=tuple(cores),
        memory_bytes=tuple(memory),
        default_cores=draw(st.sampled_from(cores)),
        default_memory_bytes=draw(st.sampled_from(memory)),
        gpus=gpus,
        any_gpu=GpuChoice("any", None, 0, sum(gpu.total for gpu in gpus)) if gpus else None,
        gpu_memory_bytes=tuple(draw(st.lists(st.integers(1, 200).map(lambda n: n * GIB), unique=True, max_size=3))),
        max_gpus=draw(st.integers(1, 8)),
    )


@st.composite
def requests(draw: st.DrawFn) -> tuple[Offer, SessionOptions]:
    offer = draw(offers())
    gpu = draw(st.sampled_from(["none", *(choice.kind for choice in offer.gpu_choices)]))
    options = SessionOptions(
        stack=draw(st.sampled_from(offer.stacks or ("",))),
        cores=draw(st.sampled_from(offer.cores)),
        memory_bytes=draw(st.sampled_from(offer.memory_bytes)),
        gpu=gpu,
        gpu_count=0 if gpu == "none" else draw(st.integers(1, offer.most_gpus(gpu))),
        gpu_memory_bytes=draw(st.sampled_from([None, *offer.gpu_memory_bytes])) if gpu == "any" else None,
    )
    return offer, options


@given(requests())
def test_what_jupyterhub_stores_is_read_back_as_the_same_request(case: tuple[Offer, SessionOptions]):
    offer, options = case
    stored = json.loads(json.dumps(to_user_options(options)))
    as_form = {name: [str(value)] for name, value in stored.items()}
    assert parse_options(stored, offer) == options
    assert parse_options(as_form, offer) == options


# Refusing

BAD = [
    # field, value, what the message must say
    ("stack", "SB_0", "SB_1_cuda or SB_1"),
    ("stack", "", "SB_1_cuda or SB_1"),
    ("stack", "<script>alert(1)</script>", "SB_1_cuda or SB_1"),
    ("stack", "../../etc", "SB_1_cuda or SB_1"),
    pytest.param("stack", "9" * 5000, "too long", id="stack-of 5000 characters"),
    ("cores", 99, "1, 2 or 4"),
    ("cores", 0, "1, 2 or 4"),
    ("cores", -2, "1, 2 or 4"),
    ("cores", "two", "1, 2 or 4"),
    ("cores", "٢", "1, 2 or 4"),
    ("cores", "", "1, 2 or 4"),
    ("cores", 2.0, "one whole number"),
    ("cores", True, "one whole number"),
    ("cores", None, "one whole number"),
    ("cores", ["2", "4"], "one whole number"),
    ("cores", [], "one whole number"),
    ("cores", [["2"]], "one whole number"),
    ("cores", {"$gt": 0}, "one whole number"),
    pytest.param("cores", 10**5000, "too large", id="cores-of 5000 digits"),
    ("memory", "3 GiB", "2 GiB, 4 GiB or 8 GiB"),
    ("memory", 4, "2 GiB, 4 GiB or 8 GiB"),
    ("memory", "4 GB", "2 GiB, 4 GiB or 8 GiB"),
    ("memory", "inf", "2 GiB, 4 GiB or 8 GiB"),
    ("memory", 4.0 * GIB, "one whole number"),
    ("gpu", "GPU-6ff0a3f2-0d4b-4f7e-a5d5-3c0f5a2f9c11", "none, any, NVIDIA A100 or NVIDIA T4"),
    ("gpu", "all", "none, any, NVIDIA A100 or NVIDIA T4"),
    ("gpu", "NVIDIA H100", "none, any, NVIDIA A100 or NVIDIA T4"),
    ("gpu", "nvidia a100", "none, any, NVIDIA A100 or NVIDIA T4"),
    ("gpu", "0", "none, any, NVIDIA A100 or NVIDIA T4"),
    ("gpu", True, "one whole number"),
    ("gpu", ["any", "NVIDIA T4"], "one whole number"),
    ("gpu", b"any", "one whole number"),
]


@pytest.mark.parametrize(("field", "value", "says"), BAD)
def test_a_bad_value_is_refused_with_its_field_and_what_is_allowed(field: str, value: object, says: str):
    with pytest.raises(OptionsError) as caught:
        parse_options({field: value}, OFFER)
    assert caught.value.field == field
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("gpu", "count", "says"),
    [
        ("any", 99, "from 1 to 4: a session may hold 4 at most"),
        ("any", 0, "from 1 to 4"),
        ("any", -1, "from 1 to 4"),
        ("any", "", "from 1 to 4"),
        ("any", "1.5", "from 1 to 4"),
        ("any", "1e0", "from 1 to 4"),
        ("any", "1" * 100, "from 1 to 4"),
        ("NVIDIA A100", 3, "from 1 to 2: this server has 2 x NVIDIA A100"),
        ("NVIDIA T4", 5, "from 1 to 4: a session may hold 4 at most"),
        ("none", 99, "Without a GPU this is 0"),
        ("none", "x", "Without a GPU this is 0"),
    ],
)
def test_a_bad_number_of_gpus_is_refused_with_the_limit_that_binds(gpu: str, count: object, says: str):
    with pytest.raises(OptionsError) as caught:
        parse_options({"gpu": gpu, "gpu_count": count}, OFFER)
    assert caught.value.field == "gpu_count"
    assert says in caught.value.message


def test_a_number_without_a_gpu_named_is_a_question_not_a_guess():
    with pytest.raises(OptionsError) as caught:
        parse_options({"gpu_count": 2}, OFFER)
    assert caught.value.field == "gpu"


def test_asking_for_a_gpu_where_none_is_says_why():
    with pytest.raises(OptionsError) as caught:
        parse_options({"gpu": "any"}, CPU_ONLY)
    assert caught.value.field == "gpu"
    assert caught.value.message == "The NVIDIA driver is not installed. Choose none."


@pytest.mark.parametrize(
    ("name", "field"), [("image", "image"), ("gpus", "gpus"), ("<b>x</b>", "options"), ("é" * 300, "options")]
)
def test_an_unknown_field_is_refused_and_hostile_names_are_not_repeated(name: str, field: str):
    with pytest.raises(OptionsError) as caught:
        parse_options({name: "1"}, OFFER)
    assert caught.value.field == field
    assert "stack, cores, memory, gpu, gpu_count, gpu_memory" in caught.value.message
    assert "<" not in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=10), json_values, max_size=5))
def test_whatever_is_sent_is_either_on_offer_or_refused(raw: dict[str, object]):
    try:
        options = parse_options(raw, OFFER)
    except OptionsError as error:
        assert error.field in {*FIELDS, "options"} | set(raw)
        assert len(error.message) < 300
    else:
        assert options.stack in OFFER.stacks
        assert options.cores in OFFER.cores
        assert options.memory_bytes in OFFER.memory_bytes
        assert options.gpu_count <= OFFER.most_gpus(options.gpu)


# Offering


def _settings(text: str = "") -> settings_file.Settings:
    return settings_file.parse(text, "test.yaml")


AVAILABLE = [
    Availability("NVIDIA A100", 80 * GIB, 1, 2, (Holding("GPU-1", "bob", "c1"),)),
    Availability("NVIDIA T4", 16 * GIB, 0, 2, (Holding("GPU-2", "alice", "c2"), Holding("GPU-3", "bob", "c1"))),
    Availability("NVIDIA A100 MIG 1g.10gb", 10 * GIB, 1, 1),
]


def test_an_offer_counts_every_device_and_names_who_holds_it():
    offer = make_offer(_settings(), AVAILABLE, {"SB_1": ()})
    assert [choice.kind for choice in offer.gpus] == [found.kind for found in AVAILABLE]
    assert offer.any_gpu == GpuChoice("any", None, free=2, total=5, held=3, holders=("alice", "bob"))
    assert offer.gpus[0].holders == ("bob",)


def test_names_are_hidden_by_a_setting_and_numbers_are_not():
    offer = make_offer(_settings("gpus: {show_holders: false}"), AVAILABLE, {"SB_1": ()})
    assert all(choice.holders == () for choice in offer.gpu_choices)
    assert offer.any_gpu is not None and offer.any_gpu.held == 3


def test_settings_restrict_what_may_be_chosen_by_name():
    offer = make_offer(_settings("gpus: {models: [NVIDIA A100]}"), AVAILABLE, {"SB_1": ()})
    assert [choice.kind for choice in offer.gpus] == ["NVIDIA A100", "NVIDIA A100 MIG 1g.10gb"]
    assert offer.any_gpu is not None and offer.any_gpu.total == 5


def test_a_server_without_gpus_says_so_even_when_the_driver_gave_no_reason():
    assert make_offer(_settings(), [], {"SB_1": ()}).reason == "No GPU was found on this server."
    assert make_offer(_settings(), [], {"SB_1": ()}, reason="Driver missing.").reason == "Driver missing."


@pytest.mark.parametrize(
    ("variant", "gpus", "default"),
    [
        ("auto", True, "SB_1_cuda"),
        ("auto", False, "SB_1"),
        ("cpu", True, "SB_1"),
        ("cuda", False, "SB_1_cuda"),
    ],
)
def test_the_release_of_the_settings_comes_first(variant: str, gpus: bool, default: str):
    settings = _settings(f"stack: {{release: SB_1, variant: {variant}}}")
    offer = make_offer(settings, AVAILABLE if gpus else [], dict.fromkeys(("SB_0", "SB_1", "SB_1_cuda"), ()))
    assert offer.stacks[0] == default
    assert sorted(offer.stacks) == ["SB_0", "SB_1", "SB_1_cuda"]


def test_a_release_that_is_not_published_is_not_offered():
    assert make_offer(_settings("stack: {release: SB_2}"), [], {"SB_1": ()}).stacks == ("SB_1",)


def test_sizes_are_shown_as_in_the_settings():
    offer = make_offer(_settings("sessions: {memory: {choices: [8 GiB, 512 MiB, 8 GiB], default: 8 GiB}}"), [], {})
    assert [explain.size(size) for size in offer.memory_bytes] == ["512 MiB", "8 GiB"]
    assert parse_options({"memory": "512 MiB"}, offer).memory_bytes == GIB // 2


def test_no_more_is_offered_than_the_server_has():
    offer = make_offer(_settings(), [], {}, machine=Machine(cores=1, memory_bytes=6 * GIB))
    assert (offer.cores, offer.default_cores) == ((1,), 1)
    assert (offer.memory_bytes, offer.default_memory_bytes) == ((2 * GIB, 4 * GIB), 4 * GIB)


def test_a_very_small_server_offers_the_smallest_choice():
    offer = make_offer(_settings(), [], {}, machine=Machine(cores=1, memory_bytes=GIB))
    assert (offer.memory_bytes, offer.default_memory_bytes) == ((2 * GIB,), 2 * GIB)
