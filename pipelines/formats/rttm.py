"""RTTM (NIST): who speaks when, and which sounds are no speech; one line per interval, of one or many recordings.

    SPEAKER file 1 start duration <NA> <NA> name <NA> <NA>

A file name or a speaker's name with blanks is read where the `<NA> <NA>` before the name shows what belongs to what.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from wanstreamer.clock import Span, merge_spans, seconds_to_ms
from wanstreamer.errors import InputError
from wanstreamer.text_files import number_of, numbered_fields, read_text, seconds_of, shown

UNKNOWN = "<NA>"
NOTHING = ("<NA>", "<na>", "NA", "N/A", "-")  # what programs write into a field without a value
TYPES = frozenset(
    [
        "SPEAKER",
        "NON-LEX",
        "NON-SPEECH",
        "LEXEME",
        "SEGMENT",
        "NOSCORE",
        "NO_RT_METADATA",
        "FILLER",
        "EDIT",
        "IP",
        "SU",
        "CB",
        "A/P",
        "SPKR-INFO",
    ]
)
TIMED = ("SPEAKER", "NON-LEX", "NON-SPEECH")
FIELDS = 10  # at most, if no name has blanks


class RttmLine(NamedTuple):
    """One line of a type in TIMED as it is written; the other types have only number and type."""

    number: int
    type: str
    file: str = ""
    start_s: float = 0.0
    duration_s: float = 0.0
    subtype: str = UNKNOWN
    speaker: str = UNKNOWN
    confidence: str = UNKNOWN


def rttm_lines(text: str, where: str) -> Iterator[RttmLine]:
    """The lines of an RTTM without comments. Raises InputError with the line and field that are not RTTM."""
    for number, fields in numbered_fields(text, where):
        if fields[0] not in TYPES:
            raise InputError(
                f"{where} line {number}: not RTTM: type `{shown(fields[0])}`: expected SPEAKER or another type of RTTM"
            )
        if fields[0] not in TIMED:
            yield RttmLine(number, fields[0])
            continue
        try:
            yield _timed_line(number, fields)
        except ValueError as error:
            raise InputError(
                f"{where} line {number}: not RTTM: {error}; expected {fields[0]} file 1 start duration <NA> <NA> name"
            ) from error


def _timed_line(number: int, fields: list[str]) -> RttmLine:
    """A blank inside the file's name moves all other fields; `extra` counts such blanks."""
    extras = [0] if len(fields) <= FIELDS and fields[5:6] == [UNKNOWN] else []  # the usual line, which has one reading
    extras = extras or [extra for extra in range(len(fields) - 7) if _fits(fields[extra:])]
    if len(extras) > 1:
        raise ValueError("a name with blanks, which can be read in two ways")
    if len(fields) < 8:
        raise ValueError(f"{len(fields)} fields")
    if not extras:
        _seconds("start", fields[3]), _seconds("duration", fields[4])
        raise ValueError(f"field 6 `{shown(fields[5])}`: expected <NA>")
    extra = extras[0]
    name, confidence = _name_and_confidence(fields[7 + extra :])
    return RttmLine(
        number, fields[0], " ".join(fields[1 : 2 + extra]), _seconds("start", fields[3 + extra]),
        _seconds("duration", fields[4 + extra]), fields[6 + extra], name, confidence,
    )  # fmt: skip


def _seconds(name: str, field: str) -> float:
    try:
        return seconds_of(field)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from error


def _fits(fields: list[str]) -> bool:
    """Whether the fields from number 4 on are two times, and `<NA>`."""
    return fields[5] in NOTHING and _is_number(fields[3]) and _is_number(fields[4])


def _name_and_confidence(fields: list[str]) -> tuple[str, str]:
    """The last two fields may be confidence and look-ahead: numbers or `<NA>`."""
    size = len(fields)
    while size > 1 and len(fields) - size < 2 and (fields[size - 1] in NOTHING or _is_number(fields[size - 1])):
        size -= 1
    return " ".join(fields[:size]), fields[size] if size < len(fields) else UNKNOWN


def _is_number(field: str) -> bool:
    try:
        number_of(field)
    except ValueError:
        return False
    return True


def read_rttm(path: Path, recordings: Sequence[str] = ()) -> dict[str, list[Span]]:
    """Speech per speaker of one recording, speakers in order of first appearance, on the recording's clock.

    Args:
        recordings: Names of the recording, the best first: its file, its session. An RTTM may hold many recordings:
            only the lines of the one with such a name are used. An RTTM that has such a name itself, and holds one
            recording, is used whole.

    Raises InputError with the line and field that are not RTTM, and if no recording in the RTTM has one of the names.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such RTTM; correct rttm_uri")
    if not isinstance(path, Path):  # in a store: read once, by the layout
        return _speech(path, tuple(recordings))
    state = path.stat()
    return dict(_known_speech(path, (state.st_size, state.st_mtime_ns, state.st_ino), tuple(recordings)))


@lru_cache(maxsize=8)  # each participant of a session asks for the same, and an RTTM may be that of a whole corpus
def _known_speech(path: Path, stamp: tuple[int, int, int], recordings: tuple[str, ...]) -> dict[str, list[Span]]:
    return _speech(path, recordings)


def _speech(path: Path, recordings: tuple[str, ...]) -> dict[str, list[Span]]:
    lines = [line for line in rttm_lines(read_text(path), str(path)) if line.type == "SPEAKER"]
    for line in lines:
        for name, seconds in (("start", line.start_s), ("duration", line.duration_s)):
            if seconds < 0:
                raise InputError(f"{path} line {line.number}: {name} `{seconds}`: expected seconds, 0 or more")
    if recordings and lines:
        own = _own_name(list(dict.fromkeys(line.file for line in lines)), path, recordings)
        lines = [line for line in lines if line.file == own]
    spans: dict[str, list[Span]] = {}
    for line in lines:
        start_ms = seconds_to_ms(line.start_s)
        spans.setdefault(line.speaker, []).append(Span(start_ms, start_ms + seconds_to_ms(line.duration_s)))
    ordered = sorted(spans, key=lambda speaker: (min(spans[speaker]), speaker))
    return {speaker: merge_spans(spans[speaker]) for speaker in ordered}


def _own_name(names: list[str], path: Path, recordings: Sequence[str]) -> str:
    """The one of the RTTM's `names` that is the recording's."""
    for wanted in recordings:
        for spelling in _SPELLINGS:
            fitting = [name for name in names if spelling(name) == spelling(wanted)]
            if len(fitting) > 1:
                raise InputError(
                    f"{path}: {' and '.join(fitting)} may both be {wanted}; give each recording its own RTTM"
                )
            if fitting:
                return fitting[0]
    if len(names) == 1 and _stem(path.name) in map(_stem, recordings):
        return names[0]
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if names[5:] else "")
    raise InputError(
        f"{path}: no lines of this recording, {' or '.join(dict.fromkeys(recordings))}; it has those of {shown}; "
        "correct the names in its second field"
    )


def _plain(name: str) -> str:
    """As RTTMs write it, blanks as `_`; macOS stores names of files in another Unicode form."""
    return unicodedata.normalize("NFC", name).replace(" ", "_").replace("\\", "/")


def _file_name(name: str) -> str:
    return _plain(name).rpartition("/")[2]


def _stem(name: str) -> str:
    """Without a suffix such as .wav or .m2ts; `2024.01.02` has none."""
    return re.sub(r"\.(?=\w*[A-Za-z])\w{2,5}$", "", _file_name(name))


_SPELLINGS = (_plain, _file_name, _stem)
