"""The stage on a folder: two people are found, others have a reason, corrections win, and nothing is done again."""

import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.engine.jobs import RunParams
from pipelines.engine.tables import read_rows
from pipelines.ingest import stage as ingest
from pipelines.ingest.params import IngestParams
from pipelines.people import stage
from pipelines.people.params import PeopleParams
from pipelines.sample.scenes import make_scene
from pipelines.sources.params import SourceParams
from tests.helpers.found_people import scene, write_scene
from tests.helpers.scenes import planned
from tests.helpers.small_corpus import keep_in_process
from wanstreamer.clock import Span, intersect_spans, merge_spans

HOW = RunParams(workers=1, ray=False)
TALK = "sound-0000"


class Recordings:
    """Some recordings, the data folder of the stage, and which sessions its worker has looked at."""

    def __init__(self, home: Path) -> None:
        self.source, self.data = home / "recordings", home / "data"
        self.source.mkdir()
        self.truth = make_scene(planned("sound"), self.source)
        write_wav(self.source / "silence.wav", np.zeros(16_000 * 3))
        write_scene(self.source / "mute.mp4", scene(10, lambda _: (50, 50), lambda _: 0), "25", "-c:v", "libx264")
        for name in ("anna", "ben"):
            (self.source / "named").mkdir(exist_ok=True)
            write_wav(self.source / "named" / f"{name}.wav", np.full(16_000, 0.1))

    def find(self, params: PeopleParams | None = None) -> dict[str, Any]:
        return stage.run(self.data, params or PeopleParams(), HOW, ingest=SourceParams(source=str(self.source)))

    def rows(self, column: str) -> dict[str, list[Span]]:
        return {
            row["participant"]: [Span(**span) for span in row[column]]
            for row in read_rows(self.data, "people")
            if row["session_id"] == TALK
        }

    def correct(self, *lines: dict[str, Any]) -> None:
        path = self.data / "corrections" / f"{TALK}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{json.dumps({'stage': 'people', **line})}\n" for line in lines))


def write_wav(path: Path, samples_T: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((samples_T * 32767).astype("<i2").tobytes())


def length_ms(spans: list[Span]) -> int:
    return sum(span.duration_ms for span in spans)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Recordings:
    made = Recordings(tmp_path_factory.mktemp("people"))
    counts = made.find()
    assert (counts["keys"], counts["done"]) == (3, 1), "a session whose participants are named is passed by"
    assert counts["rejected"] == {"no_audio": 1, "no_speech": 1} and counts["rows"] == {"people": 2}
    return made


def test_each_voice_is_one_person_of_the_truth(recordings: Recordings) -> None:
    found = recordings.rows("speech")
    truth = {
        who: merge_spans(
            Span(span["start_ms"], span["end_ms"]) for span in recordings.truth["speech"] if span["participant"] == who
        )
        for who in "ab"
    }
    own = {who: max("ab", key=lambda name: length_ms(intersect_spans(found[who], truth[name]))) for who in "ab"}
    assert sorted(own.values()) == ["a", "b"]
    for who, name in own.items():
        other = truth["b" if name == "a" else "a"]
        wrong = length_ms(intersect_spans(found[who], other)) - length_ms(
            intersect_spans(intersect_spans(found[who], other), truth[name])
        )
        assert length_ms(intersect_spans(found[who], truth[name])) > 0.85 * length_ms(truth[name])
        assert wrong < 0.05 * length_ms(other)
    assert found["a"][0] < found["b"][0], "by first words"


def test_a_voice_without_a_picture_is_off_screen(recordings: Recordings) -> None:
    for row in read_rows(recordings.data, "people"):
        assert row["crops"] == row["visible"] == [] and row["face_confidence"] is None and row["asd"] is None


def test_the_reasons_are_in_the_table(recordings: Recordings) -> None:
    reasons = {row["key"]: row["reason"] for row in read_rows(recordings.data, "rejections/people")}
    assert reasons == {"mute": "no_audio", "silence": "no_speech"}


def test_what_is_done_is_not_done_again_and_a_correction_wins(
    recordings: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    keep_in_process(monkeypatch, looked)
    recordings.find()
    assert looked == []
    before = recordings.rows("speech")
    own = before["a"][0]
    stretch = {"start_ms": own.start_ms, "end_ms": own.end_ms}
    recordings.correct(
        {"kind": "not_speech", "participant": "a", **stretch}, {"kind": "speech", "participant": "b", **stretch}
    )
    recordings.find()
    after = recordings.rows("speech")
    assert looked == [TALK] and after["a"] == before["a"][1:]
    assert after["b"] == merge_spans([*before["b"], own])
    recordings.correct({"kind": "not_a_dyad", "value": "a radio"})
    counts = recordings.find()
    assert counts["done"] == 0 and counts["rejected"]["not_a_dyad"] == 1
    recordings.correct()
    recordings.find()
    assert recordings.rows("speech") == before


def test_ingest_takes_them_from_there(recordings: Recordings) -> None:
    recordings.correct()
    recordings.find()
    counts = ingest.run(recordings.data, IngestParams(source=str(recordings.source)), HOW)
    assert counts["rejected"] == {"no_audio": 1, "no_speech": 1}
    tracks = {row["participant"]: row for row in read_rows(recordings.data, "tracks") if row["session_id"] == TALK}
    assert sorted(tracks) == ["a", "b"] and all(row["attributed"] for row in tracks.values())
    for who, row in tracks.items():
        with wave.open(str(recordings.data / row["audio_path"])) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(float)
        speech = np.zeros(len(samples), bool)
        for span in recordings.rows("speech")[who]:
            speech[span.start_ms * 16 : span.end_ms * 16] = True
        guarded = np.convolve(speech, np.ones(3201), "same") > 0.5
        assert np.abs(samples[~guarded]).max() == 0 and np.abs(samples[speech]).max() > 100
