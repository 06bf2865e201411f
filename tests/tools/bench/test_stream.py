"""The bench of two overlapped workers: its figures, and how shares of work and stalls are counted."""

import argparse
import json
from dataclasses import replace
from math import nan, prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tools.bench import soak, stream
from tools.bench.conversation import Setting, load, random_agent
from tools.bench.overlap import StallWatch, not_timed, shares
from wanstreamer.errors import InputError
from wanstreamer.streaming.agent import AgentConfig
from wanstreamer.streaming.machine import Machine


@pytest.mark.parametrize("live", [False, True])
def test_stream_in_two_overlapping_processes(live: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setting = Setting(workers=2, live=live, units_per_point=10)
    found: Any = stream.stream(tmp_path, setting, seconds=1)
    assert (found["workers"], found["self_lag"], found["live"], found["solver_steps"]) == (2, 1, live, 4)
    # Out: keys and values of users and slots, and the noise. Back: the latents.
    config = load(tmp_path, AgentConfig(), setting)[0].model.config
    numbers = prod(config.audio_shape) + prod(config.video_shape)
    tokens = config.layout.num_user + config.layout.num_slots
    history = found["histories"]["full"]
    assert history["handover_bytes"] == 4 * (2 * config.num_layers * tokens * config.d_model + 2 * numbers)
    row = history["at"]["1"]
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
    timed = replace(
        not_timed(3),
        heard_s=np.array([0.0, 1.0, 2.0]),
        answered_s=np.array([1.5, 3.0, 5.0]),
        thinker=np.array([(0.0, 1.0), (1.0, 2.0), (2.9, 3.0), (3.0, 4.0), (nan, nan), (nan, nan)]),
        performer=np.array([(0.5, 1.6), (1.8, 2.8), (3.5, 4.5)]),
        follows=np.array([False, True, True]),
    )
    assert shares(timed, 0, 3) == {"thinker": 0.62, "performer": 0.62, "both": 0.36}
    assert shares(timed, 1, 2) == {"thinker": 0.4, "performer": 0.733, "both": 0.2}
    assert timed.latency_ms.tolist() == [1500, 2000, 3000] and timed.pace_ms.tolist() == [1500, 1500, 2000]
    in_turns = replace(timed, follows=np.array([False, True, False]))  # something else ran from 1.5 to 3.0
    assert in_turns.pace_ms.tolist() == [1500, 1500, 3000]
    assert shares(in_turns, 2, 3) == {"thinker": 0.367, "performer": 0.6, "both": 0.167}
    watch = StallWatch()
    watch.stalls = [(1.2, 1.4), (3.2, 3.3)]
    assert watch.hit(timed.heard_s, timed.answered_s).tolist() == [True, True, True]
    assert watch.hit(np.array([0.0, 1.4, 3.0]), np.array([1.2, 3.2, 3.25])).tolist() == [False, False, True]
    assert watch.figures(np.array([True, False])) == {"number": 2, "longest_ms": 200.0, "units": 1}
    assert not StallWatch().hit(timed.heard_s, timed.answered_s).any()


def test_full_history_and_a_history_limit_stand_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found: Any = stream.stream(tmp_path, Setting(steps=1, units_per_point=5), seconds=1, history_limits=[None, 4])
    assert list(found["histories"]) == ["full", "4"]
    assert found["p95_ms_at_1s"] == found["histories"]["full"]["at"]["1"]["unit"]["p95_ms"]
    stream.show(found)
    said = capsys.readouterr().out
    assert "full history" in said and "4 units" in said


def test_a_long_conversation_is_told_as_memory_drift_and_losses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--hours", "0.005", "--history-units", "8", "--steps", "1", "--data", str(tmp_path)]
    found: Any = parsed(given)
    assert found["units"] == 112 and found["units_lost"] == 0 and found["self_lag"] == 1
    for samples in found["memory_mb"].values():
        assert len(samples) == soak.SAMPLES and all(sample > 50 for sample in samples)
    assert set(found["memory_mb"]) == {"thinker", "performer"}
    for name in ("first", "last"):
        assert 0 < found[name]["p50_ms"] <= found[name]["p95_ms"]
    json.dumps(found)
    stream.show(found)
    assert "112 units, 0 min of conversation" in capsys.readouterr().out


def test_a_scale_needs_no_data_and_says_on_what_it_ran(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--scale", "tiny", "--device", "cpu", "--trunk", "bfloat16", "--graphs", "--workers", "1", "--lag", "0"]
    found: Any = parsed([*given, "--seconds", "1", "--units-per-point", "3", "--steps", "2", "--data", str(tmp_path)])
    assert (found["device"], found["trunk"], found["passes"], found["scale"]) == ("cpu", "bfloat16", "fixed", "tiny")
    assert found["units"] == 6 + 3 and not found["trained"] and not found["recorded_media"]
    json.dumps(found)
    stream.show(found)
    assert "bfloat16 random weights" in capsys.readouterr().out


def test_a_larger_scale_has_the_vaes_of_its_size() -> None:
    """Without numbers; its media are 336x192 and 24 kHz."""
    agent = random_agent("small", AgentConfig(max_units=1), Machine(device="meta"))
    assert agent.frame_shape == (4, 192, 336, 3) and agent.num_samples == 3840
    assert agent.video_vae.config.latent_shape == agent.model.config.video_shape
    assert agent.audio_vae.config.channels == agent.model.config.audio_channels


def parsed(arguments: list[str]) -> dict[str, object]:
    parser = argparse.ArgumentParser()
    stream.add(parser.add_subparsers())
    return stream.run(parser.parse_args(["stream", *arguments]))


def test_impossible_lengths_are_refused(tmp_path: Path) -> None:
    for given, said in (
        (["--seconds", "0"], "--seconds 0"),
        (["--threads", "2"], "--workers 2 --threads 2"),
        (["--steps", "0"], "--steps 0"),
        (["--units-per-point", "0"], "--units-per-point 0"),
        (["--compile"], "choose passes fixed or graphs"),
        (["--hours", "1"], "pass one --history-units"),
        (["--hours", "1", "--history-units", "8", "9"], "pass one --history-units"),
        (["--hours", "0.001", "--history-units", "100"], "expected 158 or more with --history-units 100"),
        (["--history-units", "some"], "--history-units some: expected a number of units, or full"),
        (["--data", "nowhere"], "--data nowhere: no such data folder; leave out --data"),
    ):
        with pytest.raises(InputError, match=said):
            parsed(["--data", str(tmp_path), *given])
