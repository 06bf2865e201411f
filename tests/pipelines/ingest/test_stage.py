"""Ingest: one clock whatever the container, layouts and manifests, people never leak, nothing lost without a reason."""

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.engine.files import hash_of
from pipelines.engine.jobs import Rejected
from pipelines.engine.run import RunParams
from pipelines.engine.tables import read_rows
from pipelines.formats.splits import split_of
from pipelines.ingest import stage as ingest
from pipelines.ingest.stage import IngestParams, session_split
from pipelines.media import tracks as media
from pipelines.media.tracks import read_frames, read_wav, write_wav
from pipelines.sources.find import find_sources
from pipelines.sources.hashes import SourceHashes
from pipelines.sources.row import SourceRow
from tests.helpers.clips import FLASHES_S, RATE_HZ, ingest_rows, make_clip, onsets_ms
from tests.helpers.counts import examples
from tests.helpers.small_corpus import keep_in_process
from wanstreamer.clock import samples_per_unit
from wanstreamer.errors import InputError


@pytest.mark.parametrize(
    ("name", "rate", "sound_hz", "start_s"),
    [
        ("a.mp4", "25", 48000, 0.0),
        ("a.mkv", "30000/1001", 44100, 0.13),
        ("a.mov", "24", 44100, 0.4),
        ("a.mp4", "30", 48000, 0.25),
    ],
)
def test_picture_and_sound_share_one_clock(tmp_path: Path, name: str, rate: str, sound_hz: int, start_s: float) -> None:
    make_clip(tmp_path / name, rate=rate, sound_hz=sound_hz, start_s=start_s)
    make_clip(tmp_path / "b.mp4")
    rows = [
        {"participant": "a", "uri": name, "start_offset_ms": round(start_s * 1000)},
        {"participant": "b", "uri": "b.mp4"},
    ]
    result, data = ingest_rows(tmp_path, rows)
    session = result.tables["sessions"][0]
    num_units = session["num_units"]
    assert session["origin_ms"] == round(start_s * 1000)
    expected = [round(at * 1000) - session["origin_ms"] for at in FLASHES_S]
    for participant in ("a", "b"):
        track = data / f"tracks/04/s.{participant}"
        assert len(read_frames(data / f"tracks/04/s.{participant}.mp4")) == 4 * num_units
        assert len(read_wav(data / f"tracks/04/s.{participant}.wav")[0]) == samples_per_unit(RATE_HZ) * num_units
        flashes, beeps = onsets_ms(track)
        # The source shows a flash up to one of its frames late, our grid rounds by half of ours; sound is exact.
        late = np.array(flashes) - expected
        assert late.min() >= -21 and late.max() <= 1000 / 24 + 21, (flashes, expected)
        assert np.abs(np.array(beeps) - expected).max() <= 10, (beeps, expected)


def test_frames_are_exact_from_any_unit(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4")
    _, data = ingest_rows(tmp_path, [{"participant": "a", "uri": "a.mp4"}])
    track = data / "tracks/04/s.a.mp4"
    whole = read_frames(track)
    for start, stop in ((0, 4), (4, 12), (60, 64), (13, 30)):
        assert np.array_equal(read_frames(track, start, stop), whole[start:stop])
    assert np.array_equal(media._read_frames_pyav(track, 0, None).shape, whole.shape)
    assert np.abs(media._read_frames_pyav(track, 0, None).astype(int) - whole).max() <= 4


def test_a_file_cut_short_is_rejected_with_its_reason(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4")
    make_clip(tmp_path / "b.mkv")
    for name, reason in (("a.mp4", "unreadable"), ("b.mkv", "truncated")):
        content = (tmp_path / name).read_bytes()
        cut = tmp_path / f"cut.{name[-3:]}"
        cut.write_bytes(content[: len(content) // 2])
        with pytest.raises(Rejected) as caught:
            ingest_rows(tmp_path, [{"participant": "a", "uri": cut.name}])
        assert caught.value.reason in (reason, "unreadable")


def test_words_follow_the_clock_and_strays_are_counted(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4")
    make_clip(tmp_path / "b.mp4")
    words = [{"word": "red?", "start_ms": 1000.4, "end_ms": 1300}, {"word": "late", "start_ms": 90000, "end_ms": 90100}]
    (tmp_path / "a.words.json").write_text(json.dumps({"words": words}))
    (tmp_path / "b.words.json").write_text("[]")
    rows = [
        {"participant": "a", "uri": "a.mp4", "words_uri": "a.words.json", "start_offset_ms": 500},
        {"participant": "b", "uri": "b.mp4", "words_uri": "b.words.json", "start_offset_ms": 700},
    ]
    result, _ = ingest_rows(tmp_path, rows)
    ids = {"session_id": "s", "participant": "a"}
    words = [{**ids, "index": 0, "word": "red?", "start_ms": 800, "end_ms": 1100}]
    assert result.tables["sidecar_words"] == words
    assert [track["words_sha256"] for track in result.tables["tracks"]] == [hash_of(words), None]
    assert [(key, reason) for key, reason, _ in result.rejections] == [
        ("s/a", "word_outside_track"),
        ("s/b", "bad_words"),
    ]
    assert "late" not in str(result.rejections)


UNUSABLE_WORDS = (
    "{", "[]", '{"words": 3}', '{"text": []}', '{"words": ["plain"]}', '{"words": [{"word": "untimed"}]}',
    '{"words": [{"word": "nan", "start_ms": NaN, "end_ms": 10}]}',
    '{"words": [{"word": "endless", "start_ms": 10, "end_ms": 1e30}]}',
    '{"words": [{"word": "half a letter \\ud800", "start_ms": 10, "end_ms": 20}]}',
)  # fmt: skip


@pytest.mark.parametrize("content", UNUSABLE_WORDS)
def test_an_unreadable_word_file_is_one_rejection(tmp_path: Path, content: str) -> None:
    write_wav(tmp_path / "a.wav", np.zeros(RATE_HZ, np.float32), RATE_HZ)
    (tmp_path / "a.words.json").write_text(content)
    result, _ = ingest_rows(tmp_path, [{"participant": "a", "uri": "a.wav", "words_uri": "a.words.json"}])
    assert [(key, reason) for key, reason, _ in result.rejections] == [("s/a", "bad_words")]
    assert result.tables["sidecar_words"] == [] and result.tables["tracks"][0]["words_sha256"] is None
    assert not any(word in str(result.rejections) for word in ("plain", "untimed", "endless", "letter"))


def test_rttm_gates_a_mix_and_marks_its_overlaps(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    mix = rng.normal(0, 0.1, 4 * RATE_HZ).astype(np.float32)
    write_wav(tmp_path / "call.wav", mix, RATE_HZ)
    lines = ["SPEAKER call 1 0.5 1.5 <NA> <NA> anna <NA> <NA>", "SPEAKER call 1 1.6 1.4 <NA> <NA> ben <NA> <NA>"]
    (tmp_path / "call.rttm").write_text("\n".join(lines) + "\n")
    _, rows = find_sources(tmp_path)
    assert [(row.participant, row.rttm_speaker, row.audio_kind) for row in rows] == [
        ("a", "anna", "shared"),
        ("b", "ben", "shared"),
    ]
    result, data = ingest_rows(tmp_path, [{k: v for k, v in vars(row).items() if k != "session_id"} for row in rows])
    assert result.tables["sessions"][0]["layout"] == "mixed"
    anna, ben = result.tables["tracks"]
    assert anna["mixed"] == ben["mixed"] == [{"start_ms": 1600, "end_ms": 2000}]
    assert anna["attributed"]
    audio = read_wav(data / anna["audio_path"])[0]
    inside = slice(RATE_HZ // 2 + 200, 2 * RATE_HZ - 200)
    assert np.abs(audio[inside] - mix[inside]).max() < 1e-3
    assert not audio[: RATE_HZ // 2].any() and not audio[2 * RATE_HZ :].any()


def test_shared_sound_without_rttm_is_mixed_throughout(tmp_path: Path) -> None:
    make_clip(tmp_path / "table.mp4")
    shared = {"uri": "table.mp4", "audio_kind": "shared"}
    rows = [
        {"participant": "a", "crop": (0, 0, 64, 96), **shared},
        {"participant": "b", "crop": (64, 0, 64, 96), **shared},
    ]
    result, _ = ingest_rows(tmp_path, rows)
    session, tracks = result.tables["sessions"][0], result.tables["tracks"]
    assert session["layout"] == "split_screen"
    assert all(track["mixed"] == [{"start_ms": 0, "end_ms": session["duration_ms"]}] for track in tracks)
    assert not any(track["attributed"] for track in tracks)


def test_channels_and_crops_pick_their_participant(tmp_path: Path) -> None:
    video = ffmpeg.input("color=black:s=128x96:r=25:d=2", f="lavfi").filter(
        "drawbox", x=64, w=64, h=96, color="white", t="fill"
    )
    audio = ffmpeg.input("aevalsrc=0|0.5*sin(2*PI*400*t):s=48000:d=2:c=stereo", f="lavfi")
    out = ffmpeg.output(video, audio, str(tmp_path / "split.mp4"), vcodec="libx264", acodec="aac", threads=1)
    out.global_args("-v", "error").run(cmd=media.ffmpeg_path())
    rows = [
        {"participant": "a", "uri": "split.mp4", "crop": (0, 0, 64, 96), "channel": 0},
        {"participant": "b", "uri": "split.mp4", "crop": (64, 0, 64, 96), "channel": 1},
    ]
    _, data = ingest_rows(tmp_path, rows)
    assert read_frames(data / "tracks/04/s.a.mp4").mean() < 20 and read_frames(data / "tracks/04/s.b.mp4").mean() > 235
    assert (
        np.abs(read_wav(data / "tracks/04/s.a.wav")[0]).max()
        < 0.01
        < 0.4
        < np.abs(read_wav(data / "tracks/04/s.b.wav")[0]).max()
    )


@examples(200)
@given(speaker=st.text(min_size=1), others=st.lists(st.text(min_size=1), max_size=3))
def test_people_never_leak_between_splits(speaker: str, others: list[str]) -> None:
    params = IngestParams()
    shares = (params.split_salt, params.valid_fraction, params.test_fraction)
    rows = [
        SourceRow(session_id="s", participant=str(i), uri="x", speaker_id=name)
        for i, name in enumerate([speaker, *others])
    ]
    splits = {split_of(name, *shares) for name in [speaker, *others]}
    if len(splits) == 1:
        assert session_split(rows, params) == split_of(speaker, *shares)
    else:
        with pytest.raises(Rejected, match="split_straddles"):
            session_split(rows, params)


@pytest.mark.parametrize("name", ["-y.mp4", "concat:a|b.mp4", "http:%2f.mp4", "a b;c.mp4", "pipe:0.mp4", "%d.mp4"])
def test_a_strange_name_is_only_a_name(tmp_path: Path, name: str) -> None:
    make_clip(tmp_path / "plain.mp4", seconds=1)
    (tmp_path / "plain.mp4").rename(tmp_path / name)
    result, data = ingest_rows(tmp_path, [{"participant": "a", "uri": name}])
    assert result.rejections == [] and len(read_frames(data / "tracks/04/s.a.mp4")) == 24


@pytest.mark.parametrize("kind", ["ffconcat version 1.0\nfile plain.mp4\n", "hls", "v=0\no=- 0 0 IN IP4 127.0.0.1\n"])
def test_a_list_of_other_files_is_no_recording(tmp_path: Path, kind: str) -> None:
    make_clip(tmp_path / "plain.mp4", seconds=1)
    hls = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n"
    for name in ("list.mp4", "list.m3u8", "list.txt"):
        (tmp_path / name).write_text(hls if kind == "hls" else kind)
        with pytest.raises(Rejected) as caught:
            ingest_rows(tmp_path, [{"participant": "a", "uri": name}])
        assert caught.value.reason in ("playlist", "unreadable")


def test_the_stage_counts_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_in_process(monkeypatch)
    source, data = tmp_path / "source", tmp_path / "data"
    for session in ("one", "two"):
        (source / session).mkdir(parents=True)
    make_clip(source / "one/a.mp4", seconds=2)
    make_clip(source / "one/b.mkv", seconds=2)
    make_clip(source / "two/a.mp4", seconds=2)
    (source / "two/b.mp4").write_bytes(b"not a film")
    params = IngestParams(source=str(source))
    counts = ingest.run(data, params, RunParams(workers=2))
    assert (counts["keys"], counts["done"], counts["rejected"]) == (2, 1, {"unreadable": 1})
    assert [row["participant"] for row in read_rows(data, "tracks")] == ["a", "b"]
    before = {path: path.stat().st_mtime_ns for path in (data / "tracks").rglob("*.mp4")}
    (source / "three").mkdir()
    shutil.copy(source / "one/a.mp4", source / "three/a.mp4")
    counts = ingest.run(data, params, RunParams(workers=2))
    assert counts["done"] == 2
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items()), "a finished session was done again"


def test_a_file_that_vanishes_during_the_run_is_a_rejection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_in_process(monkeypatch)
    for session in ("gone", "same"):
        write_wav(tmp_path / f"{session}.wav", np.ones(RATE_HZ, np.float32), RATE_HZ)
    (tmp_path / "manifest.csv").write_text("session_id,uri\ngone,gone.wav\nsame,same.wav\n")
    planned = SourceHashes.of

    def then_remove(self: SourceHashes, *which: Any) -> Any:
        hashes = planned(self, *which)
        (tmp_path / "gone.wav").unlink(missing_ok=True)
        return hashes

    monkeypatch.setattr(SourceHashes, "of", then_remove)
    params = IngestParams(source=str(tmp_path / "manifest.csv"))
    for _ in range(2):
        counts = ingest.run(tmp_path / "data", params, RunParams(workers=1))
        assert (counts["done"], counts["rejected"]) == (1, {"missing_file": 1})
        assert [row["key"] for row in read_rows(tmp_path / "data", "rejections/ingest")] == ["gone"]


def test_sessions_turned_away_before_any_work_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_in_process(monkeypatch)
    params = IngestParams(source=str(tmp_path / "manifest.csv"))
    shares = (params.split_salt, params.valid_fraction, params.test_fraction)
    people = {split_of(f"p{i}", *shares): f"p{i}" for i in range(50)}
    make_clip(tmp_path / "a.mp4", seconds=1)
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["session_id", "participant", "speaker_id", "uri", "consent"])
        writer.writerow(["good", "a", people["train"], "a.mp4", "train"])
        writer.writerow(["astride", "a", people["train"], "a.mp4", "train"])
        writer.writerow(["astride", "b", people["test"], "a.mp4", "train"])
        writer.writerow(["gone", "a", people["train"], "nowhere.mp4", "train"])
        writer.writerow(["private", "a", people["train"], "a.mp4", "show"])
        writer.writerow(["endless", "a", people["train"], "fifo.mp4", "train"])
    os.mkfifo(tmp_path / "fifo.mp4")
    counts = ingest.run(tmp_path / "data", params, RunParams(workers=2))
    assert counts["rejected"] == {"missing_file": 1, "no_consent": 1, "not_a_file": 1, "split_straddles": 1}
    rejected = {row["key"]: row["reason"] for row in read_rows(tmp_path / "data", "rejections/ingest")}
    assert rejected == {
        "astride": "split_straddles", "endless": "not_a_file", "gone": "missing_file", "private": "no_consent",
    }  # fmt: skip
    assert [row["session_id"] for row in read_rows(tmp_path / "data", "sessions")] == ["good"]


def test_a_crop_outside_the_frame_is_said_before_any_work(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4", seconds=1)
    (tmp_path / "manifest.csv").write_text("session_id,uri,crop\ns,a.mp4,100:0:64:96\n")
    with pytest.raises(InputError, match=r"crop 100:0:64:96 reaches outside the 128x96 frame"):
        ingest.run(tmp_path / "data", IngestParams(source=str(tmp_path)), RunParams(workers=1))
    assert not (tmp_path / "data" / "tracks").exists() and not (tmp_path / "data" / "tables").exists()


@pytest.mark.parametrize("kind", ["with a mark", "of two recordings"])
def test_only_this_recording_s_lines_open_the_gate(tmp_path: Path, kind: str) -> None:
    """anna speaks at 1 and 5 s, ben at 3 and 7 s; in the other recording it is the other way round."""
    write_wav(tmp_path / "call.wav", np.full(8 * RATE_HZ, 0.1, np.float32), RATE_HZ)
    speech = [("call", "anna", 1), ("call", "ben", 3), ("call", "anna", 5), ("call", "ben", 7)]
    if kind == "of two recordings":
        speech += [("other", "anna", 3), ("other", "ben", 1)]
    lines = "".join(f"SPEAKER {file} 1 {at - 0.1} 0.5 <NA> <NA> {name} <NA> <NA>\n" for file, name, at in speech)
    (tmp_path / "all.rttm").write_text(lines, encoding="utf-8-sig")
    rows = [
        {"participant": who[0], "uri": "call.wav", "audio_kind": "shared", "rttm_uri": "all.rttm", "rttm_speaker": who}
        for who in ("anna", "ben")
    ]
    result, data = ingest_rows(tmp_path, rows)
    for track, seconds in zip(result.tables["tracks"], ((1, 5), (3, 7)), strict=True):
        audio = read_wav(data / track["audio_path"])[0]
        assert [at for at in range(8) if audio[round((at + 0.1) * RATE_HZ)]] == list(seconds)
        assert track["mixed"] == []
    (tmp_path / "all.rttm").write_text(lines.replace(" call ", " calls "))
    with pytest.raises(Rejected, match="all.rttm: no lines of this recording.*call.wav") as rejected:
        ingest_rows(tmp_path, rows)
    assert rejected.value.reason == "bad_rttm"
