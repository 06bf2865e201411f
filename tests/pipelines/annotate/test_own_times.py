"""Words with Whisper's own times: faster-whisper's segments become those of the track."""

import importlib.util
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipelines.annotate.chunks import chunks_of
from pipelines.annotate.own_times import own_times
from pipelines.annotate.whisperx_words import mend_words
from pipelines.signals.voice_activity import RATE_HZ
from wanstreamer.clock import Span

pytestmark = pytest.mark.skipif(importlib.util.find_spec("whisperx") is None, reason="needs the asr extra")


def word(text: str, start: float, end: float, probability: float = 0.8) -> SimpleNamespace:
    return SimpleNamespace(word=text, start=start, end=end, probability=probability)


def segment(seek_s: int, *words: SimpleNamespace, no_speech: float = 0.0, log_probability: float = -0.2) -> Any:
    return SimpleNamespace(
        seek=100 * seek_s, words=list(words), text="".join(word.word for word in words), no_speech_prob=no_speech,
        avg_logprob=log_probability,
    )  # fmt: skip


@pytest.fixture
def whisper_writes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts segments in the place of faster-whisper's; returns what it was given."""
    import faster_whisper

    def use(*segments: Any) -> dict[str, Any]:
        got: dict[str, Any] = {}

        def transcribe(audio_T: np.ndarray, **options: Any) -> tuple[Any, None]:
            got.update(options, audio_T=audio_T)
            return iter(segments), None

        monkeypatch.setattr(
            faster_whisper, "BatchedInferencePipeline", lambda model: SimpleNamespace(transcribe=transcribe)
        )
        return got

    return use


def test_times_are_those_of_the_track(whisper_writes: Any) -> None:
    audio_T = np.ones(80 * RATE_HZ, np.float32)
    speech = [Span(2000, 3000), Span(10_000, 38_000), Span(70_000, 71_000)]
    chunks = chunks_of(audio_T, speech)
    assert [chunk.span for chunk in chunks] == [Span(1800, 3200), Span(9800, 38_200), Span(69_800, 71_200)]
    # The second begins a whole second after the seconds of the first.
    second = -(-len(chunks[0].audio_T) // RATE_HZ) + 1
    got = whisper_writes(
        segment(0, word(" Uh", 0.2, 0.5, 0.9), word("-", 0.5, 0.6, 0.5), word("huh.", 0.6, 1.2, 0.7)),
        segment(second, word(" No,", second + 0.2, second + 1.0, 0.4)),
    )
    segments, unlikely = own_times(None, chunks, "en")
    assert unlikely == 0 and got["word_timestamps"] and got["language"] == "en"
    assert [clip["start"] for clip in got["clip_timestamps"]][:2] == [0.0, float(second)]
    words, reasons = mend_words(segments, speech, "en", source="whisper")
    assert [(own.text, own.start_ms, own.end_ms, own.confidence, own.source) for own in words] == [
        ("Uh-huh.", 2000, 3000, 0.35, "whisper"), ("No,", 10_000, 10_800, 0.2, "whisper")
    ]  # fmt: skip
    assert reasons == []


def test_a_chunk_that_whisper_takes_for_silence_has_no_words_and_they_are_counted(whisper_writes: Any) -> None:
    chunks = chunks_of(np.ones(4 * RATE_HZ, np.float32), [Span(0, 2000)])
    thanks = (word(" Thank", 0.1, 0.5), word(" you.", 0.5, 0.9))
    whisper_writes(segment(0, *thanks, no_speech=0.9, log_probability=-1.5))
    assert own_times(None, chunks, "en") == ([], 2)
    for no_speech, log_probability in ((0.9, -0.5), (0.2, -1.5)):
        whisper_writes(segment(0, *thanks, no_speech=no_speech, log_probability=log_probability))
        assert len(own_times(None, chunks, "en")[0][0]["words"]) == 2


def test_scripts_without_blanks_keep_their_words(whisper_writes: Any) -> None:
    chunks = chunks_of(np.ones(4 * RATE_HZ, np.float32), [Span(0, 3000)])
    whisper_writes(segment(0, word("你好", 0.2, 0.8), word("吗", 0.8, 1.0)))
    segments, _ = own_times(None, chunks, "zh")
    words, reasons = mend_words(segments, [Span(0, 3000)], "zh", source="whisper")
    assert [own.text for own in words] == ["你好", "吗"] and reasons == []
