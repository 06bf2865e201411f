"""What people have corrected: `corrections/SESSION.jsonl` in the data folder, an input of the stages, never written by
them.

Each line is an object with a `stage`, a `kind`, and what the kind needs; `by` and `at` (who, and when) are for people.
Times are whole milliseconds on the clock of the recording. For the stage `people`:

    {"stage": "people", "kind": "speech", "participant": "b", "start_ms": 61200, "end_ms": 63000, "by": "mk"}
        b speaks there; `"participant": "other"`: a third voice does
    {"stage": "people", "kind": "not_speech", "participant": "a", "start_ms": 61200, "end_ms": 63000}
        a does not speak there. With the line above, the stretch goes from a to b
    {"stage": "people", "kind": "crop", "participant": "a", "start_ms": 0, "end_ms": 9000, "value": "40:0:320:240"}
        a is seen there, in this part of the picture: x:y:width:height in pixels as displayed
    {"stage": "people", "kind": "not_visible", "participant": "a", "start_ms": 9000, "end_ms": 12000}
        a is not seen there
    {"stage": "people", "kind": "swap_faces", "start_ms": 0, "end_ms": 9000}
        the faces of a and b are exchanged there; without times: in the whole recording
    {"stage": "people", "kind": "is_dyad"}
        a and b are right, though the stage is not certain (`uncertain_assignment`)
    {"stage": "people", "kind": "not_a_dyad", "value": "a radio is playing"}
        the recording is rejected, for this reason

Lines count in the order of the file: a later one wins where two concern the same stretch. Lines about the annotation
are in pipelines.sources.annotation_corrections.
"""

import os
import unicodedata
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.engine.files import hash_of
from pipelines.engine.jobs import Rejected
from pipelines.formats.records import plain_text, whole_number
from pipelines.sources import annotation_corrections as annotation
from pipelines.sources import append_corrections as appending
from pipelines.sources.row import FOUND_PARTICIPANTS
from wanstreamer.clock import Span, intersect_spans, merge_spans
from wanstreamer.errors import InputError
from wanstreamer.text_files import parse_json, read_text, shown, text_lines

FOLDER = "corrections"  # below the data folder
SUFFIX = ".jsonl"
OTHER = "other"  # a third voice
FACE_COLUMNS = ("face_confidence", "face_certainty")  # null for a person off screen
LAST_MS = 10**10  # later than the end of any recording

# Kind -> the fields that it needs, and those that it may have, besides `by` and `at`.
KINDS: dict[str, dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "people": {
        "speech": (("participant", "start_ms", "end_ms"), ()),
        "not_speech": (("participant", "start_ms", "end_ms"), ()),
        "crop": (("participant", "start_ms", "end_ms", "value"), ()),
        "not_visible": (("participant", "start_ms", "end_ms"), ()),
        "swap_faces": ((), ("start_ms", "end_ms")),
        "is_dyad": ((), ("value",)),
        "not_a_dyad": (("value",), ()),
    }
}
FIELDS = ("stage", "kind", "participant", "start_ms", "end_ms", "value", "by", "at")


@dataclass(frozen=True, kw_only=True)
class Correction:
    """One line of a file of corrections."""

    where: str  # file and line, for messages
    kind: str
    span: Span  # the whole recording, if the line has no times
    participant: str = ""
    value: Any = None  # of `crop`: x, y, width, height; else a text or None

    def to_json(self) -> list[Any]:
        """Values that JSON can hold; `from_json` takes them."""
        return [self.where, self.kind, *self.span, self.participant, self.value]

    @staticmethod
    def from_json(values: Sequence[Any]) -> "Correction":
        where, kind, start_ms, end_ms, participant, value = values
        return Correction(
            where=where, kind=kind, span=Span(start_ms, end_ms), participant=participant,
            value=tuple(value) if isinstance(value, list) else value,
        )  # fmt: skip


def listed_corrections(data: Path) -> dict[str, str]:
    """Session -> what changes when its file of corrections does. One listing of the folder; no file is read."""
    try:
        with os.scandir(data / FOLDER) as entries:
            files = [entry for entry in entries if entry.name.endswith(SUFFIX) and not entry.name.startswith(".")]
            stats = [(entry.name, entry.stat()) for entry in files if entry.is_file()]
    except FileNotFoundError:
        return {}
    except NotADirectoryError as error:
        raise InputError(f"{data / FOLDER}: is a file; expected a folder with a file {SUFFIX} per session") from error
    return {
        unicodedata.normalize("NFC", name.removesuffix(SUFFIX)): hash_of([stat.st_size, stat.st_mtime_ns])
        for name, stat in stats
    }


def stray_corrections(data: Path, listed: Iterable[str], sessions: Container[str]) -> str:
    """A warning about corrections of sessions that a stage does not have, probably typing mistakes; empty: none."""
    strays = sorted(session for session in listed if session not in sessions)
    if not strays:
        return ""
    more = f" and {len(strays) - 1} more" if strays[1:] else ""
    return f"{data / FOLDER / strays[0]}{SUFFIX}{more}: no such session to correct; expected SESSION{SUFFIX}"


def corrections_file(data: Path, session_id: str) -> Path:
    """The file of corrections of a session, which may not exist; its name may be composed as on a Mac (NFD)."""
    path = data / FOLDER / f"{session_id}{SUFFIX}"
    decomposed = path.with_name(unicodedata.normalize("NFD", path.name))
    return decomposed if decomposed.is_file() and not path.is_file() else path


def corrections_hash(data: Path, session_id: str) -> str:
    """Hash of the text of a session's corrections; empty if there are none."""
    path = corrections_file(data, session_id)
    return hash_of(read_text(path)) if path.is_file() else ""


def read_corrections(path: Path, stage: str) -> list[Correction]:
    """The corrections for a stage, in the order of the file; none if there is no file.

    Raises InputError for a mistake in any line, of whatever stage, with file and line.
    """
    return [
        _correction(content, "people", where)
        for content, where in _lines(path)
        if content["stage"] == stage == "people"
    ]


def read_annotation_corrections(path: Path) -> list[annotation.AnnotationCorrection]:
    """The corrections for the stage annotate, in the order of the file; none if there is no file. Raises InputError."""
    return [
        annotation.annotation_correction(content, where)
        for content, where in _lines(path)
        if content["stage"] == annotation.STAGE
    ]


def append_correction(data: Path, session_id: str, lines: Sequence[Mapping[str, Any]]) -> None:
    """Add checked lines to the session's file, all or none. Raises InputError: pipelines.sources.append_corrections."""
    appending.append_correction(data, session_id, lines, corrections_file(data, session_id))


def _lines(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Every line as an object of a known stage, with file and line for messages; those of `people` are checked."""
    if not path.is_file():
        return
    for number, line in enumerate(text_lines(read_text(path), str(path)), start=1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        content = parse_json(line, where)
        if not isinstance(content, dict):
            raise InputError(f'{where}: `{shown(line)}`: expected an object, such as {{"stage": "people", ...}}')
        if _one_of(content, "stage", (*KINDS, annotation.STAGE), where) in KINDS:
            _correction(content, content["stage"], where)
        yield content, where


def _one_of(content: Mapping[str, Any], name: str, known: Iterable[str], where: str) -> str:
    value = content.get(name)
    if value not in tuple(known):
        given = "is missing" if value is None else f"`{shown(value)}`"
        raise InputError(f"{where}: {name} {given}; expected one of {', '.join(known)}")
    return str(value)


def _correction(content: Mapping[str, Any], stage: str, where: str) -> Correction:
    kind = _one_of(content, "kind", KINDS[stage], where)
    needed, allowed = KINDS[stage][kind]
    filled = {name: value for name, value in content.items() if value is not None}
    for name in filled:
        if name not in FIELDS:
            raise InputError(f"{where}: unknown field `{shown(name)}`; known: {', '.join(FIELDS)}")
        if name not in ("stage", "kind", "by", "at", *needed, *allowed):
            raise InputError(f"{where}: {kind} takes no {name}; leave it out")
    for name in needed:
        if name not in filled:
            raise InputError(f"{where}: {kind} needs {name}; expected {', '.join(needed)}")
    values = {name: _read(name, kind, value, where) for name, value in filled.items() if name in _READERS}
    span = Span(values.get("start_ms", 0), values.get("end_ms", LAST_MS))
    if span.end_ms <= span.start_ms:
        raise InputError(f"{where}: end_ms {span.end_ms} is not after start_ms {span.start_ms}")
    return Correction(
        where=where, kind=kind, span=span, participant=values.get("participant", ""), value=values.get("value")
    )


def _read(name: str, kind: str, value: object, where: str) -> Any:
    try:
        return _READERS[name](value, kind)
    except ValueError as error:
        raise InputError(f"{where}: {name} {error}") from error


def _participant(value: object, kind: str) -> str:
    known = (*FOUND_PARTICIPANTS, OTHER) if kind in ("speech", "not_speech") else FOUND_PARTICIPANTS
    if value not in known:
        raise ValueError(f"`{shown(value)}`: expected one of {', '.join(known)}")
    return str(value)


def _time(value: object, kind: str) -> int:
    try:
        time_ms = whole_number(value)
    except ValueError:
        time_ms = -1
    if not 0 <= time_ms <= LAST_MS:
        raise ValueError(f"`{shown(value)}`: expected a whole number of milliseconds, 0 or more")
    return time_ms


def _value(value: object, kind: str) -> Any:
    if kind != "crop":
        return plain_text(value)
    parts = value.split(":") if isinstance(value, str) else value if isinstance(value, list) else []
    try:
        x, y, width, height = (whole_number(part) for part in parts)
    except ValueError:
        x = y = width = height = -1
    if min(x, y) < 0 or min(width, height) < 2:
        raise ValueError(f"`{shown(value)}`: expected x:y:width:height in whole pixels, at least 2 wide and high")
    return x, y, width, height


_READERS: dict[str, Callable[[object, str], Any]] = {
    "participant": _participant, "start_ms": _time, "end_ms": _time, "value": _value,
    "by": lambda value, _: plain_text(value), "at": lambda value, _: plain_text(value),
}  # fmt: skip


def is_confirmed(corrections: Iterable[Correction]) -> bool:
    """Whether a person has said that the two participants are right, however uncertain the stage is."""
    return any(correction.kind == "is_dyad" for correction in corrections)


def apply_people(
    rows: Sequence[Mapping[str, Any]],
    corrections: Sequence[Correction],
    *,
    duration_ms: int | None = None,
    picture: tuple[int, int] | None = None,
) -> list[dict[str, Any]]:
    """The two rows of the table `people` of one session, as they are after the corrections. The arguments stay.

    Args:
        rows: Of participants a and b.
        corrections: Of `read_corrections(..., "people")`.
        duration_ms: Length of the recording: what is later is left out.
        picture: Width and height of the displayed picture; None: not known.

    Raises:
        Rejected: `not_a_dyad` with the reason that the person has given; `bad_correction` for a crop outside the
            picture, or a span after the end of the recording; `one_person` if one of the two does not speak any more.
    """
    people = {str(row["participant"]): _open(row) for row in rows}
    for correction in corrections:
        if correction.kind == "not_a_dyad":
            raise Rejected("not_a_dyad", f"{correction.where}: {correction.value}")
        if duration_ms is not None and 0 < duration_ms <= correction.span.start_ms:
            raise Rejected(
                "bad_correction",
                f"{correction.where}: start_ms {correction.span.start_ms} is after the end of the recording "
                f"({duration_ms} ms)",
            )
        within = _clipped(correction, duration_ms)
        if correction.kind in _APPLY and within.span.duration_ms > 0:
            _APPLY[correction.kind](people, within, picture)
    if corrections:
        for who, person in people.items():
            if not person["speech"]:
                raise Rejected("one_person", f"after the corrections, {who} never speaks")
    return [_closed(person) for person in people.values()]


def _clipped(correction: Correction, duration_ms: int | None) -> Correction:
    end_ms = correction.span.end_ms if duration_ms is None else min(correction.span.end_ms, duration_ms)
    span = Span(min(correction.span.start_ms, end_ms), end_ms)
    return Correction(**{**vars(correction), "span": span})


SPAN_COLUMNS = ("speech", "overlap", "others", "uncertain", "visible")


def _open(row: Mapping[str, Any]) -> dict[str, Any]:
    spans = {name: [Span(each["start_ms"], each["end_ms"]) for each in row[name]] for name in SPAN_COLUMNS}
    return {**row, **spans, "crops": [dict(crop) for crop in row["crops"]]}


def _closed(person: Mapping[str, Any]) -> dict[str, Any]:
    spans = {name: [span._asdict() for span in person[name]] for name in SPAN_COLUMNS}
    return {**person, **spans}


def _without(spans: Sequence[Span], hole: Span) -> list[Span]:
    outside = [Span(0, hole.start_ms), Span(hole.end_ms, 2 * LAST_MS)]
    return intersect_spans(merge_spans(spans), [span for span in outside if span.duration_ms > 0])


def _with(spans: Sequence[Span], span: Span) -> list[Span]:
    return merge_spans([*spans, span])


def _correct_speech(people: dict[str, dict[str, Any]], correction: Correction, picture: object) -> None:
    """`speech` and `not_speech`. Within the span, both speak exactly where the speech of both lies."""
    change = _with if correction.kind == "speech" else _without
    span = correction.span
    if correction.participant == OTHER:
        for person in people.values():
            person["others"] = change(person["others"], span)
        return
    own = people[correction.participant]
    own["speech"] = change(own["speech"], span)
    both = intersect_spans(*(merge_spans(person["speech"]) for person in people.values()))
    for person in people.values():
        person["overlap"] = merge_spans([*_without(person["overlap"], span), *intersect_spans(both, [span])])
        person["uncertain"] = _without(person["uncertain"], span)


def _correct_crop(people: dict[str, dict[str, Any]], correction: Correction, picture: tuple[int, int] | None) -> None:
    x, y, width, height = correction.value
    if picture is not None and (x + width > picture[0] or y + height > picture[1]):
        crop_text, size = f"{x}:{y}:{width}:{height}", f"{picture[0]}x{picture[1]}"
        raise Rejected("bad_correction", f"{correction.where}: crop {crop_text} reaches outside the {size} picture")
    person, span = people[correction.participant], correction.span
    crop = {"x": float(x), "y": float(y), "width": float(width), "height": float(height)}
    person["crops"] = _spliced(person["crops"], [{"start_ms": span.start_ms, **crop, "cut": True}], span)
    person["visible"] = _with(person["visible"], span)
    for column in FACE_COLUMNS:
        if person[column] is None:
            person[column] = 1.0  # a person has seen the face


def _correct_visible(people: dict[str, dict[str, Any]], correction: Correction, picture: object) -> None:
    person = people[correction.participant]
    person["visible"] = _without(person["visible"], correction.span)
    if not person["visible"]:
        person |= {"crops": [], **dict.fromkeys(FACE_COLUMNS)}


def _correct_faces(people: dict[str, dict[str, Any]], correction: Correction, picture: object) -> None:
    """`swap_faces`"""
    first, second = people.values()
    span = correction.span
    crops, visible = [person["crops"] for person in (first, second)], [person["visible"] for person in (first, second)]
    for person, own, other, seen, seen_of_other in (
        (first, crops[0], crops[1], visible[0], visible[1]),
        (second, crops[1], crops[0], visible[1], visible[0]),
    ):
        person["crops"] = _spliced(own, _within(other, span), span)
        person["visible"] = merge_spans([*_without(seen, span), *intersect_spans(merge_spans(seen_of_other), [span])])
    for column in FACE_COLUMNS:
        values = first[column], second[column]
        for person, other in ((first, values[1]), (second, values[0])):
            known = person[column] if person[column] is not None else other
            person[column] = known if person["visible"] else None


def crop_at(crops: Sequence[Mapping[str, Any]], at_ms: int) -> dict[str, Any] | None:
    """The crop of a path at an instant, as a row of it that begins there; None before its first row."""
    place = sum(crop["start_ms"] <= at_ms for crop in crops) - 1
    if place < 0:
        return None
    begin = crops[place]
    end = crops[place + 1] if place + 1 < len(crops) else None
    share = 0.0
    if end is not None and not end["cut"]:
        share = (at_ms - begin["start_ms"]) / max(1, end["start_ms"] - begin["start_ms"])
    names = ("x", "y", "width", "height")
    moved = {name: begin[name] + share * ((end[name] if end else begin[name]) - begin[name]) for name in names}
    return {"start_ms": at_ms, **moved, "cut": begin["cut"] and begin["start_ms"] == at_ms}


def _within(crops: Sequence[Mapping[str, Any]], span: Span) -> list[dict[str, Any]]:
    """The part of a path in a span; it begins with a jump."""
    first = crop_at(crops, span.start_ms)
    rows = [dict(crop) for crop in crops if span.start_ms < crop["start_ms"] < span.end_ms]
    return [*([{**first, "cut": True}] if first else []), *rows]


def _spliced(crops: Sequence[Mapping[str, Any]], part: Sequence[dict[str, Any]], span: Span) -> list[dict[str, Any]]:
    """A path with another part in a span. At both ends of the part it jumps."""
    before = [dict(crop) for crop in crops if crop["start_ms"] < span.start_ms]
    after = [dict(crop) for crop in crops if crop["start_ms"] > span.end_ms]
    again = crop_at(crops, span.end_ms) if span.end_ms < LAST_MS else None
    # A path that moved into the span stands still from its last row before it: nothing else is known of its way.
    if before and (last := crop_at(crops, span.start_ms - 1)) and last["start_ms"] > before[-1]["start_ms"]:
        before.append({**last, "cut": False})
    return [*before, *part, *([{**again, "cut": True}] if again else []), *after]


_APPLY: dict[str, Callable[[dict[str, dict[str, Any]], Correction, tuple[int, int] | None], None]] = {
    "speech": _correct_speech, "not_speech": _correct_speech, "crop": _correct_crop,
    "not_visible": _correct_visible, "swap_faces": _correct_faces,
}  # fmt: skip
