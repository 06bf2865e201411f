"""Phrases with their places on the session clock -> a conversation, and all facts about it."""

from dataclasses import dataclass, field

import numpy as np

from pipelines.conversation.phrases import Clip, Word, samples_of_ms
from wanstreamer.clock import Span, merge_spans


@dataclass(frozen=True, kw_only=True, eq=False)
class Utterance:
    """Phrases of one participant that belong together, on the session clock."""

    participant: str
    kind: str  # turn, attempt (broken off, without the floor), backchannel
    clips: tuple[tuple[int, Clip], ...]  # (start_ms, phrase)
    about: str = ""  # the thing talked about
    asks: bool = False
    hesitant: bool = False  # spoken during the other's turn without a claim to the floor

    @property
    def start_ms(self) -> int:
        return self.clips[0][0]

    @property
    def end_ms(self) -> int:
        start_ms, clip = self.clips[-1]
        return start_ms + clip.duration_ms

    @property
    def words(self) -> list[Word]:
        return [
            Word(text=word.text, start_ms=start_ms + word.start_ms, end_ms=start_ms + word.end_ms)
            for start_ms, clip in self.clips for word in clip.words
        ]  # fmt: skip

    @property
    def speech(self) -> list[Span]:
        return [
            Span(start_ms + span.start_ms, start_ms + span.end_ms)
            for start_ms, clip in self.clips
            for span in clip.speech
        ]

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    @property
    def is_broken(self) -> bool:
        return self.words[-1].text.endswith("-")


@dataclass(frozen=True, kw_only=True)
class Transition:
    """What happened at an onset (the labels of step 9 of the turn rules)."""

    participant: str
    start_ms: int
    label: str
    holder: str  # who has the floor afterwards; "none" if both stop
    outcome: str | None = None  # of an interruption: floor_taking or failed
    yield_ms: int | None = None  # from the challenger's onset to the last sound of the one who gives way
    yielder: str | None = None
    fto_ms: int | None = None  # at floor changes: onset minus the end of the previous turn


@dataclass(frozen=True, kw_only=True)
class Answer:
    participant: str
    start_ms: int
    end_ms: int
    text: str
    fact: str
    question: str
    question_end_ms: int
    is_short: bool  # at most three words


@dataclass(frozen=True, kw_only=True)
class Showing:
    """A thing held up to the camera, without a word, until the other has spoken about it."""

    participant: str
    start_ms: int  # the thing begins to rise
    end_ms: int  # the thing is gone again
    thing: str
    colour: str
    comment_start_ms: int  # start of the other's turn about it


@dataclass(kw_only=True)
class Dialogue:
    """A whole conversation; utterances are in the order of planning."""

    duration_ms: int
    utterances: list[Utterance] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    showings: list[Showing] = field(default_factory=list)

    def of(self, participant: str, *kinds: str) -> list[Utterance]:
        utterances = [u for u in self.utterances if u.participant == participant and (not kinds or u.kind in kinds)]
        return sorted(utterances, key=lambda u: u.start_ms)

    def speech(self, participant: str) -> list[Span]:
        return merge_spans([span for u in self.of(participant) for span in u.speech])

    def words(self, participant: str) -> list[Word]:
        return sorted((word for u in self.of(participant) for word in u.words), key=lambda word: word.start_ms)

    def samples(self, participant: str) -> np.ndarray:
        """All speech of the participant, (duration,) float32 at RATE_HZ."""
        track = np.zeros(samples_of_ms(self.duration_ms), dtype=np.float32)
        for utterance in self.of(participant):
            for start_ms, clip in utterance.clips:
                first = samples_of_ms(start_ms)
                place = track[first : first + len(clip.samples)]
                place += clip.samples[: len(place)]
        return track


def other(participant: str) -> str:
    return "b" if participant == "a" else "a"
