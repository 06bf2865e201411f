"""The stage people on real recordings without their sidecars. `make test-real MEDIA=DIR MODELS=DIR` prints the figures.

The bounds are what was measured, and some room.
"""

import shutil
from pathlib import Path

import pytest

from pipelines.engine.jobs import RunParams
from pipelines.engine.tables import read_rows
from pipelines.formats.rttm import read_rttm
from pipelines.people import stage
from pipelines.people.params import PeopleParams
from pipelines.sources.params import SourceParams
from tests.helpers.diarization_error import diarization_error
from tests.helpers.real import real_media, real_model
from wanstreamer.clock import Span

pytestmark = pytest.mark.real
HOW = RunParams(workers=1, ray=False)


def found(home: Path, path: Path, params: PeopleParams) -> dict[str, dict[str, object]]:
    source = home / "recordings"
    source.mkdir()
    shutil.copy(path, source)
    stage.run(home / "data", params, HOW, ingest=SourceParams(source=str(source)))
    return {row["participant"]: row for row in read_rows(home / "data", "people")}


@pytest.mark.parametrize(
    ("sound", "turns", "most_confusion_s"),
    [
        ("call/sample.wav", "call/sample.rttm", 2.0),
        ("meetings/dev00.wav", "meetings/debug.development.rttm", 2.0),
        ("meetings/dev01.wav", "meetings/debug.development.rttm", 2.5),
    ],
)
def test_two_voices_of_a_real_recording(tmp_path: Path, sound: str, turns: str, most_confusion_s: float) -> None:
    recording = real_media(sound)
    truth = read_rttm(real_media(turns), (recording.name, recording.stem))
    rows = found(tmp_path, recording, PeopleParams())
    assert sorted(rows) == ["a", "b"]
    spans = [[Span(**span) for span in row["speech"]] for row in rows.values()]  # type: ignore[attr-defined]
    error = diarization_error(truth, spans)
    print(
        f"\n{sound}: confusion {error.confusion:.2f} s, missed {error.missed:.2f} s, false {error.false:.2f} s of "
        f"{error.speech:.1f} s of speech"
    )
    assert error.confusion < most_confusion_s


def test_two_faces_of_a_real_recording(tmp_path: Path) -> None:
    folder = real_model("lr-asd")
    rows = found(tmp_path, real_media("twoshot/twoshot.mp4"), PeopleParams(asd_model=str(folder)))
    assert sorted(rows) == ["a", "b"]
    spoken_ms = {who: sum(s["end_ms"] - s["start_ms"] for s in row["speech"]) for who, row in rows.items()}  # type: ignore[attr-defined]
    seen_ms = {who: sum(s["end_ms"] - s["start_ms"] for s in row["visible"]) for who, row in rows.items()}  # type: ignore[attr-defined]
    main = max(spoken_ms, key=lambda who: spoken_ms[who])
    left = min(rows, key=lambda who: rows[who]["crops"][0]["x"])  # type: ignore[index]
    print(f"\ntwoshot: speech ms {spoken_ms}, seen ms {seen_ms}, confidence {rows[main]['face_confidence']}")
    assert main == left, "the woman on the left speaks most"
    assert min(seen_ms.values()) > 45_000 and all(row["asd"] == "lr-asd" for row in rows.values())
