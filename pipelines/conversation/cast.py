"""A number of sessions and a seed -> the plan: who meets whom, with which voice, and how it is recorded.

People meet only inside their closed group, and every member of a group has a pseudonym that ingest assigns to the same
split, so splitting by speaker loses no session. What varies between recordings (container, frame rate, sample rate,
start, noise, bleed) runs through fixed cycles, so that even a few sessions differ.
"""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipelines.conversation.voice import VoiceSpec
from pipelines.formats.splits import split_of

GROUP_SIZE = 4  # six pairs
SESSIONS_PER_GROUP = 8  # one group more for every eight sessions; all pairs of a group meet, some twice
SPLIT_SCREEN_TURN = 3  # index of the train session with a split screen; earlier ones are plain
AUDIO_ONLY_TURN = 5  # index of the first train session without pictures; from there on every other session is

# Variants of en-us that speak clearly; each speaker has a different one, until there are more speakers than variants.
HIGH_VOICES = ("f1", "f2", "f3", "f4", "f5", "Alicia", "Andrea", "Annie", "belinda", "linda", "shelby", "steph")
LOW_VOICES = (
    "m1", "m2", "m3", "m4", "m5", "m6", "m7", "Alex", "Diogo", "Lee", "Mario", "Michael", "Mike", "adam", "benjamin",
    "david", "edward", "marcelo", "max", "michel", "miguel", "norbert", "quincy", "rob", "robert", "travis", "victor",
)  # fmt: skip

CONTAINERS = (("mp4", "aac"), ("mkv", "flac"), ("mov", "pcm_s16le"), ("mp4", "aac"), ("mkv", "libopus"), ("mov", "aac"))
FRAME_RATES = ("25", "30", "24", "30000/1001")
RATES_HZ = (48000, 44100)
AUDIO_ONLY_CONTAINERS = (("flac", "flac"), ("m4a", "aac"))


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """A person; `face_seed` decides the face."""

    speaker_id: str
    split: str
    voice: VoiceSpec
    is_high: bool  # has a high voice; decides which beards are possible
    face_seed: int


@dataclass(frozen=True, kw_only=True)
class Stream:
    """How one participant is recorded."""

    participant: str
    speaker: Speaker
    container: str
    audio_codec: str
    frame_rate: str  # in ffmpeg's notation; empty: no picture
    rate_hz: int
    start_offset_ms: int  # session time of the file's first instant
    tail_ms: int  # how long the file goes on after the session
    level_db: float  # RMS of the voice while it speaks, below full scale
    noise_db: float  # signal-to-noise ratio against the speaking voice
    bleed_db: float | None  # level of the other's voice in this recording, relative to their own track


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One session."""

    session_id: str
    index: int  # with the seed, decides everything that is drawn for it
    split: str
    layout: str  # per_participant, split_screen or audio_only
    streams: tuple[Stream, Stream]
    seconds: int
    is_truncated: bool  # its first file breaks off; ingest must reject the session


def split_counts(num_sessions: int) -> dict[str, int]:
    """Sessions per split: about two thirds train, a quarter test, a twelfth valid; 16, 6 and 2 of 24 sessions.

    >>> split_counts(24), split_counts(2)
    ({'train': 16, 'valid': 2, 'test': 6}, {'train': 1, 'valid': 0, 'test': 1})
    """
    if num_sessions == 1:
        return {"train": 1, "valid": 0, "test": 0}
    test = max(1, round(num_sessions / 4))
    valid = max(num_sessions > 2, round(num_sessions / 12))
    return {"train": num_sessions - test - valid, "valid": int(valid), "test": test}


def plan(
    num_sessions: int, *, seed: int, seconds: int, salt: str, valid_fraction: float, test_fraction: float
) -> list[Recording]:
    """All recordings, intact ones first; from six sessions on, one more recording is truncated."""
    counts = split_counts(num_sessions)
    # Splits take turns, so that session numbers do not show the split, and short runs contain several.
    order = sorted(
        ((turn + 0.5) / count, split, turn) for split, count in counts.items() for turn in range(count)
    )  # fmt: skip
    pairs = {}
    taken: set[str] = set()
    for number, (split, count) in enumerate(counts.items()):
        num_groups = -(-count // SESSIONS_PER_GROUP)
        size = GROUP_SIZE if count > 2 else 2
        groups = [
            people(
                split,
                size,
                np.random.default_rng([seed, 1, number, group]),
                taken,
                (salt, valid_fraction, test_fraction),
            )
            for group in range(num_groups)
        ]
        meetings = [itertools.cycle(itertools.combinations(group, 2)) for group in groups]
        pairs[split] = [next(meetings[turn % num_groups]) for turn in range(count)]
    recordings = []
    for index, (_, split, turn) in enumerate(order):
        layout = _layout(turn) if num_sessions >= 6 and split == "train" else "per_participant"
        recordings.append(_recording(index, split, layout, pairs[split][turn], seed, seconds))
    if num_sessions >= 6:
        recordings.append(
            _recording(
                num_sessions, "train", "per_participant", pairs["train"][0], seed, min(seconds, 10), is_truncated=True
            )
        )
    return recordings


def without_pictures(recording: Recording) -> Recording:
    """The same people and words, as sound files only."""
    if recording.is_truncated:  # it breaks off as a video file does
        return recording
    streams = [
        replace(stream, container=container, audio_codec=codec, frame_rate="")
        for stream, (container, codec) in zip(recording.streams, AUDIO_ONLY_CONTAINERS, strict=True)
    ]
    return replace(recording, layout="audio_only", streams=(streams[0], streams[1]))


def _layout(turn: int) -> str:
    """Layout of a train session. Sound alone is cheap to record and encode, and still teaches words, timing, voices."""
    if turn == SPLIT_SCREEN_TURN:
        return "split_screen"
    return "audio_only" if turn >= AUDIO_ONLY_TURN and (turn - AUDIO_ONLY_TURN) % 2 == 0 else "per_participant"


def people(
    split: str, size: int, rng: np.random.Generator, taken: set[str], shares: tuple[str, float, float]
) -> list[Speaker]:
    """People who meet each other, all of one split; every second person has a high voice."""
    members = []
    for place in range(size):
        is_high = place % 2 == 0
        variants = HIGH_VOICES if is_high else LOW_VOICES
        free = [name for name in variants if name not in taken] or list(variants)
        variant = free[int(rng.integers(len(free)))]
        while True:
            name = "p" + hashlib.sha256(rng.bytes(8)).hexdigest()[:8]
            if name not in taken and split_of(name, *shares) == split:
                break
        taken |= {variant, name}
        voice = VoiceSpec(
            name=f"en-us+{variant}", rate_wpm=int(rng.integers(158, 196)),
            pitch=int(rng.integers(48, 70) if is_high else rng.integers(28, 55)), range=int(rng.integers(40, 70)),
        )  # fmt: skip
        members.append(
            Speaker(speaker_id=name, split=split, voice=voice, is_high=is_high, face_seed=int(rng.integers(2**31)))
        )
    return members


def _recording(
    index: int, split: str, layout: str, pair: Sequence[Speaker], seed: int, seconds: int, *, is_truncated: bool = False
) -> Recording:
    rng = np.random.default_rng([seed, 2, index])
    people = [pair[int(i)] for i in rng.permutation(2)]
    streams: list[Stream] = []
    for place, speaker in enumerate(people):
        number = 2 * index + place
        container, codec = CONTAINERS[number % len(CONTAINERS)]
        rate_hz = RATES_HZ[(number // 3) % 2]
        frame_rate = FRAME_RATES[number % len(FRAME_RATES)]
        start_ms, tail_ms = int(rng.integers(0, 1000)), int(rng.integers(0, 250))
        if is_truncated:
            container, codec = "mp4", "aac"  # its index lies at the end, where the file breaks off
        elif layout == "audio_only":
            container, codec = AUDIO_ONLY_CONTAINERS[place]
            frame_rate = ""
        elif layout == "split_screen" and place == 1:  # one file, with one two-channel sound
            first = streams[0]
            container, codec, frame_rate = first.container, first.audio_codec, first.frame_rate
            rate_hz, start_ms, tail_ms = first.rate_hz, first.start_offset_ms, first.tail_ms
        if codec == "libopus":
            rate_hz = 48000  # the only rate of Opus here
        has_bleed = number % 4 == 3
        # Bleed below the noise would be a label that nothing in the sound supports.
        noise_db = float(rng.uniform(30, 40)) if has_bleed else float(rng.triangular(10, 30, 40))
        streams.append(
            Stream(
                participant="ab"[place], speaker=speaker, container=container, audio_codec=codec, frame_rate=frame_rate,
                rate_hz=rate_hz, start_offset_ms=start_ms, tail_ms=tail_ms,
                level_db=round(float(rng.uniform(-25, -20)), 1),
                noise_db=round(noise_db, 1), bleed_db=round(float(rng.uniform(-40, -25)), 1) if has_bleed else None,
            )
        )  # fmt: skip
    return Recording(
        session_id=f"talk-{index:04d}", index=index, split=split, layout=layout, streams=(streams[0], streams[1]),
        seconds=seconds, is_truncated=is_truncated,
    )  # fmt: skip
