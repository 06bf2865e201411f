"""A data folder in which people say known things, with random models: the least that the behaviour stage runs on."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.engine.files import file_sha256
from pipelines.engine.run import RunParams
from pipelines.media.tracks import read_frames, write_video, write_wav
from pipelines.pack import stage as pack
from pipelines.pack.stage import PackParams
from tests.helpers.annotated_sessions import Utterances, write_annotated
from tests.helpers.duplex_fixtures import save_small_model
from tests.helpers.paths import track_path
from tests.helpers.small_corpus import Person, keep_in_process, write_corpus
from wanstreamer import vae
from wanstreamer.clock import FRAMES_PER_UNIT, UNIT_MS, Span, units_touched
from wanstreamer.streaming.agent import to_video

UNITS, RATE_HZ = 60, 16_000  # 9.6 s
SAID: dict[str, Utterances] = {
    "a": [(300, 2100, "is it the red one?"), (5000, 5700, "well then,"), (6000, 6600, "so it was late.")],
    "b": [(2500, 4300, "no it was the blue one."), (7100, 7900, "yes it was.")],
}
SPLITS = {"s0": "test", "s1": "test", "s2": "train"}


def write_data(data: Path) -> Path:
    """Tracks (hums where somebody speaks), tables, latents, windows and models of three dyads; returns `data`."""
    torch.manual_seed(0)
    audio_vae, video_vae = vae.AudioVAE(vae.AudioVAEConfig()).eval(), vae.VideoVAE(vae.VideoVAEConfig()).eval()
    sounds = {who: _hums(who) for who in SAID}
    audio_vae.fit_skip(torch.from_numpy(np.stack([*sounds.values()])))  # VAEs that say, roughly, what they heard
    frames = {who: _pictures(who) for who in SAID}
    video_vae.fit_skip(torch.cat([to_video(face_frames) for face_frames in frames.values()]))
    paths = {kind: data / "models" / "vae" / f"{kind}.safetensors" for kind in ("audio", "video")}
    vae.save(audio_vae, paths["audio"])
    vae.save(video_vae, paths["video"])
    latents = {}
    for key in SPLITS:
        for who in SAID:
            audio_path, video_path = (data / track_path(key, who, suffix) for suffix in ("wav", "mp4"))
            audio_path.parent.mkdir(parents=True, exist_ok=True)
            write_wav(audio_path, sounds[who], RATE_HZ)
            write_video(video_path, frames[who])
            with torch.inference_mode():
                audio, _ = audio_vae.encode(torch.from_numpy(sounds[who])[None])
                video, _ = video_vae.encode(to_video(read_frames(video_path)))
            latents[key, who] = (
                audio[0].unflatten(0, (UNITS, -1)).numpy().astype(np.float16),
                video[0].numpy().astype(np.float16),
            )
    consent = {"a": ["train", "show"], "b": ["train", "show"]}
    write_annotated(data, dict.fromkeys(SPLITS, SAID), consent=consent, num_units=UNITS)
    people = {key: (split, UNITS, {who: _person(who) for who in SAID}) for key, split in SPLITS.items()}
    write_corpus(data, people, latents, vae_hashes=(file_sha256(paths["audio"]), file_sha256(paths["video"])))
    with pytest.MonkeyPatch.context() as patch:
        keep_in_process(patch)
        pack.run(data, PackParams(window_units=10, stride_units=10), RunParams(workers=1))
    save_small_model(data)
    return data


def _hums(who: str) -> np.ndarray:
    samples = np.zeros(UNITS * UNIT_MS * RATE_HZ // 1000, np.float32)
    time_s = np.arange(len(samples)) / RATE_HZ
    hum = 0.08 * np.sign(np.sin(2 * np.pi * (110 if who == "a" else 170) * time_s))
    for start_ms, end_ms, _ in SAID[who]:
        span = slice(start_ms * RATE_HZ // 1000, end_ms * RATE_HZ // 1000)
        samples[span] = hum[span]
    return samples


def _pictures(who: str) -> np.ndarray:
    generator = np.random.default_rng([*who.encode()])
    frame = generator.integers(0, 255, (1, 3, 4, 3), dtype=np.uint8).repeat(16, axis=1).repeat(16, axis=2)
    frames = np.repeat(frame, UNITS * FRAMES_PER_UNIT, axis=0)
    frames[::2, 34:40, 24:40] = 20
    return frames


def _person(who: str) -> Person:
    utterances = SAID[who]
    units = {unit for start, end, _ in utterances for unit in units_touched(Span(start, end))}
    words = [(text.split()[0], start, end) for start, end, text in utterances if text]
    return Person(words=words, speech_units=units, consent=["train", "show"])
