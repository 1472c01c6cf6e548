"""`31_dicom_in_and_out`: what it writes about a made-up patient can be read again, and names nobody."""

from __future__ import annotations

import pytest

from tests.notebooks.conftest import results

pytestmark = pytest.mark.notebooks

NAME = "31_dicom_in_and_out"


def test_objects_are_written_that_agree_and_name_nobody(synthetic) -> None:
    assert synthetic.complaints == []
    assert synthetic.figures == 2
    assert "SYNTHETIC: this says nothing about patients" in synthetic.shown
    assert "This is not a medical device" in synthetic.shown
    (stored,) = results(synthetic.home, NAME)
    assert all(stored["agrees"].values())
    assert len(stored["agrees"]) == 7
    assert sum(stored["ml"].values()) > 0, "a comparison of nothing with nothing"
    assert stored["came_back"] == []
    (folder,) = (synthetic.home / "sciencebox-runs" / NAME).glob("*/dicom/result")
    files = sorted(folder.iterdir())
    assert [path.name for path in files] == ["report.dcm", "segmentation.dcm"]
    assert "Beispiel^Erika" in synthetic.shown, "the made-up name, before it was taken out"
    for path in files:
        assert not any(word in path.read_bytes() for word in (b"Beispiel", b"H-0815", b"19640812"))
