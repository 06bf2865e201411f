"""Folders as people have them: names of every kind, files in every place; nothing vanishes, nothing is mixed up."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.engine.run import RunParams
from pipelines.engine.tables import read_rows
from pipelines.ingest import stage as ingest
from pipelines.ingest.stage import IngestParams
from pipelines.media.tracks import write_wav
from pipelines.sources.find import find_sources
from pipelines.sources.layouts import rows_of_folder
from pipelines.sources.row import PARTICIPANT_BYTES, SESSION_BYTES, identifier, is_identifier, nameless_recording
from tests.helpers.clips import RATE_HZ
from tests.helpers.corpora import touch
from tests.helpers.counts import examples
from tests.helpers.small_corpus import keep_in_process
from wanstreamer.errors import InputError


def ingested(source: Path, data: Path, layout: str = "") -> tuple[list[tuple[str, str]], dict[str, tuple[str, str]]]:
    """(session, participant) of the tracks, and session -> reason and detail of the rejections."""
    ingest.run(data, IngestParams(source=str(source), layout=layout), RunParams(workers=1))
    rejected = {row["key"]: (row["reason"], row["detail"]) for row in read_rows(data, "rejections/ingest")}
    return [(row["session_id"], row["participant"]) for row in read_rows(data, "tracks")], rejected


def sounds(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_wav(root / name, 0.1 * np.ones(RATE_HZ, np.float32), RATE_HZ)


@examples(300)
@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_ids_are_injective_and_fit_into_file_names(name: str, other: str) -> None:
    for most_bytes in (SESSION_BYTES, PARTICIPANT_BYTES):
        ids = identifier(name, most_bytes), identifier(other, most_bytes)
        assert all(is_identifier(one, most_bytes) for one in ids)
        assert ids == (identifier(name, most_bytes), identifier(other, most_bytes))
        if name.isascii():
            assert (ids[0] == ids[1]) == (name == other)


def test_names_that_differ_are_sessions_that_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_in_process(monkeypatch)
    long = "x" * 245
    sounds(tmp_path / "in", "call 1/a.wav", "call_1/a.wav", "call-1/a.wav", "\u5bf9\u8bdd/\u674e\u96f7.wav")
    sounds(
        tmp_path / "in", "\u5bf9\u8bdd/\u97e9\u6885\u6885.wav", f"{long[:200]}/{long}.wav", f"{long[:200]}/{long}y.wav"
    )
    tracks, rejected = ingested(tmp_path / "in", tmp_path / "out")
    assert not rejected and len(tracks) == len(set(tracks)) == 7
    assert len({session for session, _ in tracks}) == 5
    assert ("\u5bf9\u8bdd", "\u674e\u96f7") in tracks and ("call_1", "a") in tracks
    assert len(list((tmp_path / "out/tracks").rglob("*.wav"))) == 7


def test_every_suffix_is_known_in_capitals_too(tmp_path: Path) -> None:
    names = "a.MTS b.m2ts c.3gp d.wmv e.flv f.mka g.aiff h.w64 i.wma j.amr k.caf l.mpeg m.sph n.mxf o.au p.vob q.oga"
    touch(tmp_path, *(f"s/{name}" for name in names.split()))
    assert [row.uri for row in rows_of_folder(tmp_path)] == [f"s/{name}" for name in names.split()]


def test_what_a_mac_leaves_is_ignored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touch(tmp_path, "one/a.mp4", "one/._a.mp4", "one/.DS_Store", "__MACOSX/one/._a.mp4", "__MACOSX/b.mp4", ".x/y.mp4")
    touch(tmp_path, "one/._a.words.json", "._call.wav", "__MACOSX/call.rttm")
    assert [row.uri for row in find_sources(tmp_path)[1]] == ["one/a.mp4"]
    assert not capsys.readouterr().err
    touch(tmp_path, "V00_S0001_I00000001_P0001.mp4", "._V00_S0001_I00000001_P0002.mp4", "._meetings.xml")
    assert len(rows_of_folder(tmp_path)) == 1


def test_two_files_for_one_participant_are_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_in_process(monkeypatch)
    sounds(tmp_path / "in", "good/a.wav", "good/b.wav", "twice/a.wav", "call/x.wav", "call.wav", "stem.wav")
    touch(tmp_path / "in", "pictures/a.mkv", "pictures/a.mp4", "pictures/a.wav")
    shutil.copy(tmp_path / "in/twice/a.wav", tmp_path / "in/twice/a.wave")
    sounds(tmp_path / "in", "accents/\u00e9.wav", "accents/e\u0301.wav")
    tracks, rejected = ingested(tmp_path / "in", tmp_path / "out")
    assert tracks == [("good", "a"), ("good", "b")]
    expected = {
        "twice": ("same_participant", "twice/a.wav and twice/a.wave"),
        "pictures": ("same_participant", "pictures/a.mkv and pictures/a.mp4"),
        "accents": ("same_participant", "accents/e\u0301.wav and accents/\u00e9.wav"),
        "call": ("same_session", "call/ and call.wav"),
        "stem": ("no_participants", "without stem.rttm"),
    }
    assert {key: reason for key, (reason, _) in rejected.items()} == {key: one for key, (one, _) in expected.items()}
    for key, (_, said) in expected.items():
        assert said in rejected[key][1], rejected[key]


def test_one_file_that_cannot_be_used_never_stops_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_in_process(monkeypatch)
    source = tmp_path / "in"
    sounds(source, "good/a.wav", "good/b.wav", "bad.wav", "empty.wav", "crowd.wav", "sphere.wav")
    (source / "sphere.wav").rename(source / "sphere.sph")
    touch(source, "talk.mp4", "empty.rttm")
    (source / "bad.rttm").write_text("SPEAKER bad 1 soon 2 <NA> <NA> anna <NA> <NA>\n")
    lines = (f"SPEAKER crowd 1 {number}.0 0.5 <NA> <NA> p{number} <NA> <NA>\n" for number in range(27))
    (source / "crowd.rttm").write_text("".join(lines))
    tracks, rejected = ingested(source, tmp_path / "out")
    assert [session for session, _ in tracks] == ["good", "good"]
    assert {key: reason for key, (reason, _) in rejected.items()} == {
        "bad": "bad_rttm", "empty": "bad_rttm", "crowd": "bad_rttm", "talk": "no_participants",
        "sphere": "no_participants",
    }  # fmt: skip
    assert "line 1" in rejected["bad"][1] and "27 speakers" in rejected["crowd"][1]
    assert "stereo" not in rejected["talk"][1] and "talk/anna.mp4" in rejected["talk"][1]
    assert "stereo" in rejected["sphere"][1]


def test_only_bad_files_stop_at_once(tmp_path: Path) -> None:
    touch(tmp_path, "talk.mp4", "talk.rttm", "walk.wav", "walk.rttm")
    with pytest.raises(InputError, match=r"talk\.rttm: no SPEAKER line.*\(1 more"):
        find_sources(tmp_path)
    touch(tmp_path, "chat.mp4")  # its people may be found
    _, rows = find_sources(tmp_path)
    recordings = {row.session_id: nameless_recording([row]) for row in rows}
    assert recordings["talk"] is recordings["walk"] is None
    chat = recordings["chat"]
    assert chat is not None and (chat.uri, chat.unusable, chat.audio_kind) == ("chat.mp4", None, "shared")


def test_a_name_that_is_not_utf8_is_a_rejection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_in_process(monkeypatch)
    sounds(tmp_path / "in", "good/a.wav", "latin/a.wav")
    latin = os.fsencode(tmp_path / "in/latin") + b"/caf\xe9.wav"
    try:
        (tmp_path / "in/latin/a.wav").rename(os.fsdecode(latin))
    except OSError:
        pytest.skip("this file system has only UTF-8 names")
    tracks, rejected = ingested(tmp_path / "in", tmp_path / "out")
    assert [session for session, _ in tracks] == ["good"]
    assert rejected["latin"][0] == "bad_name" and "latin/caf\\udce9.wav" in rejected["latin"][1]


def test_a_picture_beside_a_mixed_sound_belongs_to_it(tmp_path: Path) -> None:
    touch(tmp_path, "call.wav", "call.mp4")
    (tmp_path / "call.rttm").write_text("SPEAKER call 1 0.5 1.5 <NA> <NA> anna <NA> <NA>\n")
    (row,) = rows_of_folder(tmp_path)
    assert (row.uri, row.audio_uri, row.audio_kind) == ("call.mp4", "call.wav", "shared")


def test_what_is_passed_over_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touch(tmp_path, "one/a.wav", "2024/two/a.MTS", "2024/two/b.mp4", "one/deep/c.caf", "one/notes.txt")
    find_sources(tmp_path)
    said = capsys.readouterr().err
    assert "passed over: 2024/two/a.MTS, 2024/two/b.mp4, one/deep/c.caf; layout plain" in said
    assert said.count("\n") == 1 and "SESSION/PARTICIPANT.mp4" in said
    (tmp_path / "one/a.wav").unlink()
    touch(tmp_path, "2024/two/z.amr")
    with pytest.raises(InputError, match=r"no recordings found; .*; it has 2024/two/a\.MTS, .*z\.amr and 1 more else"):
        find_sources(tmp_path)


def test_stereo_names_pictures_and_clashes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touch(tmp_path, "call.wav", "call.sph", "other.sph", "film.mp4")
    rows = find_sources(tmp_path, "stereo")[1]
    assert [(row.session_id, row.participant, bool(row.unusable)) for row in rows] == [
        ("call", "a", True), ("other", "a", False), ("other", "b", False),
    ]  # fmt: skip
    assert rows[0].unusable == ("same_session", "call.sph and call.wav are both session call; rename one of them")
    assert "passed over: film.mp4; layout stereo" in capsys.readouterr().err


def test_a_meeting_that_is_listed_twice_does_not_stop_the_others(tmp_path: Path) -> None:
    touch(tmp_path, "m1/audio/m1.Headset-0.wav", "m2/audio/m2.Headset-0.wav")
    meeting = '<meeting observation="{}"><speaker nxt_agent="A" channel="0" camera="Closeup1"/></meeting>'
    (tmp_path / "meetings.xml").write_text(f"<root>{''.join(map(meeting.format, ('m1', 'm2', 'm2')))}</root>")
    rows = find_sources(tmp_path, warn=False)[1]
    assert [(row.session_id, row.unusable and row.unusable[0]) for row in rows] == [
        ("m1", None), ("m2", "same_participant"),
    ]  # fmt: skip


def test_one_conversation_with_broken_metadata_is_one_rejection(tmp_path: Path) -> None:
    touch(tmp_path, "x/processed/u.mp4", "x/transcription/t.json", "y/transcription/t.json", "y/processed/v.mp4")
    (tmp_path / "x/metadata.json").write_text('{"speakers": [{"user_id": "u", "channel": "L"}]}')
    (tmp_path / "y/metadata.json").write_text("{")
    rows = find_sources(tmp_path, warn=False)[1]
    assert [(row.session_id, row.unusable and row.unusable[0]) for row in rows] == [("x", None), ("y", "bad_metadata")]
