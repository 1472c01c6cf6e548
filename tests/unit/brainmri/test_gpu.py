"""What a session is told about its GPU, and the sentence that follows."""

from __future__ import annotations

import json
import re

import pytest
from brainmri import gpu

CARD = {"uuid": "GPU-1", "model": "NVIDIA A100", "memory_bytes": 40 * 1024**3, "mig_profile": None, "simulated": False}
SESSION = {
    "release": "SB_1_cuda",
    "view": "/cvmfs/sciencebox.local/lcg/views/SB_1_cuda/x86_64-debian12-gcc12-opt",
    "cores": 2,
    "memory_bytes": 8 * 1024**3,
    "gpus": [CARD],
    "simulated": False,
    "attach": "cdi",
}
GOOD = gpu.Driver("/usr/lib/x86_64-linux-gnu/libcuda.so.580.65.06", (13, 0), 1)


def session(hidden: bool = False, **changed: object) -> gpu.Session:
    environ = {"SCIENCEBOX_SESSION": json.dumps({**SESSION, **changed})}
    if hidden:
        environ["CUDA_VISIBLE_DEVICES"] = ""
    return gpu.session(environ)


def test_reads_what_the_spawner_wrote() -> None:
    found = session()
    assert (found.cores, found.memory_bytes, found.release) == (2, 8 * 1024**3, "SB_1_cuda")
    assert [str(card) for card in found.gpus] == ["NVIDIA A100, 40 GiB"]
    assert str(gpu.Gpu("MIG-1", "NVIDIA A100", 5 * 1024**3, "1g.5gb", True)) == (
        "NVIDIA A100, MIG 1g.5gb, 5 GiB (SIMULATED)"
    )


def test_outside_sciencebox_only_the_cores_are_known() -> None:
    found = gpu.session({})
    assert not found.known
    assert found.cores >= 1
    assert found.gpus == ()


@pytest.mark.parametrize("text", ["{", "[]", '{"gpus": 3}', json.dumps({**SESSION, "cores": "many"})])
def test_a_changed_description_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"SCIENCEBOX_SESSION cannot be read.*restart the session"):
        gpu.session({"SCIENCEBOX_SESSION": text})


@pytest.mark.parametrize(
    ("found", "driver", "cuda", "words"),
    [
        (
            session(gpus=[]),
            gpu.Driver(error="there is no libcuda in this session"),
            (13, 0),
            "start it again with a GPU",
        ),
        (gpu.session({}), gpu.Driver(error="there is no libcuda in this session"), (13, 0), "use a machine with one"),
        (session(), gpu.Driver(error="there is no libcuda in this session"), (13, 0), "there is no libcuda"),
        (
            session(),
            gpu.Driver("/usr/lib/libcuda.so.550", (12, 4), 1),
            (13, 2),
            "serves CUDA 12.4.*driver 580 or newer",
        ),
        (session(), gpu.Driver("/usr/lib/libcuda.so.580", (13, 0), None, "it sees no GPU"), (13, 2), "it sees no GPU"),
        (session(), gpu.Driver("/cvmfs/x/lib/libcuda.so.1", (13, 0), 1), (13, 0), "loaded from the software stack"),
        (session(), GOOD, None, "built for the CPU. Choose a release with CUDA"),
        (session(hidden=True), GOOD, (13, 2), "built for the CPU. Choose a release with CUDA"),
    ],
)
def test_why_a_gpu_cannot_be_used(
    found: gpu.Session, driver: gpu.Driver, cuda: tuple[int, int] | None, words: str
) -> None:
    verdict = gpu.verdict(found, driver, cuda)
    assert not verdict.usable
    assert not verdict.simulated
    assert re.search(words, verdict.sentence)


@pytest.mark.parametrize("driver_cuda", [(13, 0), (13, 5), (14, 0)])
def test_a_driver_of_the_same_major_version_or_later_fits(driver_cuda: tuple[int, int]) -> None:
    verdict = gpu.verdict(session(), gpu.Driver(GOOD.library, driver_cuda, 1), (13, 2))
    assert verdict.usable
    assert f"CUDA {driver_cuda[0]}.{driver_cuda[1]}" in verdict.sentence


@pytest.mark.parametrize("changed", [{"simulated": True}, {"gpus": [{**CARD, "simulated": True}]}])
def test_a_simulated_gpu_is_never_used_and_says_so(changed: dict[str, object]) -> None:
    verdict = gpu.verdict(session(**changed), GOOD, (13, 0))
    assert verdict.simulated
    assert not verdict.usable
    assert "SIMULATED" in verdict.sentence


def test_the_loaded_library_is_found_in_the_maps() -> None:
    maps = """\
7f0000000000-7f0000001000 r-xp 00000000 08:01 11 /usr/lib/x86_64-linux-gnu/libc.so.6
7f0000002000-7f0000003000 r-xp 00000000 08:01 12 /host driver/libcuda.so.580.65.06
7f0000004000-7f0000005000 rw-p 00000000 00:00 0
"""
    assert gpu.loaded_library("libcuda.so.1", maps) == "/host driver/libcuda.so.580.65.06"
    assert gpu.loaded_library("libnvidia-ml.so.1", maps) is None


def test_a_driver_library_that_is_absent_or_none_is_reported_not_raised() -> None:
    assert gpu.driver("libcuda-that-is-not-there.so.1") == gpu.Driver(error="there is no libcuda in this session")
    wrong = gpu.driver("libm.so.6")
    assert wrong.library is not None
    assert wrong.library.startswith("/")
    assert "does not tell its version" in str(wrong.error)


@pytest.mark.parametrize(("text", "version"), [("13.2", (13, 2)), ("12.9.1", (12, 9)), ("13", (13, 0)), (None, None)])
def test_cuda_versions(text: str | None, version: tuple[int, int] | None) -> None:
    assert gpu.cuda_version(text) == version


def test_processor_is_named_with_the_cores_of_the_session() -> None:
    assert gpu.processor("processor: 0\nmodel name\t: AMD EPYC\nmodel name\t: AMD EPYC\n", 2) == "2 cores of AMD EPYC"
    assert gpu.processor("", 1) == "1 core of an unnamed processor"
