"""Held-out sessions + models -> mp4s and a picture to judge with eyes and ears.

`reconstruction.mp4`: both participants above, their reconstruction by the VAEs below; first with the true sound, then
again with the decoded sound. `continuation.mp4`: user, model and truth side by side. The model follows the true history
for some seconds, then goes on alone through the streaming agent, hearing and seeing the recorded user.
`continuation.png` is its contact sheet above three loudness curves. A session is rendered only if everyone in it agreed
to be shown.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from pipelines.engine.inputs import require_media
from pipelines.engine.tables import read_rows
from pipelines.evaluate.params import EvaluateParams
from pipelines.formats.tokenizer import load_tokenizer
from pipelines.media.captions import captioned, marked
from pipelines.media.tracks import read_frames, read_wav, write_video
from wanstreamer.bootstrap import rounded
from wanstreamer.clock import FRAME_RATE_HZ, FRAMES_PER_UNIT, UNIT_MS
from wanstreamer.streaming.agent import Agent, load_agent, to_frames, to_video
from wanstreamer.streaming.thinker import commit, think
from wanstreamer.windows.loader import Windows, session_text

SCALE = 4  # tiny pictures, enlarged
SHEET_COLUMNS = 12
PLOT_ROWS = 48


@dataclass(kw_only=True)
class Clip:
    """One participant's media over some units: uint8 (4 K, H, W, 3) and float32 (K * samples per unit,)."""

    frames: np.ndarray
    samples: np.ndarray


def render_reports(data: Path, windows: Windows, params: EvaluateParams) -> dict[str, Any]:
    """Write the reports of the first session that may be shown; return which it is, and figures of the free run."""
    chosen = choose_session(windows.rows.select("session_id", "agent", "user"), read_rows(data, "tracks"))
    if chosen is None:
        return {"skipped": "no held-out session has video and sound of two people who agreed to be shown"}
    agent_track, user_track = chosen
    agent = load_agent(data, params)
    num_units = min(agent_track["num_units"], params.given_units + params.free_units)
    given_units = min(params.given_units, num_units // 2)
    clips = {
        who["participant"]: read_clip(data, who, num_units, agent.num_samples) for who in (agent_track, user_track)
    }
    folder = data / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    rate_hz = agent.audio_vae.config.rate_hz
    render_reconstruction(folder / "reconstruction.mp4", clips, agent)
    truth, user = clips[agent_track["participant"]], clips[user_track["participant"]]
    text_KS = session_text(windows, agent_track["session_id"], agent_track["participant"], given_units)
    run, text_ids = continue_conversation(agent, truth, user, text_KS, given_units, params.seed)
    render_continuation(folder / "continuation.mp4", user, run, truth, given_units, rate_hz)
    render_sheet(folder / "continuation.png", user, run, truth, given_units)
    free = slice(given_units, num_units)
    return {
        "session": agent_track["session_id"],
        "agent": agent_track["participant"],
        "given_units": given_units,
        "free_units": num_units - given_units,
        "model": _liveliness(run, free, agent.num_samples),
        "truth": _liveliness(truth, free, agent.num_samples),
        "said": load_tokenizer(data / "models" / "tokenizer.json").decode(text_ids),
    }


def choose_session(
    windows: Iterable[Mapping[str, Any]], tracks: Sequence[dict[str, Any]]
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Tracks of (agent, user) of the first window in which both agreed to be shown and have sound and picture."""
    by_person = {(row["session_id"], row["participant"]): row for row in tracks}
    for row in windows:
        pair = [by_person[row["session_id"], row[role]] for role in ("agent", "user")]
        if all("show" in (who["consent"] or ()) and who["video_path"] and who["audio_path"] for who in pair):
            return pair[0], pair[1]
    return None


def read_clip(data: Path, track: Mapping[str, Any], num_units: int, unit_samples: int) -> Clip:
    require_media(data, track, "audio", "video")
    samples, _ = read_wav(data / track["audio_path"])
    frames = read_frames(data / track["video_path"], 0, num_units * FRAMES_PER_UNIT)
    return Clip(frames=frames, samples=samples[: num_units * unit_samples])


@torch.inference_mode()
def reconstruct(agent: Agent, clip: Clip) -> Clip:
    """A clip, encoded and decoded by both VAEs."""
    video, _ = agent.video_vae.decode(agent.video_vae.encode(to_video(clip.frames))[0])
    audio, _ = agent.audio_vae.decode(agent.audio_vae.encode(torch.from_numpy(clip.samples)[None])[0])
    return Clip(frames=to_frames(video), samples=audio[0].clamp(-1, 1).numpy())


@torch.inference_mode()
def continue_conversation(
    agent: Agent, truth: Clip, user: Clip, text_KS: np.ndarray, given_units: int, seed: int
) -> tuple[Clip, list[int]]:
    """The agent over all units: the decoded truth for `given_units`, then the agent's own answers to the user.

    Also returns the text ids of the agent's own answers.
    """
    units = len(truth.frames) // FRAMES_PER_UNIT
    state = agent.start(seed=seed)
    audio_BNC, _ = agent.audio_vae.encode(torch.from_numpy(truth.samples)[None])
    video_BKCHW, _ = agent.video_vae.encode(to_video(truth.frames))
    audio_KNC = audio_BNC[0].unflatten(0, (units, -1))
    frames, samples, text_ids = [], [], []
    for unit in range(units):
        seen = user.frames[unit * FRAMES_PER_UNIT : (unit + 1) * FRAMES_PER_UNIT]
        sound = user.samples[unit * agent.num_samples : (unit + 1) * agent.num_samples]
        if unit < given_units:
            latents = audio_KNC[unit], video_BKCHW[0, unit]
            picture, sound_out = _follow(agent, state, seen, sound, text_KS[unit].tolist(), latents)
            frames.append(picture)
            samples.append(sound_out)
        else:
            answer, state = agent.step(state, seen, sound)
            frames.append(answer.frames)
            samples.append(answer.samples)
            text_ids += answer.text_tokens
    return Clip(frames=np.concatenate(frames), samples=np.concatenate(samples)), text_ids


def _follow(
    agent: Agent,
    state: Any,
    frames: np.ndarray,
    samples: np.ndarray,
    text: list[int],
    latents: tuple[Tensor, Tensor],
) -> tuple[np.ndarray, np.ndarray]:
    """One unit of history: like `Agent.step`, but with the agent's recorded text and latents."""
    vae_states = state.vae_states
    video, vae_states["video_encoder"] = agent.video_vae.encode(to_video(frames), vae_states["video_encoder"])
    audio, vae_states["audio_encoder"] = agent.audio_vae.encode(
        torch.from_numpy(samples)[None], vae_states["audio_encoder"]
    )
    think(agent.model, state, audio, video[:, 0], None, temperature=0, forced_text=[text])
    commit(agent.model, state, latents[0][None], latents[1][None])
    audio, vae_states["audio_decoder"] = agent.audio_vae.decode(latents[0][None], vae_states["audio_decoder"])
    video, vae_states["video_decoder"] = agent.video_vae.decode(latents[1][None, None], vae_states["video_decoder"])
    return to_frames(video), audio[0].clamp(-1, 1).numpy()


def render_reconstruction(path: Path, clips: Mapping[str, Clip], agent: Agent) -> None:
    decoded = {who: reconstruct(agent, clip) for who, clip in clips.items()}
    rows = []
    for name, versions in (("truth", clips), ("VAE", decoded)):
        rows.append(
            np.concatenate(
                [captioned(versions[who].frames, f"{who}: {name}", SCALE) for who in sorted(versions)], axis=2
            )
        )
    picture = np.concatenate(rows, axis=1)
    sounds = [_mix([clip.samples for clip in versions.values()]) for versions in (clips, decoded)]
    film = np.concatenate([marked(picture, text) for text in ("sound: truth", "sound: VAE")])
    write_video(path, film, np.concatenate(sounds), agent.audio_vae.config.rate_hz)


def render_continuation(path: Path, user: Clip, run: Clip, truth: Clip, given_units: int, rate_hz: int) -> None:
    split = given_units * FRAMES_PER_UNIT
    middle = np.concatenate(
        [captioned(run.frames[:split], "given", SCALE), captioned(run.frames[split:], "model, alone", SCALE)]
    )
    sides = [captioned(user.frames, "user", SCALE), middle, captioned(truth.frames, "truth (not heard)", SCALE)]
    write_video(path, np.concatenate(sides, axis=2), _mix([user.samples, run.samples]), rate_hz)


def render_sheet(path: Path, user: Clip, run: Clip, truth: Clip, given_units: int) -> None:
    """Frames at equal steps of user, model and truth, then the loudness of each; red: the free run begins."""
    frames = len(truth.frames)
    chosen = np.linspace(0, frames - 1, SHEET_COLUMNS).astype(int)
    clips = (("user", user), ("model", run), ("truth", truth))
    rows = []
    for name, clip in clips:
        times = [f"{name} {frame / FRAME_RATE_HZ:.1f} s" for frame in chosen]
        cells = [captioned(clip.frames[f : f + 1], text, 2)[0] for f, text in zip(chosen, times, strict=True)]
        rows.append(np.concatenate(cells, axis=1))
    width = rows[0].shape[1]
    split = round(width * given_units * FRAMES_PER_UNIT / frames)
    rows += [_loudness_plot(f"{name}: loudness (red: alone from here)", c.samples, width, split) for name, c in clips]
    Image.fromarray(np.concatenate(rows)).save(path)


def _loudness_plot(text: str, samples: np.ndarray, width: int, split: int) -> np.ndarray:
    """Level in dB below full scale, -60 to 0 from bottom to top, uint8 (PLOT_ROWS, width, 3)."""
    edges = np.linspace(0, len(samples), width + 1).astype(int)
    power = np.array([np.mean(samples[a : max(b, a + 1)] ** 2) for a, b in zip(edges, edges[1:], strict=False)])
    level = np.clip(10 * np.log10(power + 1e-12) / 60 + 1, 0, 1)
    plot = np.full((PLOT_ROWS, width, 3), 255, dtype=np.uint8)
    rows = np.arange(PLOT_ROWS)[::-1, None]
    plot[rows < (level * (PLOT_ROWS - 2))[None, :]] = (60, 90, 160)
    plot[:, split] = (220, 30, 30)
    labelled = Image.fromarray(plot)
    ImageDraw.Draw(labelled).text((3, 2), text, fill="black")
    return np.asarray(labelled)


def _mix(sounds: Sequence[np.ndarray]) -> np.ndarray:
    """Sum, scaled down only if it would clip."""
    mixed = np.sum(sounds, axis=0)
    return (mixed / max(1.0, float(np.abs(mixed).max(initial=0)))).astype(np.float32)


def _liveliness(clip: Clip, units: slice, unit_samples: int) -> dict[str, float | None]:
    """Loudness and motion of a free run, to compare with the truth: collapse shows as silence or a frozen picture."""
    samples = clip.samples[units.start * unit_samples : units.stop * unit_samples]
    frames = clip.frames[units.start * FRAMES_PER_UNIT : units.stop * FRAMES_PER_UNIT].astype(np.float32)
    level_db = 10 * np.log10(np.mean(samples**2) + 1e-12)
    loud = np.sqrt(np.mean(samples.reshape(-1, unit_samples) ** 2, axis=1)) > 10 ** (-40 / 20)
    return {
        "level_db": rounded(round(float(level_db), 1)),
        "sounding_ms": int(loud.sum()) * UNIT_MS,
        "motion_per_frame": rounded(round(float(np.abs(np.diff(frames, axis=0)).mean()), 3)),
    }
