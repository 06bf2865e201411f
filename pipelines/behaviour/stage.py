"""Trained model and baselines, free running -> figures of behaviour, pictures and a film of one conversation.

Every agent is judged twice: against recorded users of held-out sessions (`recorded`), and in conversation with users
who react to it (`simulated`). `timing` and `looks` define the figures.
"""

import importlib.util
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.behaviour.activity import sounding_spans
from pipelines.behaviour.drawing import Lane, draw_lanes, draw_onsets
from pipelines.behaviour.fdb import timed_words, write_fdb
from pipelines.behaviour.figures import Figure, figures_of_looks, figures_of_timing, summarize
from pipelines.behaviour.params import BehaviourParams
from pipelines.behaviour.play import Played
from pipelines.behaviour.players import (
    Cascade,
    Copy,
    Ignoring,
    Model,
    Player,
    Replay,
    Samples,
    Shuffled,
    Silence,
    Turns,
)
from pipelines.behaviour.recorded import (
    Recording,
    find_views,
    read_recording,
    run_recorded,
    strangers,
    turn_bank,
)
from pipelines.behaviour.runs import write_runs
from pipelines.behaviour.simulated import Partner, run_simulated
from pipelines.behaviour.timing import Observed
from pipelines.engine.inputs import require_media
from pipelines.engine.progress import progress
from pipelines.engine.run import RunParams
from pipelines.engine.tables import read_rows
from pipelines.engine.timings import write_timings
from pipelines.media.captions import captioned
from pipelines.media.tracks import read_frames, write_video
from wanstreamer.clock import FRAMES_PER_UNIT, UNIT_MS, whole_units_in_ms
from wanstreamer.streaming.agent import Agent, load_agent
from wanstreamer.windows.loader import open_windows, read_manifest

TRUTH, MODEL = "truth", "model"
SCALE = 4  # of the film
DRAWN = (MODEL, "ignoring", "cascade")  # shown with the user who reacts
Observations = dict[str, dict[str, list[Observed]]]  # agent -> session -> observations


def run(data: Path, params: BehaviourParams, how: RunParams, *, fdb: Path | None = None) -> dict[str, Any]:
    """Write `reports/behaviour/`, and the folder `fdb` if it is named; return the figures.

    One process and thread: float sums depend on the order.
    """
    began_s = time.monotonic()
    torch.set_num_threads(1)
    if "test" not in {shard["split"] for shard in read_manifest(data / "windows").shards}:
        return {"skipped": "no held-out session; add speakers until some are assigned to test"}
    views, left_out = find_views(data, params.conversations)
    if not views:
        return {"skipped": "no held-out session has sound and picture of two people", "left_out": left_out}
    model_agent = load_agent(data, params)
    windows = open_windows(data / "windows", "test")
    recording = read_recording(data, model_agent, windows, views, params.num_units, params.given_units)
    bank = turn_bank(data, model_agent.audio_vae.config.rate_hz, params.bank_turns)
    figures = {**figures_of_timing(params.latency_ms), **figures_of_looks(params.at_seconds)}
    folder = data / "reports" / "behaviour"
    folder.mkdir(parents=True, exist_ok=True)
    observations, played = play_recorded(recording, model_agent, bank, params)
    truth = observations[TRUTH]
    if fdb is not None:
        export_fdb(fdb, recording, played[MODEL], model_agent, windows.manifest.text_lead_units)
    report(folder, recording, observations, played, params)
    film(data, folder / "conversation.mp4", recording, model_agent, played[MODEL])
    write_runs(folder / "runs", views, played[MODEL], model_agent.audio_vae.config.rate_hz)
    recorded = {
        "conversations": len(views),
        "sessions": len(truth),
        "left_out": left_out,
        "agents": _figures(figures, observations, truth, params),
    }
    with_users = simulated(folder, model_agent, bank, truth, figures, params)
    write_timings(data, "behaviour", {"wall_s": round(time.monotonic() - began_s, 1), "workers": how.num_workers})
    return {"recorded": recorded, "simulated": with_users}


def export_fdb(folder: Path, recording: Recording, played: Played, model_agent: Agent, lead_units: int) -> None:
    """Write Full-Duplex-Bench's folders, and print how many there are, and what is missing."""
    tokens_BKS = played.tokens_BKS if model_agent.tokenizer is not None else None
    words = None
    if tokens_BKS is not None:
        words = [timed_words(tokens_KS, model_agent.words, lead_units) for tokens_KS in tokens_BKS]
    counts = write_fdb(
        folder, recording.views, played.user_BT, played.agent_BT, model_agent.audio_vae.config.rate_hz, words,
        given_units=recording.text_BKS.shape[1], num_units=recording.num_units,
    )  # fmt: skip
    left_out = counts.pop("views_not_shown", 0)
    print(f"behaviour: {folder}: " + ", ".join(f"{count} {task}" for task, count in counts.items()), file=sys.stderr)
    if left_out:
        print(f"behaviour: {left_out} conversations left out: someone has not agreed to `show`", file=sys.stderr)
    if words is None:
        print("behaviour: no output.json: the model has no tokenizer; run the benchmark's recogniser", file=sys.stderr)


def simulated(
    folder: Path,
    model_agent: Agent,
    bank: Sequence[Samples],
    truth: Mapping[str, list[Observed]],
    figures: Mapping[str, Figure],
    params: BehaviourParams,
) -> dict[str, Any]:
    """Figures of conversations with the sample's users; distances are from the recorded truth, which is listed too."""
    if not params.users:
        return {"skipped": "behaviour.users is 0"}
    if importlib.util.find_spec("espeakng_loader") is None:
        return {"skipped": "users who react need the voices of the extra `sample`: install it"}
    from pipelines.conversation.partner import open_partners

    def open_users() -> AbstractContextManager[Sequence[Partner]]:
        size = model_agent.video_vae.config
        return open_partners(
            params.users,
            seed=params.seed,
            seconds=params.user_seconds,
            width=size.width,
            height=size.height,
            rate_hz=model_agent.audio_vae.config.rate_hz,
        )

    offsets_ms = [float(ms) for session in truth.values() for observed in session for ms in observed["offset_ms"][:, 0]]
    observations, users = play_simulated(open_users, model_agent, bank, offsets_ms, params)
    (folder / "simulated.svg").write_text(draw_simulated(users, model_agent.audio_vae.config.rate_hz), encoding="utf-8")
    return {
        "conversations": params.users,
        "agents": {TRUTH: _figures(figures, {TRUTH: dict(truth)}, truth, params)[TRUTH]}
        | _figures(figures, observations, truth, params),
    }


def play_recorded(
    recording: Recording, model_agent: Agent, bank: Sequence[Samples], params: BehaviourParams
) -> tuple[Observations, dict[str, Played]]:
    """Every agent against the recorded users."""
    onsets_ms = [view.agent_onsets_ms for view in recording.views]
    truth = {TRUTH: lambda: Replay(model_agent, *recording.agent, watched=params.watched)}
    players = truth | players_of(model_agent, bank, params, order=strangers(recording.views), onsets_ms=onsets_ms)
    observations: Observations = {}
    played: dict[str, Played] = {}
    # Only the model's drift is measured for longer than the recording.
    num_units = {name: recording.num_units if name == MODEL else recording.session_units for name in players}
    with progress(sum(num_units.values()), "recorded users") as advance:
        for name, make in players.items():
            observations[name], played[name] = run_recorded(
                recording, model_agent, make(), num_units=num_units[name], seconds=params.at_seconds, advance=advance
            )
    return observations, played


def play_simulated(
    open_users: Callable[[], AbstractContextManager[Sequence[Partner]]],
    model_agent: Agent,
    bank: Sequence[Samples],
    offsets_ms: Sequence[float],
    params: BehaviourParams,
) -> tuple[Observations, dict[str, Played]]:
    """Every agent with the same users, created again for each. `offsets_ms`: the truth's offsets after turn ends."""
    count = params.users
    players = players_of(
        model_agent,
        bank,
        params,
        order=[(place + 1) % count for place in range(count)],
        onsets_ms=[[] for _ in range(count)],
        offsets_ms=offsets_ms,
    )
    observations: Observations = {}
    played: dict[str, Played] = {}
    num_units = whole_units_in_ms(params.user_seconds * 1000)
    with progress(len(players) * num_units, "users who react") as advance:
        for name, make in players.items():
            with open_users() as partners:
                observations[name], played[name] = run_simulated(
                    partners, model_agent, make(), num_units=num_units, seconds=params.at_seconds, advance=advance
                )
    return observations, played


def players_of(
    model_agent: Agent,
    bank: Sequence[Samples],
    params: BehaviourParams,
    *,
    order: Sequence[int],
    onsets_ms: Sequence[Sequence[int]],
    offsets_ms: Sequence[float] = (),
) -> dict[str, Callable[[], Player]]:
    """The model and its baselines for len(order) conversations; the shuffled model of conversation b hears the user of
    conversation order[b]."""
    seeds = [params.seed * 1_000_003 + place for place in range(len(order))]
    rate_hz = model_agent.audio_vae.config.rate_hz
    max_units = params.max_conversation_units

    def model(watched: int) -> Model:
        return Model(model_agent, seeds=seeds, max_units=max_units, watched=watched)

    return {
        MODEL: lambda: model(params.watched),
        "shuffled user": lambda: Shuffled(model(0), order),
        "ignoring": lambda: Ignoring(Turns(bank, seeds), rate_hz=rate_hz, onsets_ms=onsets_ms, offsets_ms=offsets_ms),
        "cascade": lambda: Cascade(Turns(bank, seeds), rate_hz=rate_hz),
        "copy": Copy,
        "silence": Silence,
    }


def _figures(
    figures: Mapping[str, Figure],
    observations: Observations,
    truth: Mapping[str, list[Observed]],
    params: BehaviourParams,
) -> dict[str, Any]:
    return {
        name: summarize(figures, sessions, truth, resamples=params.resamples, seed=params.seed)
        for name, sessions in observations.items()
    }


def report(
    folder: Path,
    recording: Recording,
    observations: Observations,
    played: Mapping[str, Played],
    params: BehaviourParams,
) -> None:
    """`onsets.svg`, and `conversation.svg` of the first recorded user with every agent."""
    offsets_ms = {
        name: np.concatenate([observed["offset_ms"][:, 0] for session in sessions.values() for observed in session])
        for name, sessions in observations.items()
    }
    title = "When agents begin to speak after a turn of a recorded user"
    (folder / "onsets.svg").write_text(draw_onsets(title, offsets_ms), encoding="utf-8")
    view = recording.views[0]
    rate_hz = played[MODEL].user_BT.shape[1] * 1000 // (recording.num_units * UNIT_MS)
    lanes = [Lane(title="user", sound=view.user_speech, is_user=True, stimuli=view.stimuli)]
    lanes += [Lane(title=name, sound=sounding_spans(run.agent_BT[0], rate_hz)) for name, run in played.items()]
    drawn = draw_lanes(
        f"Session {view.session_id}: every agent in the place of {view.agent}",
        lanes,
        start_ms=params.given_units * UNIT_MS,
        end_ms=min(view.num_units, recording.num_units) * UNIT_MS,
    )
    (folder / "conversation.svg").write_text(drawn, encoding="utf-8")


def draw_simulated(played: Mapping[str, Played], rate_hz: int) -> str:
    """The first user with every agent: the same person does different things with each."""
    lanes = []
    for name in DRAWN:
        conversations = played[name]
        lanes += [
            Lane(
                title="user",
                sound=sounding_spans(conversations.user_BT[0], rate_hz),
                is_user=True,
                stimuli=conversations.stimuli[0],
            ),
            Lane(title=name, sound=sounding_spans(conversations.agent_BT[0], rate_hz)),
        ]
    end_ms = played[MODEL].user_BT.shape[1] * 1000 // rate_hz
    return draw_lanes("One user who reacts, with several agents", lanes, start_ms=0, end_ms=end_ms)


def film(data: Path, path: Path, recording: Recording, model_agent: Agent, played: Played) -> None:
    """User and model side by side, with the sound of both: the first view whose two people agreed to be shown."""
    watched = 0 if played.frames_BTHWC is None else len(played.frames_BTHWC)
    place = next((i for i, view in enumerate(recording.views[:watched]) if view.may_show), None)
    if place is None or played.frames_BTHWC is None:
        path.unlink(missing_ok=True)
        return
    view = recording.views[place]
    track = next(
        row
        for row in read_rows(data, "tracks", filters=[("session_id", "=", view.session_id)])
        if row["participant"] == view.user
    )
    num_frames = min(view.num_units, recording.num_units) * FRAMES_PER_UNIT
    history_frames = recording.text_BKS.shape[1] * FRAMES_PER_UNIT
    require_media(data, track, "video")
    user_frames = read_frames(data / track["video_path"], 0, num_frames)
    agent_frames = played.frames_BTHWC[place, :num_frames]
    middle = [
        captioned(agent_frames[:history_frames], "given", SCALE),
        captioned(agent_frames[history_frames:], "model, alone", SCALE),
    ]
    picture = np.concatenate(
        [captioned(user_frames, "user", SCALE), np.concatenate([part for part in middle if len(part)])], axis=2
    )
    count = num_frames // FRAMES_PER_UNIT * model_agent.num_samples
    mixed = played.user_BT[place, :count] + played.agent_BT[place, :count]
    sound = (mixed / max(1.0, float(np.abs(mixed).max()))).astype(np.float32)
    write_video(path, picture, sound, model_agent.audio_vae.config.rate_hz)
