"""What the stage people found, for a person to check."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.media.tracks import write_wav
from tests.helpers.found_people import person, spans, write_people
from tools import people


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with the people of one sound file; the note of ingest says where the file is."""
    (tmp_path / "recordings").mkdir()
    write_wav(
        tmp_path / "recordings" / "a-long-name-of-a-talk-in-the-kitchen-2026.wav", np.zeros(160_000, np.float32), 16_000
    )
    folder = tmp_path / "mine" / "data"
    (folder / "parts").mkdir(parents=True)
    note = {"source": str(tmp_path / "recordings"), "layout": ""}
    (folder / "parts" / "ingest-source.json").write_text(json.dumps(note))
    return folder


def test_speech_and_manifest_of_the_recordings_of_the_last_ingest(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    session = "a-long-name-of-a-talk-in-the-kitchen-2026"
    write_people(
        data, [person(session, "a", speech=spans((0, 2000))), person(session, "b", speech=spans((2500, 4000)))]
    )
    monkeypatch.setenv("COLUMNS", "60")
    people.main(["--data", str(data)])
    said = capsys.readouterr().out
    assert "corrections/RECORDING.jsonl" in said
    assert "2026" in said, "an id is whole, in however narrow a terminal"
    out = data / "reports" / "people"
    lines = (out / f"{session}.rttm").read_text().splitlines()
    assert [line.split()[3:8:4] for line in lines] == [["0.000", "a"], ["2.500", "b"]]
    with (out / "manifest.csv").open() as file:
        assert [(row["session_id"], row["participant"]) for row in csv.DictReader(file)] == [
            (session, "a"),
            (session, "b"),
        ]


def test_nothing_found_is_said_and_writes_nothing(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_people(data, [])
    with pytest.raises(SystemExit) as end:
        people.main(["--data", str(data)])
    assert end.value.code == 2
    assert "no two people were found in any recording" in capsys.readouterr().err
    assert not (data / "reports").exists()
