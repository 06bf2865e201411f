"""The bench of two overlapped workers: its figures, and how shares of work and stalls are counted."""

import json
from math import prod
from pathlib import Path
from typing import Any

import pytest

from tools.bench import stream
from tools.bench.overlap import StallWatch, Timed, shares
from wanstreamer.errors import InputError
from wanstreamer.streaming.session import SessionConfig


@pytest.mark.parametrize("live", [False, True])
def test_stream_in_two_overlapping_processes(
    live: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "UNITS_PER_POINT", 10)
    found: Any = stream.stream(tmp_path, seconds=1, threads=1, steps=2, workers=2, lag=1, live=live)
    assert (found["workers"], found["self_lag"], found["live"]) == (2, 1, live)
    # Out: keys and values of users and slots, and the noise. Back: the latents.
    config = stream._session(tmp_path, SessionConfig())[0].model.config
    numbers = prod(config.audio_shape) + prod(config.video_shape)
    tokens = config.layout.num_user + config.layout.num_slots
    assert found["handover_bytes"] == 4 * (2 * config.num_layers * tokens * config.d_model + 2 * numbers)
    row = found["at"]["1"]
    share = row["share_at_work"]
    assert 0 <= share["both"] <= min(share["thinker"], share["performer"]) <= 1
    assert share["thinker"] + share["performer"] - share["both"] <= 1.001
    assert 0 < row["handover_us"]["p50"] <= row["handover_us"]["p95"]
    assert found["p95_ms_at_1s"] == row["unit"]["p95_ms"]
    if live:
        assert row["pace"]["p50_ms"] > 100
    else:
        assert share["both"] > 0 and row["unit"]["p50_ms"] > row["pace"]["p50_ms"]
    json.dumps(found)
    stream.show(found)
    assert "hand-over of" in capsys.readouterr().out


def test_shares_of_work_and_stalls() -> None:
    timed = Timed(
        heard_s=[0.0, 1.0, 2.0],
        answered_s=[1.5, 3.0, 5.0],
        thinker=[(0.0, 1.0), (1.0, 2.0), (2.9, 3.0), (3.0, 4.0)],
        performer=[(0.5, 1.6), (1.8, 2.8), (3.5, 4.5)],
    )
    assert shares(timed, 0, 3) == {"thinker": 0.62, "performer": 0.62, "both": 0.36}
    assert shares(timed, 1, 2) == {"thinker": 0.4, "performer": 0.733, "both": 0.2}
    assert timed.latency_ms.tolist() == [1500, 2000, 3000] and timed.pace_ms.tolist() == [1500, 1500, 2000]
    watch = StallWatch()
    watch.stalls = [(1.2, 1.4), (3.2, 3.3)]
    assert watch.hit(timed.heard_s, timed.answered_s).tolist() == [True, True, True]
    assert watch.hit([0.0, 1.4, 3.0], [1.2, 3.2, 3.25]).tolist() == [False, False, True]


def test_impossible_lengths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--seconds 0"):
        stream.stream(tmp_path, seconds=0, threads=1, steps=2)
    with pytest.raises(InputError, match="--workers 2 --threads 2"):
        stream.stream(tmp_path, seconds=1, threads=2, steps=2, workers=2)
