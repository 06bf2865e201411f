"""What people have corrected in the annotation of a session: the lines of `corrections/SESSION.jsonl` with
`"stage": "annotate"`, an input of the stage annotate.

    {"stage": "annotate", "kind": "event", "action": "change", "participant": "b", "start_ms": 61200, "end_ms": 61500,
     "value": {"kind": "transition", "label": "interruption", "outcome": "failed", "other": "a"},
     "before": {"kind": "transition", "label": "terminal_overlap", "start_ms": 61180, "end_ms": 61500}, "by": "mk"}

`kind` is word, speech or event; `action` is add, change, delete, right or wrong. `participant`, `start_ms` and `end_ms`
are those of the row as it should be (as it was, for delete, right and wrong). `value` has the other fields of the new
row, `before` is the row of the table that the line is about. `by` is the author, `at` the time (ISO 8601),
`rule_version` the version of the turn rules that made the row. Times are whole milliseconds on the session's clock.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pipelines.formats.records import plain_text, whole_number
from wanstreamer.clock import Span
from wanstreamer.errors import InputError
from wanstreamer.text_files import shown
from wanstreamer.turns.nonspeech import LABELS as SOUNDS

STAGE = "annotate"
ACTIONS = ("add", "change", "delete", "right", "wrong")
LAST_MS = 10**10  # later than the end of any session
LONGEST_LINE = 65_536  # characters: a longer line is no correction

# Kind of event -> label -> the outcomes that it can have.
EVENT_LABELS: dict[str, dict[str, tuple[str, ...]]] = {
    "backchannel": {"lexical": (), "acoustic": ()},
    "state": dict.fromkeys(("pause", "gap", "latch", "overlap_within", "overlap_between", "boundary_ambiguous"), ()),
    "transition": dict.fromkeys(
        ("initiation", "hold", "smooth_shift", "pause_interruption", "terminal_overlap"), ()
    ) | {
        "simultaneous_start": ("goes_on", "gives_way", "both_stop"),
        "interruption": ("floor_taking", "failed", "both_stop"),
    },
    "non_speech": dict.fromkeys(SOUNDS, ()),
}  # fmt: skip
# Kind -> what `value` may have, and those of it that identify a row together with participant and times.
VALUES = {"word": ("word",), "speech": (), "event": ("kind", "label", "outcome", "other", "yield_ms", "fto_ms")}
IDENTITY = {"word": ("word",), "speech": (), "event": ("kind", "label")}
FIELDS = (
    "stage", "kind", "action", "participant", "start_ms", "end_ms", "value", "before", "rule_version", "by", "at",
)  # fmt: skip
TIMES = ("start_ms", "end_ms")


@dataclass(frozen=True, kw_only=True)
class AnnotationCorrection:
    """One line about the annotation."""

    where: str  # file and line, for messages
    kind: str
    action: str
    participant: str
    span: Span
    by: str
    value: Mapping[str, Any] = field(default_factory=dict)
    before: Mapping[str, Any] | None = None  # with participant, start_ms, end_ms and what identifies the row
    at: str = ""
    rule_version: str = ""

    def to_json(self) -> dict[str, Any]:
        """Values that JSON can hold; `from_json` takes them."""
        return {**vars(self), "span": list(self.span)}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "AnnotationCorrection":
        return AnnotationCorrection(**{**values, "span": Span(*values["span"])})


def annotation_correction(content: Mapping[str, Any], where: str) -> AnnotationCorrection:
    """Check one line. Raises InputError with `where`, field, value and what is expected."""
    for name in content:
        if name not in FIELDS:
            raise InputError(f"{where}: unknown field `{shown(name)}`; known: {', '.join(FIELDS)}")
    kind = one_of(content.get("kind"), "kind", tuple(VALUES), where)
    action = one_of(content.get("action"), "action", ACTIONS, where)
    participant = _text(content, "participant", where)
    by = _text(content, "by", where)
    span = span_of(content, kind, where)
    value = _value(content.get("value"), kind, action, participant, where)
    before = _before(content.get("before"), kind, action, participant, span, where)
    at = _text(content, "at", where) if content.get("at") is not None else ""
    try:
        datetime.fromisoformat(at or "2000-01-01")
    except ValueError as error:
        raise InputError(f"{where}: at `{shown(at)}`: expected a time such as 2026-11-30T12:00:00+00:00") from error
    version = _text(content, "rule_version", where) if content.get("rule_version") is not None else ""
    if len(json.dumps(dict(content), default=str)) > LONGEST_LINE:
        raise InputError(f"{where}: is longer than {LONGEST_LINE} characters; leave out what is no field of the row")
    return AnnotationCorrection(
        where=where, kind=kind, action=action, participant=participant, span=span, by=by, value=value, before=before,
        at=at, rule_version=version,
    )  # fmt: skip


def one_of(value: object, name: str, known: Sequence[str], where: str) -> str:
    """The value, if it is known. Raises InputError."""
    if value not in known:
        problem = "is missing" if value is None else f"`{shown(value)}`"
        raise InputError(f"{where}: {name} {problem}; expected one of {', '.join(known)}")
    return str(value)


def span_of(content: Mapping[str, Any], kind: str, where: str) -> Span:
    """start_ms and end_ms of an object; an event may be an instant. Raises InputError."""
    times = []
    for name in TIMES:
        try:
            time_ms = whole_number(content.get(name))
        except ValueError:
            time_ms = -1
        if not 0 <= time_ms <= LAST_MS:
            problem = "is missing" if content.get(name) is None else f"`{shown(content[name])}`"
            raise InputError(f"{where}: {name} {problem}; expected a whole number of milliseconds, 0 or more")
        times.append(time_ms)
    if times[1] < times[0] or (times[1] == times[0] and kind != "event"):
        raise InputError(f"{where}: end_ms {times[1]} is not after start_ms {times[0]}")
    return Span(*times)


def _text(content: Mapping[str, Any], name: str, where: str) -> str:
    value = content.get(name)
    if value is None or value == "":
        raise InputError(f"{where}: {name} is missing; expected {'who corrects' if name == 'by' else 'a text'}")
    try:
        return plain_text(value)
    except ValueError as error:
        raise InputError(f"{where}: {name} {error}") from error


def _value(value: object, kind: str, action: str, participant: str, where: str) -> dict[str, Any]:
    """The new row's fields; only `add` and `change` use them."""
    if value is not None and not isinstance(value, Mapping):
        raise InputError(f'{where}: value `{shown(value)}`: expected an object, such as {{"word": "yes"}}')
    row = {name: each for name, each in (value or {}).items() if each is not None and name not in TIMES}
    for name in row:
        if name not in VALUES[kind]:
            known = ", ".join(VALUES[kind]) or "none"
            raise InputError(f"{where}: value has an unknown field `{shown(name)}`; known for {kind}: {known}")
    if action not in ("add", "change"):
        return {}
    if kind == "word":
        row["word"] = _text(row, "word", f"{where}: value")
    if kind == "event":
        labels = EVENT_LABELS[one_of(row.get("kind"), "kind", tuple(EVENT_LABELS), f"{where}: value")]
        label = one_of(row.get("label"), "label", tuple(labels), f"{where}: value")
        if row.get("outcome") is not None and row["outcome"] not in labels[label]:
            known = f"one of {', '.join(labels[label])}" if labels[label] else "none"
            raise InputError(f"{where}: value: outcome `{shown(row['outcome'])}` of {label}; expected {known}")
        if row.get("other") is not None and _text(row, "other", f"{where}: value") == participant:
            raise InputError(f"{where}: value: other `{participant}` is the participant; expected another one")
        for name in ("yield_ms", "fto_ms"):
            if row.get(name) is not None and (not isinstance(row[name], int) or isinstance(row[name], bool)):
                raise InputError(f"{where}: value: {name} `{shown(row[name])}`; expected whole milliseconds")
    return row


def _before(before: object, kind: str, action: str, participant: str, span: Span, where: str) -> dict[str, Any] | None:
    if action == "add":
        if before:
            raise InputError(f"{where}: add takes no before; leave it out, or use change")
        return None
    if not isinstance(before, Mapping):
        raise InputError(f"{where}: {action} needs before, an object with the row as the table has it")
    row = {"participant": participant, **before}
    for name in ("participant", *IDENTITY[kind]):
        row[name] = _text(row, name, f"{where}: before")
    row["start_ms"], row["end_ms"] = span_of(row, kind, f"{where}: before")
    kept = ("participant", *TIMES, *VALUES[kind], "confidence")
    return {name: row[name] for name in kept if row.get(name) is not None}
