"""Test recordings are what they claim to be; the bench of costs writes slopes that a plan reads."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.annotate.params import AnnotateParams
from pipelines.ingest.params import IngestParams
from pipelines.media.probing import read_header
from pipelines.pack.params import PackParams
from pipelines.signals.speech_models import load_detector
from pipelines.signals.voice_activity import resample, speech_spans
from tools.bench import cost, recordings, stage_costs
from tools.bench.recordings import RATE_HZ, Recordings, make_recordings, make_speech, make_turns, make_words
from tools.bench.stage_costs import LEAST_S, SMALL, STAGES, settings
from tools.plan.amounts import FACTORS
from tools.plan.corpus import look_at
from tools.plan.slopes import read_slopes
from wanstreamer.errors import InputError


def test_recordings_have_the_sizes_and_flaws_that_were_asked_for(tmp_path: Path) -> None:
    seen = Recordings(prefix="seen", sessions=2, shortest_s=6, seconds=7, size="96x64", frames_per_s=30, mbit_per_s=0.1)
    met = Recordings(prefix="met", sessions=1, seconds=6, size="96x64", shared_sound=True)
    heard = Recordings(prefix="heard", sessions=1, seconds=6)
    make_recordings(tmp_path, (seen, met, heard), ("alone", "no_consent", "missing", "damaged", "short"))
    assert seen.lengths_s() == [6, 7]
    corpus = look_at(tmp_path, IngestParams(source=str(tmp_path)), PackParams(), codecs={"h264": 1.0})
    summary = corpus.summary()
    assert summary["kept_sessions"] == 4
    assert summary["kept_hours"] == pytest.approx((6 + 7 + 6 + 6) / 3600, rel=0.05)
    assert {stage: dict.fromkeys(reasons, 1) for stage, reasons in summary["rejected"].items()} == {
        "ingest": {"missing_file": 1, "no_consent": 1, "unreadable": 1},
        "pack": {"not_a_dyad": 1, "shorter_than_window": 1},
    }
    header = read_header(tmp_path / "seen-001" / "a.mp4")
    assert (header.width, header.frames_per_s, header.channels) == (96, 30, 1)
    amounts = corpus.amounts()
    assert amounts.spoken_s == pytest.approx(amounts.audio_s)  # the shared microphone has an RTTM


def test_speech_is_heard_in_its_turns() -> None:
    rng = np.random.default_rng(0)
    turns = make_turns(20, rng)
    assert turns["a"] and turns["b"]
    params = AnnotateParams()
    audio = resample(make_speech(20, turns["a"], 104, rng), RATE_HZ)
    spans = speech_spans(load_detector(params)(audio), audio, params)
    spoken_ms = sum(1000 * (end_s - start_s) for start_s, end_s in turns["a"])
    assert 0.6 * spoken_ms < sum(span.duration_ms for span in spans) < 1.1 * spoken_ms
    words = make_words(turns["a"], rng)
    assert all(0 <= word["start_ms"] < word["end_ms"] <= 20_000 for word in words)


def test_every_factor_of_a_stage_differs_between_the_settings(tmp_path: Path) -> None:
    every = settings(tmp_path, cost.SIZES, 1.0)
    assert len({setting.name for setting in every}) == len(every) and {setting.track_size for setting in every} > {
        SMALL
    }
    for stage in STAGES:
        assert sum(stage in setting.stages for setting in every) >= len(FACTORS[stage]) - 1
    assert min(setting.recordings.seconds for setting in every) == LEAST_S


@pytest.mark.long
def test_slopes_of_little_input_are_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stage_costs, "ROUNDS", 1)
    out = tmp_path / "slopes.json"
    args = argparse.Namespace(sizes=["96x64", "128x96"], minutes=0.1, keep=tmp_path / "kept", out=out)
    found = cost.run(args)
    slopes = read_slopes(out)
    assert set(slopes.cpu_s) == set(STAGES) and slopes.start["encode"].ray_s > 0
    assert slopes.codecs["h264"] == 1 and slopes.duplex["flops_per_s"] > 0 and slopes.vae["video_steps"] >= 0
    assert 0 < slopes.bytes_per_frame[1] <= 1.2
    cost.show(found)
    printed = capsys.readouterr().out
    assert "cost per hour of conversation" in printed and "96x64-to-336x192" in printed


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"minutes": 0}, "--minutes 0: expected more than 0"),
        ({"sizes": ["95x64"]}, "--sizes 95x64: expected even numbers"),
        ({"sizes": ["big"]}, "--sizes big: expected even numbers"),
        ({"keep": Path(__file__).parent}, "expected an empty or a new folder, or one of a stopped run"),
    ],
)
def test_a_mistake_is_one_line(changes: dict[str, object], line: str) -> None:
    args = argparse.Namespace(**{"sizes": ["96x64"], "minutes": 1.0, "keep": None, "out": None} | changes)
    with pytest.raises(InputError, match=line):
        cost.run(args)


def test_a_corpus_is_made_in_an_empty_folder_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match="expected an empty or a new folder"):
        recordings.run(argparse.Namespace(corpus="calls", folder=tmp_path))
    recordings.show(json.loads(json.dumps({"manifest": "m.csv", "sessions": 3, "hours": 0.1})))
    assert "m.csv: 3 sessions, 6.0 minutes" in capsys.readouterr().out
