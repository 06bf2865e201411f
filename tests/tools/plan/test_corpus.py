"""What will become of sessions, from their headers: the reasons of the stages, hours, and amounts of work."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine.forgotten import remember
from pipelines.formats.splits import split_of
from pipelines.ingest.params import IngestParams
from pipelines.media.probing import Header
from pipelines.pack.params import PackParams
from tests.helpers.headers import header, write_source
from tools.plan.corpus import Corpus, look_at

HEAD = (
    "session_id,participant,uri,speaker_id,consent,audio_uri,audio_kind,rttm_uri,rttm_speaker,channel,start_offset_ms\n"
)


def look(data: Path, source: Path, most: int = 0, **pack: Any) -> Corpus:
    ingest = IngestParams(source=str(source))
    return look_at(data, ingest, PackParams(**pack), codecs={"h264": 1.0, "hevc": 1.5}, most=most)


def test_sessions_are_rejected_for_the_reasons_of_the_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = {name: split_of(name, "wanstreamer", 0.1, 0.2) for name in (f"p{number}" for number in range(40))}
    train, test = (next(name for name, split in splits.items() if split == wanted) for wanted in ("train", "test"))
    headers: dict[str, Header | str] = {
        "a.mp4": header(), "b.mp4": header(), "none.bin": header(video_ms=0, audio_ms=0), "bad.mp4": "unreadable",
        "brief.mp4": header(video_ms=100, audio_ms=100), "few.mp4": header(video_ms=3000, audio_ms=3000),
    }  # fmt: skip
    rows = {
        "good": ("a.mp4", "b.mp4"), "empty": ("a.mp4", "none.bin"), "damaged": ("a.mp4", "bad.mp4"),
        "brief": ("a.mp4", "brief.mp4"), "few": ("a.mp4", "few.mp4"), "lost": ("a.mp4", "nowhere.mp4"),
    }  # fmt: skip
    lines = [f"{name},{who},{uri},,,,,,,," for name, uris in rows.items() for who, uri in zip("ab", uris, strict=True)]
    lines += ["alone,a,a.mp4,,,,,,,,", f"straddles,a,a.mp4,{train},,,,,,,", f"straddles,b,b.mp4,{test},,,,,,,"]
    lines += [
        "refused,a,a.mp4,,train,,,,,,",
        "refused,b,b.mp4,,show,,,,,,",
        "gone,a,a.mp4,,,,,,,,",
        "gone,b,b.mp4,x,,,,,,,",
    ]
    lines += ["channel,a,a.mp4,,,,,,,0,", "channel,b,b.mp4,,,,,,,1,"]
    source = write_source(tmp_path / "s", monkeypatch, headers, HEAD + "\n".join(lines) + "\n")
    remember(tmp_path / "data", "x")
    found = look(tmp_path / "data", source)
    summary = found.summary()
    assert {stage: {reason: entry["sessions"] for reason, entry in reasons.items()}
            for stage, reasons in summary["rejected"].items()} == {
        "ingest": {"no_streams": 1, "unreadable": 1, "too_short": 1, "missing_file": 1, "split_straddles": 1,
                   "no_consent": 1, "forgotten": 1, "no_such_channel": 1},
        "pack": {"not_a_dyad": 1, "shorter_than_window": 1},
    }  # fmt: skip
    assert summary["sessions"] == 11 and summary["kept_sessions"] == 1
    assert summary["kept_hours"] == pytest.approx(1 / 60)
    assert summary["rejected"]["ingest"]["no_consent"]["hours"] == pytest.approx(1 / 60)
    assert summary["rejected"]["pack"]["shorter_than_window"]["hours"] == pytest.approx(18 * 0.16 / 3600)
    assert summary["hours_after"]["ingest"] == pytest.approx((2 * 60 + 18 * 0.16) / 3600)


def test_amounts_are_those_of_the_media(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = {
        "a.mp4": header(), "b.mp4": header(audio_ms=0, video_codec="hevc"),
        "room.wav": header(video_ms=0), "c.wav": header(video_ms=0), "d.wav": header(video_ms=0),
    }  # fmt: skip
    lines = (
        "met,a,a.mp4,,,room.wav,shared,,,,1000\n" "met,b,b.mp4,,,room.wav,shared,room.rttm,b,,0\n"
        "call,a,c.wav,,,,,,,,\ncall,b,d.wav,,,,,,,,\n"
    )  # fmt: skip
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "room.rttm").touch()
    source = write_source(tmp_path / "s", monkeypatch, headers, HEAD + lines)
    found = look(tmp_path / "data", source)
    amounts = found.amounts()
    met_s, call_s = 368 * 0.16, 375 * 0.16  # the first begins a second later
    assert (amounts.sessions, amounts.audio_tracks, amounts.video_tracks) == (2, 4, 2)
    assert amounts.session_s == pytest.approx(met_s + call_s)
    assert amounts.video_s == pytest.approx(2 * met_s) and amounts.audio_s == pytest.approx(2 * met_s + 2 * call_s)
    assert amounts.spoken_s == pytest.approx(met_s + 2 * call_s)  # one track is in a mix without an RTTM
    assert amounts.video_mb == pytest.approx(0.9 * (1 + 1.5))
    assert amounts.source_mpx == pytest.approx(640 * 360 * 30 * 60 / 1e6 * (1 + 1.5))
    assert amounts.windows == 2 * (len(range(0, 337, 16))) + 2 * (len(range(0, 344, 16)) + 1)


def test_a_share_of_the_sessions_stands_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = {"a.mp4": header(), "b.mp4": header(video_codec="theora", guessed=True)}
    lines = "".join(f"s{number},{who},{who}.mp4,,,,,,,,\n" for number in range(40) for who in "ab")
    source = write_source(tmp_path / "s", monkeypatch, headers, HEAD + lines)
    part, whole = look(tmp_path / "data", source, most=10), look(tmp_path / "data", source)
    assert len(part.outlooks) == 10
    assert asdict(part.amounts()) == pytest.approx(asdict(whole.amounts()))
    ours, theirs = part.summary(), whole.summary()
    assert (ours["headers_read"], theirs["headers_read"]) == (10, 40)
    for name in ("sessions", "files", "kept_sessions", "kept_hours", "hours", "notes"):
        assert ours[name] == pytest.approx(theirs[name]), name
    assert whole.summary()["notes"] == {
        "length guessed from the size of the file": 40, "video codec theora not measured, counted as h264": 40,
    }  # fmt: skip


def test_a_recording_whose_people_must_be_found_counts_as_a_dyad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_source(tmp_path / "s", monkeypatch, {"a.mp4": header()}, "session_id,participant,uri\ntalk,,a.mp4\n")
    found = look(tmp_path / "data", source)
    assert (found.outlooks[0].reason, found.outlooks[0].num_tracks) == ("", {"audio": 2, "video": 2})
    amounts = found.amounts()
    assert amounts.windows > 0 and amounts.spoken_s == pytest.approx(2 * 375 * 0.16)
    summary = found.summary()
    assert summary["files"] == 1 and list(summary["notes"]) == ["its people must be found first; counted as a dyad"]
