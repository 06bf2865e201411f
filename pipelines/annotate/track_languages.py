"""Which language each track of a session is in: the manifest's, or what Whisper detects, or that of the other people.

A few words are not enough to detect a language. Then the track is in the language of most of the session's speech whose
language is known or, if none is known, in the one of which all such tracks together are sure. If that does not decide
either, no one can tell, and the track is not transcribed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipelines.engine.tables import TableRow
from wanstreamer.clock import Span

SURE, SURE_MS = 0.6, 3000  # the least probability, and the least speech, with which a language is known


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What Whisper detects in a track: the probability of each language, and how much speech it had."""

    probabilities: Mapping[str, float]
    speech_ms: int

    @property
    def best(self) -> str:
        return max(sorted(self.probabilities), key=lambda name: self.probabilities[name])

    @property
    def is_sure(self) -> bool:
        return self.speech_ms >= SURE_MS and self.probabilities[self.best] >= SURE


def session_languages(
    tracks: Sequence[TableRow],
    speech: Mapping[str, Sequence[Span]],
    todo: Mapping[str, Sequence[Span]],
    default: str,
    *,
    hear: Callable[[str], Mapping[str, float]] | None,
) -> tuple[dict[str, str | None], dict[str, str]]:
    """The language of each track, None if no one can tell; and for each track that is not sure, how it was decided.

    Args:
        speech: By participant, ms.
        todo: The speech that is to be transcribed, by participant.
        default: The language of tracks whose language is neither named nor detected; it decides nothing for others.
        hear: Participant -> the probability of each language; None: nothing is detected.
    """
    heard: dict[str, Heard] = {}
    given: dict[str, tuple[str, int]] = {}
    for track in tracks:
        who, language = track["participant"], track["language"]
        heard_ms = sum(span.duration_ms for span in todo.get(who, ()))
        if language is None and hear is not None and heard_ms:
            heard[who] = Heard(probabilities=hear(who), speech_ms=heard_ms)
        else:
            own_ms = sum(span.duration_ms for span in speech.get(who, ()))
            given[who] = (language or default, own_ms if language else 0)
    return languages_of(given, heard)


def languages_of(
    given: Mapping[str, tuple[str, int]], heard: Mapping[str, Heard]
) -> tuple[dict[str, str | None], dict[str, str]]:
    """As `session_languages`.

    Args:
        given: Participant -> (language, ms of speech that count), where it need not be heard.
        heard: By participant, where it was heard.
    """
    languages: dict[str, str | None] = {who: language for who, (language, _) in given.items()}
    languages |= {who: own.best for who, own in heard.items() if own.is_sure}
    unsure = {who: own for who, own in heard.items() if not own.is_sure}
    votes: dict[str, int] = {}
    for language, speech_ms in [*given.values(), *((own.best, own.speech_ms) for own in heard.values() if own.is_sure)]:
        if speech_ms:
            votes[language] = votes.get(language, 0) + speech_ms
    assumed: str | None
    if votes:
        assumed, how = max(sorted(votes), key=lambda name: votes[name]), "as most of the session's speech"
    else:
        together = _together(list(unsure.values()))
        assumed, how = (together.best, "as all tracks together") if together and together.is_sure else (None, "")
    doubts = {
        who: f"{_shown(own)}; {f'taken: {assumed}, {how}' if assumed else _remedy()}" for who, own in unsure.items()
    }
    return languages | dict.fromkeys(unsure, assumed), doubts


def _together(tracks: list[Heard]) -> Heard | None:
    total_ms = sum(own.speech_ms for own in tracks)
    if not total_ms:
        return None
    mean: dict[str, float] = {}
    for own in tracks:
        for name, probability in own.probabilities.items():
            mean[name] = mean.get(name, 0.0) + probability * own.speech_ms / total_ms
    return Heard(probabilities=mean, speech_ms=total_ms)


def _shown(own: Heard) -> str:
    names = sorted(own.probabilities, key=lambda name: (-own.probabilities[name], name))[:2]
    heard = ", ".join(f"{name} {own.probabilities[name]:.2f}" for name in names)
    return f"{heard} in {own.speech_ms / 1000:.1f} s of speech"


def _remedy() -> str:
    return "not transcribed: name its language in the manifest, or set annotate.detect_language to false"
