"""What commands write over and what they leave alone, and what they say where networks cannot run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
from brainmri import commands
from brainmri.cli import main
from brainmri.data import DataError
from brainmri.runs import Run

if TYPE_CHECKING:
    from pathlib import Path


def test_a_folder_that_no_training_made_is_never_thrown_away(tmp_path: Path) -> None:
    other, ours, new = tmp_path / "editor", tmp_path / "run", {"task": "vae", "seed": 1}
    for folder, settings in ((other, {"theme": "dark"}), (ours, {"task": "vae", "seed": 0})):
        folder.mkdir()
        Run(folder).write_settings(settings)
        (folder / "precious.txt").write_text("mine")
        with pytest.raises(DataError, match="holds another training"):
            commands.claim(folder, new, force=False)
    with pytest.raises(DataError, match="holds no training but other files"):
        commands.claim(other, new, force=True)
    assert (other / "precious.txt").read_text() == "mine"
    commands.claim(ours, new, force=True)
    assert [path.name for path in ours.iterdir()] == ["settings.json"]


def test_what_people_drew_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"drawn")
    with pytest.raises(DataError, match="add --force"):
        commands.claim_output(tmp_path, force=False)
    with pytest.raises(DataError, match=r"holds 1\.png, which no `brainmri predict` wrote"):
        commands.claim_output(tmp_path, force=True, masks=["0.png", "1.png"])
    with pytest.raises(DataError, match="holds the images that are asked about"):
        commands.claim_output(tmp_path, force=True, masks=["0.png"], asked=[tmp_path / "0.jpg"])
    found = tmp_path / "found"
    commands.claim_output(found, force=False, masks=["1.png"])
    (found / "1.png").touch()  # and then it was interrupted
    commands.claim_output(found, force=True, masks=["1.png"])


@pytest.mark.parametrize(
    "command",
    ["train vae --data . --out run", "compare losses --data . --out run", "models", "predict . --input . --out x"],
)
def test_without_pytorch_it_is_said_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "torch", None)
    Run(tmp_path).write_settings({"task": "gan"})
    assert main(command.split()) == 2
    assert "torch is not in this environment: networks need it. Use the kernel PyTorch" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--loss=dice", "--no-pretraining"])
def test_what_a_task_would_not_heed_is_refused(capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert main(["train", "classification", "--data", ".", "--out", "run", option]) == 2
    assert "are for segmentation" in capsys.readouterr().err


def test_images_of_a_folder_that_is_not_there_are_not_called_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no folder .*nowhere\. Check the path"):
        commands.images(tmp_path / "nowhere")


def test_an_error_without_a_file_is_said_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class OutOfMemoryError(RuntimeError):
        """As PyTorch has it."""

    said = {
        OSError("the disk went away"): "brainmri: the disk went away\n",
        OutOfMemoryError("CUDA out of memory.\nTried"): "brainmri: the GPU's memory is full (CUDA out of memory.) Stop",
    }
    for error, words in said.items():
        monkeypatch.setattr("brainmri.synthetic.make", Mock(side_effect=error))
        assert main(["synthetic", str(tmp_path / "new")]) == 2
        assert capsys.readouterr().err.startswith(words)
    monkeypatch.setattr("brainmri.synthetic.make", Mock(side_effect=RuntimeError("a fault of ours")))
    with pytest.raises(RuntimeError, match="of ours"):
        main(["synthetic", str(tmp_path / "new")])
