"""Tracks to annotations: spoken test sessions with known times, bleed, shared sound, and careless word sidecars."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.annotate.stage import TABLES, AnnotateParams, Annotator, run
from pipelines.engine.files import file_sha256, hash_of
from pipelines.engine.jobs import Damaged, Job, Rejected, Result
from pipelines.engine.run import RunParams
from pipelines.engine.tables import TableRow, read_rows, to_table, write_table
from pipelines.media.tracks import write_wav
from pipelines.signals.voice_activity import (
    RATE_HZ,
)
from pipelines.sources.corrections import append_correction
from tests.helpers.blank_rows import blank_row
from tests.helpers.paths import track_path
from tests.helpers.small_corpus import keep_in_process
from tests.helpers.small_tracks import hash_again
from tests.helpers.spoken_session import NUM_UNITS, Placed, words_of
from wanstreamer.clock import UNIT_MS, Span

PARAMS = AnnotateParams()


@pytest.fixture(scope="session")
def annotator() -> Annotator:
    return Annotator(PARAMS)


def track_row(who: str, **more: Any) -> TableRow:
    return {
        "participant": who, "num_units": NUM_UNITS, "audio_path": track_path("s1", who, "wav"), "words_sha256": None,
        "language": "en", "attributed": True, "mixed": [],
    } | more  # fmt: skip


Annotate = Callable[..., Result]


@pytest.fixture
def annotate(tmp_path: Path, annotator: Annotator) -> Annotate:
    def call(audio: dict[str, np.ndarray], words: dict[str, Any] | None = None, **changes: TableRow) -> Result:
        tracks, listed = [], []
        for who, audio_T in audio.items():
            audio_sha256 = write_audio(tmp_path, "s1", who, audio_T)
            tracks.append(track_row(who, audio_sha256=audio_sha256, **changes.get(who, {})))
            if words and who in words:
                own = sidecar_rows("s1", who, words[who])
                tracks[-1]["words_sha256"] = tracks[-1]["words_sha256"] or hash_of(own)
                listed += own
        write_table(tmp_path, "sidecar_words", to_table("sidecar_words", listed))
        result = annotator(Job(key="s1", spec={"tracks": tracks}, inputs=()), tmp_path, tmp_path)
        for table in (declared.name for declared in TABLES):
            to_table(table, result.tables[table])
        return result

    return call


def write_audio(data: Path, session: str, who: str, audio_T: np.ndarray) -> str:
    """Write a track; returns its hash."""
    path = data / track_path(session, who, "wav")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_wav(path, audio_T, RATE_HZ)
    return file_sha256(path)


def sidecar_rows(session: str, who: str, words: list[TableRow]) -> list[TableRow]:
    """Words as ingest has them."""
    return [{"session_id": session, "participant": who, "index": index, **word} for index, word in enumerate(words)]


def spans(rows: list[TableRow], who: str) -> list[Span]:
    return [Span(row["start_ms"], row["end_ms"]) for row in rows if row["participant"] == who]


def test_a_spoken_session(annotate: Annotate, spoken: tuple[dict[str, np.ndarray], Placed]) -> None:
    audio, placed = spoken
    result = annotate(audio, {who: words_of(placed, who) for who in placed})
    assert result.rejections == []
    for who, own in placed.items():
        ipus = spans(result.tables["ipus"], who)
        assert len(ipus) == len(own)
        for ipu, (span, text) in zip(ipus, own, strict=True):
            assert abs(ipu.start_ms - span.start_ms) <= 50, (ipu, span)
            assert abs(ipu.end_ms - span.end_ms) <= 100, (ipu, span)
            assert text in [row["text"] for row in result.tables["ipus"]]
    events = [(e["participant"], e["label"]) for e in result.tables["events"] if e["kind"] != "state"]
    assert events == [("a", "initiation"), ("b", "lexical"), ("b", "smooth_shift"), ("a", "smooth_shift")]


def test_the_detector_keeps_no_state_between_tracks(
    annotate: Annotate, spoken: tuple[dict[str, np.ndarray], Placed]
) -> None:
    audio, _ = spoken
    first = annotate(audio).tables
    annotate({"a": audio["b"], "b": audio["a"]})
    assert annotate(audio).tables == first


def test_unit_labels_agree_with_the_intervals(annotate: Annotate, spoken: tuple[dict[str, np.ndarray], Placed]) -> None:
    audio, placed = spoken
    mixed = [{"start_ms": 6000, "end_ms": 6401}]
    tables = annotate(audio, {who: words_of(placed, who) for who in placed}, b={"mixed": mixed}).tables
    units = {who: [row for row in tables["units"] if row["participant"] == who] for who in "ab"}
    for who, rows in units.items():
        speech = spans(tables["speech"], who)
        assert [row["unit"] for row in rows] == list(range(NUM_UNITS))
        assert sum(row["speech_ms"] for row in rows) == sum(span.duration_ms for span in speech)
        turns = [row for row in tables["turns"] if row["participant"] == who and row["is_primary"]]
        begins = [turn["start_ms"] // UNIT_MS for turn in turns]
        ends = [(turn["end_ms"] - 1) // UNIT_MS for turn in turns]
        assert turns
        for name, units_of_edges in (("turn_begins_in", begins), ("turn_ends_in", ends)):
            for row in rows:
                assert row[name] == min(
                    (edge - row["unit"] for edge in units_of_edges if edge >= row["unit"]), default=None
                )
        for row in rows:
            end_ms = (row["unit"] + 1) * UNIT_MS
            before = [span for span in speech if span.start_ms < end_ms]
            expected = max(0, end_ms - before[-1].end_ms) if before else None
            assert row["silence_ms"] == expected
    assert not any(
        row_a["holds_floor"] and row_b["holds_floor"] for row_a, row_b in zip(units["a"], units["b"], strict=True)
    )
    assert [row["unit"] for row in units["b"] if row["audio_mixed"]] == [37, 38, 39, 40]
    assert not any(row["audio_mixed"] for row in units["a"])
    (backchannel,) = [e for e in tables["events"] if e["kind"] == "backchannel"]
    touched = range(backchannel["start_ms"] // UNIT_MS, (backchannel["end_ms"] - 1) // UNIT_MS + 1)
    assert [row["unit"] for row in units["b"] if row["backchannel"]] == list(touched)


def test_interruption_roles_cover_the_time_both_speak(
    annotate: Annotate, spoken: tuple[dict[str, np.ndarray], Placed]
) -> None:
    audio, placed = spoken
    onset_ms = placed["a"][0][0].start_ms + 1800
    asked, text = placed["b"][1]
    early = np.roll(audio["b"], (onset_ms - asked.start_ms) * RATE_HZ // 1000)
    early[: (onset_ms - 400) * RATE_HZ // 1000] = 0
    moved = {**placed, "b": [(Span(onset_ms, onset_ms + asked.duration_ms), text)]}
    tables = annotate({"a": audio["a"], "b": early}, {who: words_of(moved, who) for who in moved}).tables
    (event,) = [e for e in tables["events"] if e["label"] == "interruption"]
    assert (event["participant"], event["outcome"]) == ("b", "failed")
    touched = list(range(event["start_ms"] // UNIT_MS, (event["end_ms"] - 1) // UNIT_MS + 1))
    for who, role in (("b", "challenger"), ("a", "incumbent")):
        roles = {row["unit"]: row["interruption_role"] for row in tables["units"] if row["participant"] == who}
        assert [unit for unit, known in roles.items() if known == role] == touched
        assert set(roles.values()) == {None, role}


def test_bleed_is_no_ones_speech_and_an_event(annotate: Annotate, spoken: tuple[dict[str, np.ndarray], Placed]) -> None:
    audio, placed = spoken
    delayed = np.roll(audio["a"], 100)  # 6 ms of air
    leaky = {"a": audio["a"], "b": audio["b"] + 10 ** (-25 / 20) * delayed}
    clean, bled = annotate(audio), annotate(leaky)
    assert spans(bled.tables["speech"], "a") == spans(clean.tables["speech"], "a")
    own, with_bleed = spans(clean.tables["ipus"], "b"), spans(bled.tables["ipus"], "b")
    assert len(own) == len(with_bleed)
    for span, span_with_bleed in zip(own, with_bleed, strict=True):
        assert abs(span.start_ms - span_with_bleed.start_ms) <= 100 and abs(span.end_ms - span_with_bleed.end_ms) <= 100
    bleeds = [e for e in bled.tables["events"] if e["kind"] == "non_speech"]
    assert bleeds and {(e["participant"], e["label"], e["other"]) for e in bleeds} == {("b", "bleed", "a")}
    assert not [e for e in clean.tables["events"] if e["kind"] == "non_speech"]


@pytest.mark.parametrize(("gain", "delay"), [(1.0, 0), (0.3, 0), (1.0, 200)])
def test_the_same_sound_in_both_tracks_is_attributed_to_no_one(
    gain: float, delay: int, annotate: Annotate, spoken: tuple[dict[str, np.ndarray], Placed]
) -> None:
    """A dual-mono export, another gain, two recorders that began apart."""
    audio, placed = spoken
    mix = audio["a"] + audio["b"]
    result = annotate({"a": mix, "b": gain * np.roll(mix, delay)}, {"a": words_of(placed, "a")})
    assert [(key, reason) for key, reason, _ in result.rejections] == [("s1/a", "same_sound"), ("s1/b", "same_sound")]
    assert "12 of 12 s" in result.rejections[0][2] and " dB" in result.rejections[0][2]
    assert result.tables["speech"] == result.tables["turns"] == result.tables["events"] == []
    assert {(row["speech_ms"], row["audio_mixed"]) for row in result.tables["units"]} == {(None, True)}
    assert {row["verdict"] for row in result.tables["bleed"]} == {"same_sound"} and result.tables["words"]


def test_two_voices_that_leak_into_each_other_keep_their_own_speech(
    annotate: Annotate, spoken: tuple[dict[str, np.ndarray], Placed]
) -> None:
    """Two lavaliers in one room: each hears the other person at half the pressure, 6 ms later."""
    audio, _ = spoken
    leaky = {who: audio[who] + 0.5 * np.roll(audio[other], 100) for who, other in ("ab", "ba")}
    clean, both = annotate(audio), annotate(leaky)
    assert both.rejections == []
    for who in "ab":
        own, now = spans(clean.tables["ipus"], who), spans(both.tables["ipus"], who)
        assert len(own) == len(now)
        for before, after in zip(own, now, strict=True):
            assert abs(before.start_ms - after.start_ms) <= 100 and abs(before.end_ms - after.end_ms) <= 100
    assert {(row["verdict"], round(row["level_db"])) for row in both.tables["bleed"]} == {("heard", -6)}
    assert {row["verdict"] for row in clean.tables["bleed"]} == {"none"}
    speak = {row["unit"] for row in both.tables["units"] if row["participant"] == "a" and row["speech_ms"]}
    heard = {row["unit"] for row in both.tables["units"] if row["participant"] == "b" and row["bleed_heard"]}
    assert speak <= heard and len(heard) < NUM_UNITS * 2 / 3


def test_laughter_is_an_event_and_no_speech(annotate: Annotate, spoken: tuple[dict[str, np.ndarray], Placed]) -> None:
    """The detector hears b's first utterance; the transcript says that it is laughter, and the next said laughing."""
    audio, placed = spoken
    laugh, asked = placed["b"][0][0], placed["b"][1][0]
    words = {who: words_of(placed, who) for who in placed}
    words["b"] = [{"word": "[laughter]", "start_ms": laugh.start_ms, "end_ms": laugh.end_ms},
                  {"word": "[laughter-far?]", "start_ms": asked.start_ms, "end_ms": asked.end_ms}]  # fmt: skip
    result = annotate(audio, words)
    assert result.rejections == []
    (event,) = [e for e in result.tables["events"] if e["kind"] == "non_speech"]
    assert (event["participant"], event["label"], event["source"], event["confidence"]) == ("b", "laughter", "words", 1)
    assert Span(event["start_ms"], event["end_ms"]) == laugh
    assert [row["text"] for row in result.tables["ipus"] if row["participant"] == "b"] == ["far?"]
    assert [row["word"] for row in result.tables["words"] if row["participant"] == "b"] == ["far?"]
    assert all(span.start_ms > laugh.end_ms for span in spans(result.tables["speech"], "b"))
    assert not [e for e in result.tables["events"] if e["kind"] == "backchannel"]
    touched = list(range(laugh.start_ms // UNIT_MS, (laugh.end_ms - 1) // UNIT_MS + 1))
    units = [row for row in result.tables["units"] if row["participant"] == "b"]
    assert [row["unit"] for row in units if row["non_speech"]] == touched
    assert all(units[unit]["speech_ms"] == 0 for unit in touched)


def test_shared_sound_is_attributed_to_no_one(annotate: Annotate, spoken: tuple[dict[str, np.ndarray], Placed]) -> None:
    audio, placed = spoken
    mix = audio["a"] + audio["b"]
    result = annotate(
        {"a": mix, "b": mix}, {"a": words_of(placed, "a")}, a={"attributed": False}, b={"attributed": False}
    )
    assert sorted((key, reason) for key, reason, _ in result.rejections) == [
        ("s1/a", "speech_unattributed"), ("s1/b", "speech_unattributed")
    ]  # fmt: skip
    assert result.tables["speech"] == result.tables["turns"] == result.tables["events"] == []
    assert len(result.tables["units"]) == 2 * NUM_UNITS
    assert {row["speech_ms"] for row in result.tables["units"]} == {None}
    assert result.tables["words"]


def test_a_track_without_audio(annotate: Annotate, spoken: tuple[dict[str, np.ndarray], Placed]) -> None:
    result = annotate(spoken[0], b={"audio_path": None})
    assert result.rejections == [("s1/b", "no_audio", "")]
    assert {row["speech_ms"] for row in result.tables["units"] if row["participant"] == "b"} == {None}
    assert spans(result.tables["speech"], "a") and not spans(result.tables["speech"], "b")


def test_a_session_without_tracks_is_rejected(annotator: Annotator, tmp_path: Path) -> None:
    with pytest.raises(Rejected) as turned_away:
        annotator(Job(key="s1", spec={"tracks": []}, inputs=()), tmp_path, tmp_path)
    assert turned_away.value.reason == "no_tracks"


def test_careless_word_sidecars(annotate: Annotate) -> None:
    silence = {"a": np.zeros(NUM_UNITS * UNIT_MS * 16, np.float32)}
    listed: list[Any] = [
        {"word": "late", "start_ms": 900, "end_ms": 1000},
        {"word": "early", "start_ms": 100, "end_ms": 200},
        {"word": "empty", "start_ms": 300, "end_ms": 300},
        {"word": "backwards", "start_ms": 500, "end_ms": 400},
        {"word": "outside", "start_ms": 12_000, "end_ms": 12_100},
        {"word": "before", "start_ms": -300, "end_ms": 0},
        {"word": "cut", "start_ms": 11_900, "end_ms": 12_500},
        {"word": " ", "start_ms": 1, "end_ms": 2},
    ]
    result = annotate(silence, {"a": listed})
    rows = [(row["index"], row["word"], row["start_ms"], row["end_ms"]) for row in result.tables["words"]]
    assert rows == [(0, "early", 100, 200), (1, "late", 900, 1000), (2, "cut", 11_900, 12_000)]
    reasons = [reason for _, reason, _ in result.rejections]
    assert sorted(reasons) == ["word_malformed"] + ["word_outside_session"] * 2 + ["word_without_duration"] * 2
    assert len(rows) + len(reasons) == len(listed)
    assert not any(entry in str(result.rejections) for entry in ("early", "backwards", "outside,"))


def test_a_transcript_whose_words_lie_over_silence_is_named_and_decides_nothing(
    annotate: Annotate, spoken: tuple[dict[str, np.ndarray], Placed]
) -> None:
    audio, placed = spoken
    words: dict[str, Any] = {who: words_of(placed, who) for who in placed}
    said = words["a"]
    words["a"] = [
        {"word": row["word"], "start_ms": at, "end_ms": at + 10}
        for row in said
        for at in range(row["start_ms"], row["end_ms"] - 10, 40)
    ]
    kept = annotate(audio, words)
    assert kept.rejections == [] and len(words["a"]) >= 20
    silent = [row["over_silence"] for row in kept.tables["words"] if row["participant"] == "a"]
    assert sum(silent) < 0.05 * len(silent)
    onset_ms = placed["a"][0][0].start_ms
    late = [row | {"start_ms": row["start_ms"] - onset_ms, "end_ms": row["end_ms"] - onset_ms} for row in words["a"]]
    result = annotate(audio, words | {"a": late})
    ((key, reason, detail),) = result.rejections
    silent = [row["over_silence"] for row in result.tables["words"] if row["participant"] == "a"]
    assert (key, reason) == ("s1/a", "transcript_times_unreliable")
    assert detail.startswith(f"{sum(silent)} of {len(late)} words (") and sum(silent) > len(late) / 10
    (shift_ms,) = re.findall(r"; (\d+) ms later", detail)
    assert abs(int(shift_ms) - onset_ms) <= 60 and "island" not in detail
    assert {(row["participant"], row["times_fit"]) for row in result.tables["words"]} == {("a", False), ("b", True)}
    assert {row["text"] for row in result.tables["ipus"] if row["participant"] == "a"} == {None}
    assert None not in {row["text"] for row in result.tables["ipus"] if row["participant"] == "b"}


def test_words_are_over_silence_only_where_speech_is_known(
    annotate: Annotate, spoken: tuple[dict[str, np.ndarray], Placed]
) -> None:
    audio, placed = spoken
    words = {who: words_of(placed, who) for who in placed}
    mixed = annotate(audio, words, a={"attributed": False}).tables["words"]
    assert {(row["participant"], row["over_silence"]) for row in mixed} == {("a", None), ("b", False)}


def test_what_is_not_as_ingest_wrote_it_is_not_annotated(annotate: Annotate, tmp_path: Path) -> None:
    silence = {"a": np.zeros(NUM_UNITS * UNIT_MS * 16, np.float32)}
    words = {"a": [{"word": "red", "start_ms": 100, "end_ms": 200}]}
    with pytest.raises(Damaged, match="the words of a are not those of its track") as caught:
        annotate(silence, words, a={"words_sha256": "0" * 64})
    assert caught.value.stage == "ingest" and "red" not in str(caught.value)
    row = track_row("a", audio_sha256=write_audio(tmp_path, "s1", "a", silence["a"]))
    (tmp_path / row["audio_path"]).write_bytes(b"RIFF")
    with pytest.raises(Damaged, match=r"s1\.a\.wav: its checksum differs"):
        Annotator(PARAMS)(Job(key="s1", spec={"tracks": [row]}, inputs=()), tmp_path, tmp_path)


def write_sessions(data: Path, audio: dict[str, np.ndarray]) -> None:
    """Sessions s1 and s2 as ingest leaves them, the second with the participants swapped."""
    sessions, tracks = [], []
    for session, order in (("s1", "ab"), ("s2", "ba")):
        sessions.append(blank_row("sessions", session_id=session, num_participants=2, num_units=NUM_UNITS))
        for who, heard in zip("ab", order, strict=True):
            audio_sha256 = write_audio(data, session, who, audio[heard])
            path = track_path(session, who, "wav")
            known = track_row(who, session_id=session, audio_path=path, audio_sha256=audio_sha256, rate_hz=RATE_HZ)
            tracks.append(blank_row("tracks", **known))
    write_table(data, "sessions", to_table("sessions", sessions))
    write_table(data, "tracks", to_table("tracks", tracks))


def test_the_stage_counts_what_it_did(
    tmp_path: Path, spoken: tuple[dict[str, np.ndarray], Placed], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_in_process(monkeypatch)
    data = tmp_path / "data"
    write_sessions(data, spoken[0])
    (data / track_path("s2", "b", "wav")).write_bytes(b"RIFF")
    hash_again(data)
    counts = run(data, PARAMS, RunParams(workers=1))
    assert (counts["keys"], counts["done"], counts["rejected"]) == (2, 1, {"unreadable": 1})
    assert sum(counts["events"].values()) == counts["rows"]["events"] == len(read_rows(data, "events"))
    assert {row["session_id"] for row in read_rows(data, "units")} == {"s1"}


def test_corrections_are_inputs_and_only_their_session_is_done_again(
    tmp_path: Path, spoken: tuple[dict[str, np.ndarray], Placed], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_in_process(monkeypatch)
    data = tmp_path / "data"
    write_sessions(data, spoken[0])
    hash_again(data)
    run(data, PARAMS, RunParams(workers=1))
    was: dict[str, list[TableRow]] = {"s1": [], "s2": []}
    for row in read_rows(data, "events"):
        was[row["session_id"]].append(row)
    gone = next(row for row in was["s1"] if row["kind"] == "transition")
    shared = {"stage": "annotate", "kind": "event", "participant": gone["participant"], "by": "mk"}
    times = {"start_ms": gone["start_ms"], "end_ms": gone["end_ms"]}
    known = {"kind": gone["kind"], "label": gone["label"]}
    value = {"kind": "non_speech", "label": "laughter"}
    lines = [
        {**shared, **times, "action": "delete", "before": {**known, **times}},
        {**shared, **times, "action": "delete", "before": {**known, "start_ms": 3, "end_ms": 4}},
        {**shared, "start_ms": 10, "end_ms": 170, "action": "add", "value": value},
    ]
    append_correction(data, "s1", lines)
    counts = run(data, PARAMS, RunParams(workers=1))
    assert counts["rejected"] == {"correction_misfit": 1}
    (misfit,) = [row for row in read_rows(data, "rejections/annotate") if row["reason"] == "correction_misfit"]
    assert misfit["detail"] == "s1.jsonl line 2: nothing within 250 ms to delete"
    after = read_rows(data, "events")
    assert [row for row in after if row["session_id"] == "s2"] == was["s2"]
    own = [row for row in after if row["session_id"] == "s1"]
    assert [row for row in own if row["source"] != "person"] == [row for row in was["s1"] if row != gone]
    (added,) = [row for row in own if row["source"] == "person"]
    assert (added["start_ms"], added["end_ms"], added["label"], added["confidence"]) == (10, 170, "laughter", 1.0)
    units = [row["unit"] for row in read_rows(data, "units") if row["session_id"] == "s1" and row["non_speech"]]
    assert units == [0, 1]


def test_the_summary_has_the_figures_of_words_over_silence(
    tmp_path: Path,
    spoken: tuple[dict[str, np.ndarray], Placed],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    keep_in_process(monkeypatch)
    data = tmp_path / "data"
    write_sessions(data, spoken[0])
    own = sidecar_rows("s1", "a", [{"word": "red", "start_ms": at, "end_ms": at + 9} for at in range(0, 400, 10)])
    write_table(data, "sidecar_words", to_table("sidecar_words", own))
    tracks = [
        {name: value for name, value in row.items() if name != "schema_version"} for row in read_rows(data, "tracks")
    ]
    for row in tracks:
        if (row["session_id"], row["participant"]) == ("s1", "a"):
            row["words_sha256"] = hash_of(own)
    write_table(data, "tracks", to_table("tracks", tracks))
    counts = run(data, PARAMS, RunParams(workers=1))
    assert counts["rejected"] == {"transcript_times_unreliable": 1} and counts["words_over_silence"] == 40
    said = capsys.readouterr().err
    assert "transcripts with unreliable times: 1," in said and "(40 of 40 words of all transcripts)" in said
    counts = run(data, AnnotateParams(max_words_over_silence=1.0), RunParams(workers=1))
    assert counts["rejected"] == {} and counts["words_over_silence"] == 40
    assert "unreliable" not in capsys.readouterr().err


@pytest.mark.slow
def test_the_stage_gives_the_same_bytes_for_any_number_of_workers(
    tmp_path: Path, spoken: tuple[dict[str, np.ndarray], Placed], monkeypatch: pytest.MonkeyPatch, ray_once: None
) -> None:
    """One is this process."""
    written: list[list[bytes]] = []
    for workers in (2, 1):
        if workers == 1:
            keep_in_process(monkeypatch)
        data = tmp_path / f"with_{workers}" / "data"
        write_sessions(data, spoken[0])
        assert run(data, PARAMS, RunParams(workers=workers))["done"] == 2
        written.append([(data / f"tables/{table.name}/b=0000.parquet").read_bytes() for table in TABLES])
    assert written[0] == written[1]
