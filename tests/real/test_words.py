"""Words by real Whisper: of a real call beside what people wrote down, and of a synthetic voice beside the truth.

Prints the figures: `make test-real MEDIA=DIR MODELS=DIR`. The bounds are what was measured, and some room.
"""

import importlib.util
import shutil
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import pytest

from pipelines.annotate.stage import AnnotateParams
from pipelines.annotate.stage import run as annotate
from pipelines.annotate.track_languages import Heard
from pipelines.annotate.transcript_params import TranscriptParams
from pipelines.annotate.transcription import Whisperx
from pipelines.engine.run import RunParams
from pipelines.engine.tables import session_rows
from pipelines.ingest.stage import IngestParams
from pipelines.ingest.stage import run as ingest
from pipelines.signals.voice_activity import RATE_HZ, energy_db, resample
from tests.helpers.real import real_media, real_model
from tests.helpers.small_corpus import keep_in_process
from tools.convert import read_all
from tools.events import annotate_intervals
from tools.exchange.data_folder import read_data
from tools.exchange.intervals import SEGMENTS, WORDS, Interval
from tools.score import event_agreement, same_people, show, show_words, speech_by_person, transcript_errors
from tools.word_errors import scored_words, word_errors
from wanstreamer.clock import Span
from wanstreamer.turns import TurnParams

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(importlib.util.find_spec("whisperx") is None, reason="needs the asr extra"),
]
WHISPER = "whisper-base-wheels"
MOST_ERRORS = 0.3  # of the call's words
MOST_SPOKEN_ERRORS = 0.1  # of the words of a synthetic voice
MOST_OFF_MS = 100  # of the onsets of words, half of them


@pytest.fixture(scope="module")
def whisper() -> Path:
    return real_model(WHISPER)


@pytest.fixture(scope="module")
def call(whisper: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder with the call, a mix of two people, divided by its RTTM and transcribed."""
    sound, turns = real_media("call/sample.wav"), real_media("call/sample.rttm")
    home = tmp_path_factory.mktemp("call")
    (home / "recordings").mkdir()
    for path in (sound, turns):
        shutil.copy(path, home / "recordings")
    with pytest.MonkeyPatch.context() as patch:
        keep_in_process(patch)
        data = home / "data"
        ingest(data, IngestParams(source=str(home / "recordings")), RunParams(workers=1))
        annotate(data, AnnotateParams(words="whisperx", whisperx_model=str(whisper)), RunParams(workers=1))
    yield data


def spread(segments: list[Interval]) -> Iterator[Interval]:
    """Words of people's segments: they share the segment by their letters."""
    for segment in segments:
        words = segment.text.split()
        letters = np.cumsum([0, *(len(word) + 1 for word in words)]) / sum(len(word) + 1 for word in words)
        length_ms = segment.end_ms - segment.start_ms
        for word, start, end in zip(words, letters, letters[1:], strict=False):
            times = {
                "start_ms": segment.start_ms + int(start * length_ms),
                "end_ms": segment.start_ms + int(end * length_ms),
            }
            yield Interval(
                session_id=segment.session_id, participant=segment.participant, kind=WORDS, text=word, **times
            )


def named(intervals: list[Interval], names: dict[tuple[str, str], str]) -> list[Interval]:
    return [
        Interval(
            session_id=own.session_id, participant=names.get((own.session_id, own.participant), "?"), kind=own.kind,
            start_ms=own.start_ms, end_ms=own.end_ms, text=own.text,
        )
        for own in intervals
    ]  # fmt: skip


def test_words_and_events_of_a_call(call: Path) -> None:
    """Whisper base and silero on the tracks that the RTTM cuts out of the mix, beside what people heard."""
    reference, _ = read_all([real_media("call/sample.stm")], None)
    segments = [own for own in reference if own.kind == SEGMENTS]
    (session,) = {own.session_id for own in segments}
    found, _ = read_data(call, [session])
    people = speech_by_person(reference)
    found = named(found, same_people(speech_by_person(found), people))
    errors = transcript_errors(found, reference)
    show_words(errors)
    turns, _ = read_all([real_media("call/sample.rttm")], None)
    turns = named(turns, same_people(speech_by_person(turns), people))
    by_people, _ = annotate_intervals([*turns, *spread(segments)], TurnParams())
    by_models, _ = annotate_intervals([own for own in found if own.kind in ("speech", WORDS)], TurnParams())
    show(speech_by_person(found), speech_by_person(turns), event_agreement(by_models, by_people), 500)
    for row in session_rows(call, "words", session):
        print(f"{row['participant']} {row['start_ms'] / 1000:6.2f} {row['end_ms'] / 1000:6.2f} {row['word']}")
    wrong = sum(own.substituted + own.missed + own.inserted for own in errors.values())
    assert len(errors) == 2
    assert wrong <= MOST_ERRORS * sum(own.words for own in errors.values())
    languages = {(row["language"], row["source"]) for row in session_rows(call, "words", session)}
    assert languages == {("en", "whisper")}


SENTENCES = (
    "So we went down to the sea and took the boat to the island.",
    "Yes.",
    "It was a long way and we were cold when we came back.",
    "I do not know what they call this place today.",
    "Well, there is not much of a difference between the two houses.",
    "No, not at all.",
    "My brother wants to buy a red car next year.",
    "Can you tell me when the next train leaves?",
)
GAP_MS = 900


@pytest.fixture(scope="module")
def transcribe(whisper: Path) -> Whisperx:
    return Whisperx(TranscriptParams(words="whisperx", whisperx_model=str(whisper)))


def test_words_of_a_synthetic_voice_and_when_they_begin(transcribe: Whisperx) -> None:
    """espeak-ng reports when each word begins, so the times of Whisper's words can be compared with that."""
    if importlib.util.find_spec("espeakng_loader") is None:
        pytest.skip("needs the sample extra")
    from pipelines.conversation.voice import RATE_HZ as SPOKEN_HZ
    from pipelines.conversation.voice import Voice, VoiceSpec

    pieces, speech, truth = [np.zeros(RATE_HZ, np.float32)], [], []
    at_ms = 1000
    with Voice(0) as voice:
        for sentence in SENTENCES:
            samples, starts_ms = voice.say(sentence, VoiceSpec(name="en-us+f3", rate_wpm=160, pitch=50, range=50))
            spoken_T = resample(samples, SPOKEN_HZ)
            loud = 10 * np.flatnonzero(energy_db(spoken_T) > -50)
            speech.append(Span(at_ms + int(loud[0]), at_ms + int(loud[-1]) + 10))
            spelled = scored_words(sentence)
            known = len(starts_ms) == len(spelled)  # it joins some words, such as `of a`
            truth += [(word, at_ms + starts_ms[place] if known else None) for place, word in enumerate(spelled)]
            length_ms = -(-len(spoken_T) * 1000 // RATE_HZ)
            pieces += [spoken_T, np.zeros((length_ms + GAP_MS) * RATE_HZ // 1000 - len(spoken_T), np.float32)]
            at_ms += length_ms + GAP_MS
    audio_T = np.concatenate(pieces) + np.random.default_rng(0).normal(0, 1e-4, sum(map(len, pieces))).astype(
        np.float32
    )
    words, reasons = transcribe(audio_T, speech)
    print(" ".join(word.text for word in words), reasons or "")
    found = [(part, word.start_ms) for word in words for part in scored_words(word.text)]
    errors = word_errors([text for text, _ in found], [text for text, _ in truth])
    same = SequenceMatcher(a=[text for text, _ in truth], b=[text for text, _ in found], autojunk=False)
    off_ms = [
        found[block.b + place][1] - onset_ms
        for block in same.get_matching_blocks() for place in range(block.size)
        if (onset_ms := truth[block.a + place][1]) is not None
    ]  # fmt: skip
    late = np.abs(off_ms)
    print(
        f"word errors {100 * (errors.rate or 0):.1f} % of {errors.words}; {len(late)} onsets: median "
        f"{np.median(off_ms):+.0f} ms, "
        f"half within {np.median(late):.0f} ms, nine of ten within {np.quantile(late, 0.9):.0f} ms"
    )
    assert (errors.rate or 0) <= MOST_SPOKEN_ERRORS
    assert np.median(late) <= MOST_OFF_MS
    heard = transcribe.hear_language(audio_T, speech)
    assert max(heard, key=lambda name: heard[name]) == "en" and heard["en"] > 0.6


def test_another_language_is_detected_and_transcribed(transcribe: Whisperx) -> None:
    if importlib.util.find_spec("espeakng_loader") is None:
        pytest.skip("needs the sample extra")
    from pipelines.conversation.voice import RATE_HZ as SPOKEN_HZ
    from pipelines.conversation.voice import Voice, VoiceSpec

    sentence = "Gestern sind wir mit dem Zug nach Hamburg gefahren, und am Abend haben wir dort gegessen."
    with Voice(0) as voice:
        samples, _ = voice.say(sentence, VoiceSpec(name="de", rate_wpm=150, pitch=50, range=50))
    audio_T = resample(samples, SPOKEN_HZ)
    speech = [Span(0, len(audio_T) * 1000 // RATE_HZ)]
    heard = Heard(probabilities=transcribe.hear_language(audio_T, speech), speech_ms=speech[0].duration_ms)
    words, _ = transcribe(audio_T, speech, "de")
    errors = word_errors(scored_words(" ".join(word.text for word in words)), scored_words(sentence))
    print(f"{heard.best} {heard.probabilities[heard.best]:.2f}; word errors {100 * (errors.rate or 0):.1f} %")
    assert heard.best == "de" and heard.is_sure
    assert (errors.rate or 0) <= 0.3
