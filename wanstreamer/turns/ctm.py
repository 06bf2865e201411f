"""A CTM file (one timed word per line) -> what the turn rules need: speech, words and sounds of each session.

    for session_id, session in read_ctm(Path("calls.ctm")).items():
        annotation = annotate_session(session.speech, session.words, TurnParams(), sounds=session.sounds)

CTM is NIST's format: `file channel start duration word [confidence [type [speaker]]]`, times in seconds, comments
behind `;;`. The file names the session. The speaker (RT-09) names the participant, or else the channel. A CTM holds no
voice activity, so speech is where the words are.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from wanstreamer.clock import Span, merge_spans, seconds_to_ms
from wanstreamer.errors import InputError
from wanstreamer.text_files import number_of, numbered_fields, read_text, seconds_of
from wanstreamer.turns.lexical import Word
from wanstreamer.turns.nonspeech import part_words
from wanstreamer.turns.sounds import Sound

UNKNOWN = "<NA>"  # a channel or confidence that is not known
NO_NUMBER = frozenset({"na", "<na>", "n/a", "nan", "-", "null", "none"})  # a confidence that is not known
NO_NAME = frozenset({"<na>", "null", "unknown"})  # a speaker that is not known
RTTM_FIELDS = 9  # at least; a CTM line has eight at most


class CtmLine(NamedTuple):
    """One line as it is written; `participant` is empty where the file writes `<NA>`."""

    file: str
    participant: str  # the speaker in field 8, else the channel in field 2
    start_s: float
    duration_s: float
    word: str
    confidence: float | None


@dataclass(kw_only=True)
class CtmSession:
    """One session of a CTM file, by participant."""

    speech: dict[str, list[Span]] = field(default_factory=dict)
    words: dict[str, list[Word]] = field(default_factory=dict)
    sounds: dict[str, list[Sound]] = field(default_factory=dict)  # tags such as `[laughter]`
    num_skipped: int = 0  # words and tags that last no time, or begin before the session


def ctm_lines(text: str, path: Path) -> Iterator[CtmLine]:
    """The lines of a CTM file without comments. Raises InputError for a line that is none, naming `path` and line."""
    for number, fields in numbered_fields(text, str(path)):
        if fields[0] == "SPEAKER" and len(fields) >= RTTM_FIELDS:
            raise InputError(f"{path} line {number}: is RTTM, not CTM; read it as RTTM")
        if not 5 <= len(fields) <= 8:
            raise InputError(
                f"{path} line {number}: not CTM; expected file channel start duration word, and at most confidence, "
                f"type and speaker; it has {len(fields)} fields"
            )
        file, channel, start, duration, word, *rest = fields
        field = "start"
        try:
            start_s = seconds_of(start)
            field = "duration"
            duration_s = seconds_of(duration)
            field = "confidence"
            confidence = None if not rest or rest[0].lower() in NO_NUMBER else number_of(rest[0])
        except (ValueError, OverflowError) as error:
            raise InputError(f"{path} line {number}: not CTM: {field} {error}; a word may contain no blank") from error
        participant = channel if len(rest) < 3 or rest[2].lower() in NO_NAME else rest[2]
        yield CtmLine(file, "" if participant == UNKNOWN else participant, start_s, duration_s, word, confidence)


def read_ctm(path: Path) -> dict[str, CtmSession]:
    """Sessions of a CTM file by name.

    Raises InputError for a file that does not exist, is not text, or has a line that is not CTM.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "call.ctm"
        >>> _ = path.write_text("call a 0.0 0.9 red?\\ncall b 1.1 0.4 yes. 0.8\\n")
        >>> session = read_ctm(path)["call"]
        >>> session.speech
        {'a': [Span(start_ms=0, end_ms=900)], 'b': [Span(start_ms=1100, end_ms=1500)]}
    """
    sessions: dict[str, CtmSession] = {}
    tokens: dict[tuple[str, str], list[_Token]] = {}
    for line in ctm_lines(read_text(path), path):
        session = sessions.setdefault(line.file, CtmSession())
        start_ms = seconds_to_ms(line.start_s)
        end_ms = start_ms + seconds_to_ms(line.duration_s)
        if 0 <= start_ms < end_ms:
            token = _Token(start_ms=start_ms, end_ms=end_ms, text=line.word, confidence=line.confidence)
            tokens.setdefault((line.file, line.participant), []).append(token)
        else:
            session.num_skipped += 1
    for (name, participant), own in tokens.items():
        _add(sessions[name], participant, sorted(own, key=lambda token: (token.start_ms, token.end_ms, token.text)))
    return sessions


@dataclass(frozen=True, kw_only=True, slots=True)
class _Token:
    """A word or a tag, with what the recogniser thinks of it."""

    start_ms: int
    end_ms: int
    text: str
    confidence: float | None


def _add(session: CtmSession, participant: str, tokens: list[_Token]) -> None:
    words, tags = part_words(tokens)
    session.words[participant] = [Word(start_ms=w.start_ms, end_ms=w.end_ms, text=w.text) for w in words]
    if words:  # who only laughs takes no part in the turns
        session.speech[participant] = merge_spans(Span(word.start_ms, word.end_ms) for word in words)
    if tags:
        session.sounds[participant] = [
            Sound(
                start_ms=tag.start_ms,
                end_ms=tag.end_ms,
                label=label,
                confidence=1.0 if tag.confidence is None else min(max(tag.confidence, 0.0), 1.0),
            )
            for tag, label in tags
        ]
