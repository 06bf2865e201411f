"""The behaviour stage on a tiny corpus: stimuli from tables, all agents, same bytes twice; and users who react."""

import json
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from pipelines.behaviour import stage as behaviour
from pipelines.behaviour.__main__ import main, show
from pipelines.behaviour.players import Copy, Silence
from pipelines.behaviour.recorded import find_views, read_recording, strangers, turn_bank
from pipelines.behaviour.simulated import run_simulated
from pipelines.behaviour.stage import BehaviourParams, play_simulated
from pipelines.conversation.stimuli import KINDS, Stimulus
from pipelines.engine.params import build_params
from pipelines.engine.run import RunParams
from pipelines.media.tracks import read_wav
from tests.helpers.behaviour_fixtures import UNITS, write_data
from tests.helpers.live_fixtures import small_agent
from tools.show.runs import read_run
from wanstreamer.clock import UNIT_MS
from wanstreamer.errors import InputError
from wanstreamer.streaming.agent import load_agent
from wanstreamer.windows.loader import open_windows

PARAMS = BehaviourParams(
    seconds=10, conversations=4, users=0, given_units=4, watched=1, at_seconds=(4,), steps=2, bank_turns=4, resamples=20
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("behaviour") / "data")


def test_stimuli_are_what_the_user_did(data: Path) -> None:
    views, left_out = find_views(data, 9)
    assert [(view.session_id, view.agent) for view in views] == [("s0", "a"), ("s1", "a"), ("s0", "b"), ("s1", "b")]
    assert left_out == {}
    heard_a, heard_b = views[2], views[0]
    assert heard_a.stimuli == [
        Stimulus("pause", 5700, 6000),
        Stimulus("turn_end", 300, 2100),
        Stimulus("turn_end", 5000, 6600),
    ]
    assert heard_b.stimuli == [Stimulus("turn_end", 2500, 4300)]
    assert heard_a.agent_onsets_ms == [2500, 7100] and heard_a.user_speech[0] == (300, 2100)
    limited, left_out = find_views(data, 3)
    assert [view.session_id for view in limited] == ["s0", "s1", "s0"] and left_out == {"over_the_limit": 1}
    assert [views[other].session_id for other in strangers(views)] == ["s1", "s0", "s1", "s0"]


def test_what_is_played_is_the_recording_over_and_over(data: Path) -> None:
    agent = load_agent(data)
    views, _ = find_views(data, 2)
    recording = read_recording(data, agent, open_windows(data / "windows", "test"), views, UNITS + 5, 4)
    users = recording.users(agent)
    first, again = users.step(2, None), users.step(UNITS + 2, None)
    assert np.array_equal(first.samples_BT, again.samples_BT) and (first.audio_BNC == again.audio_BNC).all()
    assert first.history is not None and again.history is None
    assert len(first.history.text_BS) == 2
    assert np.abs(users.step(16, None).samples_BT).max() > 0.05  # b, from 2500 ms on
    with pytest.raises(InputError, match="given_units 70: session s0 has 60 units"):
        read_recording(data, agent, open_windows(data / "windows", "test"), views, 80, 70)


def test_the_bank_holds_whole_turns_of_train(data: Path) -> None:
    bank = turn_bank(data, 16_000, 10)
    assert sorted(len(turn) for turn in bank) == sorted((end - start + 60) * 16 for start, end in TRAIN_TURNS)
    assert len(turn_bank(data, 16_000, 2)) == 2


TRAIN_TURNS = [(300, 2100), (5000, 6600), (2500, 4300), (7100, 7900)]


def test_the_stage_judges_every_agent_and_repeats_byte_for_byte(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = data.parent / "fdb"
    runs = [
        json.dumps(behaviour.run(data, PARAMS, RunParams(workers=1), fdb=fdb), allow_nan=False)
        for fdb in (None, written)
    ]
    [turn] = {path.parent.name for path in written.glob("turn_taking/s0-a-*/turn_taking.json")}
    assert {path.name for path in (written / "turn_taking" / turn).iterdir()} >= {"input.wav", "output.wav"}
    [about, *_] = [json.loads(path.read_text()) for path in sorted(data.glob("reports/behaviour/runs/*/run.json"))]
    assert read_run(data, about["session_id"], "reports/behaviour/runs/000") == about
    assert len(read_wav(data / "reports/behaviour/runs/000/agent.wav")[0]) == about["duration_ms"] * 16
    folder = data / "reports" / "behaviour"
    pictures = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert runs[0] == runs[1]
    assert set(pictures) == {"onsets.svg", "conversation.svg", "conversation.mp4"}
    for name in ("onsets.svg", "conversation.svg"):
        assert pictures[name].startswith(b"<svg")
    figures = json.loads(runs[0])["recorded"]
    assert figures["conversations"] == 4 and figures["sessions"] == 2
    agents = figures["agents"]
    assert list(agents) == ["truth", "model", "shuffled user", "ignoring", "cascade", "copy", "silence"]
    truth = agents["truth"]
    assert truth["answered"]["value"] == 1 and truth["answered"]["n"] == 6
    assert truth["offset_w1_ms"]["value"] == 0 and abs(truth["offset_median_ms"]["value"] - 500) < 200
    assert truth["talking_over"]["value"] < 0.02 and truth["cut_into_pause"]["value"] in (None, 0)
    assert agents["silence"]["answered"]["value"] == 0 and agents["silence"]["sounding"]["value"] == 0
    assert agents["cascade"]["answered"]["value"] > 0
    assert abs(agents["ignoring"]["offset_median_ms"]["value"] - truth["offset_median_ms"]["value"]) < 150
    assert truth["identity_4s"]["value"] > 0.85 and agents["model"]["identity_4s"]["n"] == 1
    show(json.loads(runs[0]))
    printed = capsys.readouterr().out
    assert "response onset" in printed and "behaviour.users is 0" in printed


def test_help_lists_the_option_of_its_own(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["behaviour", "--help"])
    with pytest.raises(SystemExit):
        main()
    printed = capsys.readouterr().out
    assert printed.startswith("usage: ") and "  --json                print the figures as JSON" in printed


def test_without_held_out_people_it_says_so(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(behaviour, "find_views", lambda *_: ([], {"user_audio_masked": 2}))
    assert behaviour.run(data, PARAMS, RunParams(workers=1))["left_out"] == {"user_audio_masked": 2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"users": -1}, "behaviour.users: -1; expected 0 or more"),
        ({"given_units": 75}, "behaviour.given_units: 75; expected fewer than the 75 units"),
        ({"watched": -1}, "0 or more"),
    ],
)
def test_wrong_params_are_named(changes: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_params(BehaviourParams, {"seconds": 12, **changes}, "behaviour")


class Scripted:
    """Hums in units 4 to 10, then waits; breaks in after it has heard three units of the agent."""

    def __init__(self) -> None:
        self.stimuli: list[Stimulus] = []
        self.unit = self.heard = 0
        self.speaks_until = 0
        self.levels: list[float] = []

    def step(self, agent_samples: np.ndarray, *, draw: bool = True) -> tuple[np.ndarray | None, np.ndarray]:
        self.levels.append(float(np.abs(agent_samples).max()))
        self.heard += self.levels[-1] > 0.01
        now_ms = self.unit * UNIT_MS
        if self.unit == 11:
            self.stimuli.append(Stimulus("turn_end", 4 * UNIT_MS, now_ms))
        if self.heard == 3 and not self.speaks_until:
            self.stimuli.append(Stimulus("interruption", now_ms, now_ms + 5 * UNIT_MS))
            self.speaks_until = self.unit + 5
        speaks = 4 <= self.unit < 11 or self.unit < self.speaks_until
        samples = 0.1 * np.sin(np.arange(2560) / 12) * speaks
        self.unit += 1
        return np.full((4, 48, 64, 3), 90, np.uint8) if draw else None, samples.astype(np.float32)


def test_users_who_react_hear_the_unit_before() -> None:
    agent = small_agent(max_units=20)
    partners = [Scripted(), Scripted()]
    observations, played = run_simulated(partners, agent, Copy(), num_units=20, seconds=(2,), advance=lambda: None)
    # Copy says in unit 5 what was heard in 4; the partner hears that in 6.
    assert np.flatnonzero(np.array(partners[0].levels) > 0.01)[0] == 6
    assert played.agent_BT.shape == (2, 20 * 2560) and set(observations) == {"user-000", "user-001"}
    silent, _ = run_simulated([Scripted()], agent, Silence(), num_units=40, seconds=(), advance=lambda: None)
    assert silent["user-000"][0]["answered"].tolist() == [[0]] and len(silent["user-000"][0]["stopped"]) == 0


def test_every_agent_talks_with_users_who_react() -> None:
    agent = small_agent(max_units=60)
    bank = [np.full(16_000 * 3, 0.1, np.float32)]
    params = BehaviourParams(user_seconds=9, users=2, watched=1, at_seconds=(4,), resamples=5)
    observations, played = play_simulated(lambda: nullcontext([Scripted(), Scripted()]), agent, bank, [300.0], params)
    assert behaviour.draw_simulated(played, 16_000).startswith("<svg")
    assert list(observations) == ["model", "shuffled user", "ignoring", "cascade", "copy", "silence"]
    ignoring, cascade = (observations[name]["user-000"][0] for name in ("ignoring", "cascade"))
    assert ignoring["offset_ms"].tolist() == [[300]]
    assert ignoring["stopped"].tolist() == [[0]] and cascade["stopped"].tolist() == [[1]]


def test_kinds_are_known() -> None:
    assert set(KINDS) == {"turn_end", "pause", "interruption", "backchannel", "shown"}
