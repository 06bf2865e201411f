"""Held-out sessions -> every agent in the place of one participant, hearing and seeing the recording of the other.

A recorded user does not react. This part asks whether the agent reacts to the user: onsets after turn ends, pauses,
sound where it should be silent, backchannels, its mouth, drift. Interruptions and backchannels of the recording met the
recorded agent's speech. If the evaluated agent happens to speak there too, it should stop, or go on; but such places
are few and differ between agents, so `simulated` measures them. If an agent talks into the user's turn, the user goes
on as if nothing had happened.

What the user did is read from the annotation tables. A turn end counts if the recorded agent took over after it or near
its end. A turn that the same user continued, or that the recorded agent broke off by an interruption, needs no answer.
Conversations begin with true history. A conversation that is longer than the session plays the user's recording again;
that part counts for drift only.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.behaviour.activity import sounding_spans
from pipelines.behaviour.looks import observe_looks
from pipelines.behaviour.play import Played, play
from pipelines.behaviour.players import History, Player, Replay, UserUnit
from pipelines.behaviour.timing import Conversation, Observed, observe
from pipelines.conversation.stimuli import Stimulus
from pipelines.engine.inputs import require_media
from pipelines.engine.tables import TableRow, read_rows
from pipelines.formats.latents import latents_at
from pipelines.media.tracks import read_wav
from wanstreamer.clock import FRAME_MS, UNIT_MS, Span, merge_spans
from wanstreamer.errors import InputError
from wanstreamer.streaming.agent import Agent
from wanstreamer.windows.loader import Windows, session_text

TURN_ENDING = ("smooth_shift", "terminal_overlap", "pause_interruption")  # after these the agent has the floor
TURN_MS = (800, 6000)  # length of a turn that the baselines speak
TURN_EDGE_MS = 30  # of the recording before and after its speech
CLUSTER_MS = 1000  # "mhm", "yeah": one backchannel if less time lies between them (the turn rules)


@dataclass(frozen=True, kw_only=True)
class View:
    """One session with one participant as the user: what happened in it."""

    session_id: str
    agent: str
    user: str
    num_units: int
    stimuli: list[Stimulus]
    user_speech: list[Span]
    agent_onsets_ms: list[int]  # of the recorded agent's turns
    may_show: bool  # both agreed


class RecordedUsers:
    """B recorded users, and the first `given_units` of the agents that they talked to."""

    def __init__(
        self,
        samples_BT: NDArray[np.float32],
        user: tuple[Tensor, Tensor],
        agent: tuple[Tensor, Tensor],
        text_BKS: NDArray[np.int32],
        *,
        unit_samples: int,
    ) -> None:
        self.samples_BT, self.user, self.agent, self.text_BKS = samples_BT, user, agent, text_BKS
        self.unit_samples = unit_samples

    def step(self, unit: int, agent_samples_BT: NDArray[np.float32] | None) -> UserUnit:
        history = None
        if unit < self.text_BKS.shape[1]:
            history = History(
                audio_BNC=self.agent[0][:, unit],
                video_BCHW=self.agent[1][:, unit],
                text_BS=self.text_BKS[:, unit].tolist(),
            )
        start = unit * self.unit_samples
        return UserUnit(
            unit=unit,
            audio_BNC=self.user[0][:, unit],
            video_BCHW=self.user[1][:, unit],
            samples_BT=self.samples_BT[:, start : start + self.unit_samples],
            history=history,
        )


def find_views(data: Path, limit: int) -> tuple[list[View], dict[str, int]]:
    """Views of held-out sessions, each session once before any session twice; and how many are left out, by reason."""
    windows = read_rows(data, "windows", filters=[("split", "=", "test")])
    masked: Counter[tuple[str, str, str]] = Counter()
    for row in windows:
        masked[row["session_id"], row["agent"], row["user"]] += row["user_audio_masked_units"]
    latents = {(row["session_id"], row["participant"]): row for row in read_rows(data, "latents")}
    tracks = {(row["session_id"], row["participant"]): row for row in read_rows(data, "tracks")}
    tables = {name: _by_session(data, name) for name in ("turns", "ipus", "events", "speech")}
    left_out: Counter[str] = Counter()
    turns_of: Counter[str] = Counter()
    ranked: list[tuple[int, View]] = []
    for session_id, agent, user in sorted(masked):
        pair = [latents[session_id, who] for who in (agent, user)]
        if masked[session_id, agent, user]:
            left_out["user_audio_masked"] += 1  # it is mixed, or contains the agent's voice
        elif not all(row["video_member"] and row["audio_member"] for row in pair):
            left_out["no_picture_or_no_sound"] += 1
        else:
            rows = {name: sessions[session_id] for name, sessions in tables.items()}
            view = View(
                session_id=session_id,
                agent=agent,
                user=user,
                num_units=min(row["num_units"] for row in pair),
                stimuli=stimuli_of(rows, agent, user),
                user_speech=merge_spans(_span(row) for row in rows["speech"] if row["participant"] == user),
                agent_onsets_ms=sorted(
                    row["start_ms"] for row in rows["turns"] if row["participant"] == agent and row["is_primary"]
                ),
                may_show=all("show" in (tracks[session_id, who]["consent"] or ()) for who in (agent, user)),
            )
            ranked.append((turns_of[session_id], view))
            turns_of[session_id] += 1
    ranked.sort(key=lambda pair: (pair[0], pair[1].session_id))
    if len(ranked) > limit:
        left_out["over_the_limit"] = len(ranked) - limit
    return [view for _, view in ranked[:limit]], dict(sorted(left_out.items()))


def stimuli_of(rows: dict[str, list[TableRow]], agent: str, user: str) -> list[Stimulus]:
    """What the user of one session did, from its rows of turns, ipus and events."""
    turns = [row for row in rows["turns"] if row["participant"] == user and row["is_primary"]]
    ipus = sorted(_span(row) for row in rows["ipus"] if row["participant"] == user)
    stimuli = []
    for event in rows["events"]:
        if event["kind"] != "transition":
            continue
        if event["participant"] == agent and event["label"] in TURN_ENDING and event["fto_ms"] is not None:
            end_ms = event["start_ms"] - event["fto_ms"]
            stimuli += [Stimulus("turn_end", turn["start_ms"], end_ms) for turn in turns if turn["end_ms"] == end_ms]
        if event["participant"] == user and event["outcome"] == "floor_taking":
            stimuli += [
                Stimulus("interruption", turn["start_ms"], turn["end_ms"])
                for turn in turns
                if turn["start_ms"] == event["start_ms"]
            ]
    for turn in turns:
        inside = [ipu for ipu in ipus if turn["start_ms"] <= ipu.start_ms and ipu.end_ms <= turn["end_ms"]]
        stimuli += [
            Stimulus("pause", ipu.end_ms, following.start_ms)
            for ipu, following in zip(inside, inside[1:], strict=False)
            if ipu.end_ms < following.start_ms
        ]
    mhms = merge_spans(
        (_span(row) for row in rows["events"] if row["kind"] == "backchannel" and row["participant"] == user),
        CLUSTER_MS,
    )
    stimuli += [Stimulus("backchannel", mhm.start_ms, mhm.end_ms) for mhm in mhms]
    return sorted(stimuli)


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Media of B views over K units; shorter sessions are repeated."""

    views: list[View]
    num_units: int
    user_samples_BT: NDArray[np.float32]
    user: tuple[Tensor, Tensor]  # latents: audio (B, K, N, C), video (B, K, C, H, W)
    agent: tuple[Tensor, Tensor]
    text_BKS: NDArray[np.int32]  # the agents' words in the units of history

    @property
    def session_units(self) -> int:
        """Units of the longest session, without repetition."""
        return min(self.num_units, max(view.num_units for view in self.views))

    def users(self, model_agent: Agent) -> RecordedUsers:
        return RecordedUsers(
            self.user_samples_BT, self.user, self.agent, self.text_BKS, unit_samples=model_agent.num_samples
        )


def read_recording(
    data: Path, model_agent: Agent, windows: Windows, views: list[View], num_units: int, given_units: int
) -> Recording:
    """Read latents and sound of the views. Raises InputError if a session is not longer than its history."""
    tracks = {(row["session_id"], row["participant"]): row for row in read_rows(data, "tracks")}
    latents = {(row["session_id"], row["participant"]): row for row in read_rows(data, "latents")}
    parts: dict[str, list[Any]] = defaultdict(list)
    for view in views:
        if view.num_units <= given_units:
            raise InputError(
                f"behaviour.given_units {given_units}: session {view.session_id} has {view.num_units} units; "
                "expected fewer"
            )
        length = view.num_units * model_agent.num_samples
        samples = _sound(data, tracks[view.session_id, view.user])
        parts["samples"].append(np.resize(samples[:length], num_units * model_agent.num_samples))
        for role, who in (("user", view.user), ("agent", view.agent)):
            row = latents[view.session_id, who]
            for kind in ("audio", "video"):
                place = latents_at(data, row, kind)
                assert place is not None  # find_views leaves out who has none
                mapped = place.mapped()
                parts[f"{role}_{kind}"].append(mapped[np.arange(num_units) % view.num_units].astype(np.float32))
        parts["text"].append(session_text(windows, view.session_id, view.agent, given_units))

    def latents_of(role: str) -> tuple[Tensor, Tensor]:
        audio, video = (torch.from_numpy(np.stack(parts[f"{role}_{kind}"])) for kind in ("audio", "video"))
        return audio, video

    return Recording(
        views=views,
        num_units=num_units,
        user_samples_BT=np.stack(parts["samples"]).astype(np.float32),
        user=latents_of("user"),
        agent=latents_of("agent"),
        text_BKS=np.stack(parts["text"]),
    )


def _sound(data: Path, track: Mapping[str, Any]) -> NDArray[np.float32]:
    require_media(data, track, "audio")
    return read_wav(data / track["audio_path"])[0]


def strangers(views: Sequence[View]) -> list[int]:
    """For each view the next view (cyclic) of another session; the view itself if there is no other."""
    count = len(views)
    return [
        next(
            (
                (place + step) % count
                for step in range(1, count)
                if views[(place + step) % count].session_id != view.session_id
            ),
            place,
        )
        for place, view in enumerate(views)
    ]


def turn_bank(data: Path, rate_hz: int, limit: int) -> list[NDArray[np.float32]]:
    """The sound of whole turns of people of the train split, taken evenly from all of them: what the baselines speak.

    Raises InputError if there is none.
    """
    tracks = {
        (row["session_id"], row["participant"]): row
        for row in read_rows(data, "tracks", filters=[("split", "=", "train")])
        if row["audio_path"] and not row["mixed"] and row["rate_hz"] == rate_hz
    }
    turns = [
        row
        for row in read_rows(data, "turns")
        if (row["session_id"], row["participant"]) in tracks
        and row["is_primary"]
        and row["complete"] is not False
        and TURN_MS[0] <= row["end_ms"] - row["start_ms"] <= TURN_MS[1]
    ]
    if not turns:
        raise InputError(f"{data}: no whole turn in the train split for the baselines to speak; add sessions")
    bank = []
    for index in np.unique(np.linspace(0, len(turns) - 1, limit).astype(int)):
        turn = turns[index]
        samples = _sound(data, tracks[turn["session_id"], turn["participant"]])
        start, stop = max(0, turn["start_ms"] - TURN_EDGE_MS), turn["end_ms"] + TURN_EDGE_MS
        bank.append(samples[start * rate_hz // 1000 : stop * rate_hz // 1000])
    return bank


def run_recorded(
    recording: Recording,
    model_agent: Agent,
    player: Player,
    *,
    num_units: int,
    seconds: Sequence[int],
    advance: Callable[[], object],
) -> tuple[dict[str, list[Observed]], Played]:
    """One agent against all recorded users for `num_units`: session -> observations of its conversations."""
    rate_hz = model_agent.audio_vae.config.rate_hz
    played = play(recording.users(model_agent), player, num_units, advance)
    start_ms = recording.text_BKS.shape[1] * UNIT_MS
    by_session: dict[str, list[Observed]] = defaultdict(list)
    for place, view in enumerate(recording.views):
        end_ms = min(view.num_units, num_units) * UNIT_MS
        samples = played.agent_BT[place]
        conversation = Conversation(
            start_ms=start_ms,
            end_ms=end_ms,
            user=view.user_speech,
            agent=sounding_spans(samples[: end_ms * rate_hz // 1000], rate_hz),
            stimuli=view.stimuli,
        )
        observed = observe(conversation)
        if played.frames_BTHWC is not None and place < len(played.frames_BTHWC):
            frames = played.frames_BTHWC[place]
            if isinstance(player, Replay):  # a repeated recording does not show later behaviour
                frames, samples = frames[: end_ms // FRAME_MS], samples[: end_ms * rate_hz // 1000]
            observed |= observe_looks(frames, samples, rate_hz, start_ms=start_ms, seconds=seconds)
        by_session[view.session_id].append(observed)
    return dict(by_session), played


def _by_session(data: Path, table: str) -> dict[str, list[TableRow]]:
    grouped: dict[str, list[TableRow]] = defaultdict(list)
    for row in read_rows(data, table):
        grouped[row["session_id"]].append(row)
    return grouped


def _span(row: TableRow) -> Span:
    return Span(row["start_ms"], row["end_ms"])
