"""One planned recording -> its media files, word sidecars, manifest rows and truth."""

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipelines.conversation.cast import Recording, Stream
from pipelines.conversation.dialogue import Dialogue
from pipelines.conversation.face import draw_frames
from pipelines.conversation.look import make_look
from pipelines.conversation.loudness import with_loudness
from pipelines.conversation.motion import make_motion
from pipelines.conversation.phrases import samples_of_ms
from pipelines.conversation.record import Coding, encode, mix_track, rms, truncate, voice_gain, write_wav
from pipelines.conversation.script import write_dialogue
from pipelines.conversation.voice import Voice
from pipelines.sample import truth

FIRST_SPEECH_MS = 350  # after the start of the last stream: no stream misses any speech
TRUNCATED_SHARE = 0.55


def make_session(
    recording: Recording, folder: Path, *, seed: int, width: int, height: int
) -> tuple[list[dict[str, Any]], truth.Rows, dict[str, float]]:
    """Write `<folder>/<session_id>/`; return manifest rows, truth rows and durations of speech in ms.

    The result depends on the recording and the seed only: every session has its own generators and voice process.
    """
    cv2.setNumThreads(1)  # sessions already run in parallel
    rng = np.random.default_rng([seed, 3, recording.index])
    origin_ms = max(stream.start_offset_ms for stream in recording.streams)
    with Voice(seed=1 + recording.index) as voice:
        dialogue = write_dialogue(
            voice, {stream.participant: stream.speaker.voice for stream in recording.streams}, rng,
            first_ms=origin_ms + FIRST_SPEECH_MS + int(rng.integers(0, 500)), duration_ms=recording.seconds * 1000,
            seen=[stream.participant for stream in recording.streams if stream.frame_rate],
        )  # fmt: skip
    dialogue = with_loudness(dialogue, np.random.default_rng([seed, 5, recording.index]))
    home = folder / recording.session_id
    home.mkdir(parents=True)
    sounds = _sounds(recording, dialogue, rng)
    pictures = {
        stream.participant: _frames(stream, recording, dialogue, [seed, 4, recording.index, place], width, height)
        for place, stream in enumerate(recording.streams)
        if stream.frame_rate
    }
    first, second = recording.streams
    if recording.layout == "split_screen":
        sound = home / "both.sound.wav"
        write_wav(sound, [sounds[first.participant], sounds[second.participant]])
        both = (
            np.concatenate(pair, axis=1)
            for pair in zip(pictures[first.participant], pictures[second.participant], strict=True)
        )
        encode(home / f"both.{first.container}", sound, both, _coding(first, 2 * width, height))
        sound.unlink()
    else:
        for stream in recording.streams:
            sound = home / f"{stream.participant}.sound.wav"
            write_wav(sound, [sounds[stream.participant]])
            path = home / f"{stream.participant}.{stream.container}"
            encode(path, sound, pictures.get(stream.participant), _coding(stream, width, height))
            sound.unlink()
    if recording.is_truncated:
        truncate(home / f"{first.participant}.{first.container}", TRUNCATED_SHARE)
    rows = truth.recording_rows(recording)
    if not recording.is_truncated:
        rows = truth.dialogue_rows(recording.session_id, dialogue) | rows
    speech_ms = {
        stream.participant: float(sum(span.duration_ms for span in dialogue.speech(stream.participant)))
        for stream in recording.streams
    }
    return [_manifest_row(recording, place, home, dialogue, width, height) for place in (0, 1)], rows, speech_ms


def _coding(stream: Stream, width: int, height: int) -> Coding:
    return Coding(
        audio_codec=stream.audio_codec, rate_hz=stream.rate_hz, frame_rate=stream.frame_rate, width=width,
        height=height,
    )  # fmt: skip


def _file_end_ms(stream: Stream, recording: Recording) -> int:
    return recording.seconds * 1000 + stream.tail_ms


def _sounds(recording: Recording, dialogue: Dialogue, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The sound of each stream's microphone, from the stream's own start."""
    voices, loudness = {}, {}
    for stream in recording.streams:
        samples = dialogue.samples(stream.participant)
        spans = dialogue.speech(stream.participant)
        speech = [samples[samples_of_ms(span.start_ms) : samples_of_ms(span.end_ms)] for span in spans]
        loud = rms(np.concatenate(speech)) if speech else 10 ** (stream.level_db / 20)
        gain = voice_gain(samples, loud, stream.level_db)
        voices[stream.participant], loudness[stream.participant] = samples * np.float32(gain), loud * gain
    first, second = recording.streams
    sounds = {}
    for stream, partner in ((first, second), (second, first)):
        track = mix_track(
            voices[stream.participant], voices[partner.participant], loudness[stream.participant], stream,
            _file_end_ms(stream, recording), rng,
        )  # fmt: skip
        sounds[stream.participant] = track[samples_of_ms(stream.start_offset_ms) :]
    return sounds


def _frames(
    stream: Stream, recording: Recording, dialogue: Dialogue, seeds: list[int], width: int, height: int
) -> Iterator[np.ndarray]:
    """Frames of the stream's picture, at its own rate."""
    rate = Fraction(stream.frame_rate)
    num_frames = int((_file_end_ms(stream, recording) - stream.start_offset_ms) * rate / 1000)
    frame_ms = stream.start_offset_ms + np.arange(num_frames) * float(1000 / rate)
    voices = {participant: dialogue.samples(participant) for participant in "ab"}
    motion = make_motion(dialogue, stream.participant, voices, frame_ms, np.random.default_rng([*seeds, 0]))
    look = make_look(stream.speaker.face_seed, [*seeds, 1], may_have_beard=not stream.speaker.is_high)
    return draw_frames(look, motion, width, height)


def _manifest_row(
    recording: Recording, place: int, home: Path, dialogue: Dialogue, width: int, height: int
) -> dict[str, Any]:
    """The stream's row. Also writes its word sidecar, with times relative to the media file."""
    stream = recording.streams[place]
    shift_ms = stream.start_offset_ms
    words = [
        {"word": word.text, "start_ms": word.start_ms - shift_ms, "end_ms": word.end_ms - shift_ms}
        for word in dialogue.words(stream.participant)
    ]
    sidecar = home / f"{stream.participant}.words.json"
    sidecar.write_text(json.dumps({"words": words}, indent=1) + "\n")
    is_split = recording.layout == "split_screen"
    media = "both" if is_split else stream.participant
    return {
        "session_id": recording.session_id,
        "participant": stream.participant,
        "speaker_id": stream.speaker.speaker_id,
        "uri": f"{recording.session_id}/{media}.{stream.container}",
        "channel": place if is_split else "",
        "crop": f"{place * width}:0:{width}:{height}" if is_split else "",
        "start_offset_ms": stream.start_offset_ms,
        "words_uri": f"{recording.session_id}/{sidecar.name}",
        "language": "en",
        "licence": "CC0-1.0",
        "consent": "train;share;show",
        "audio_kind": "own",
    }
