"""Lines about the annotation: they are checked, appended whole, and refused when they could never apply."""

import threading
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine.tables import to_table, write_table
from pipelines.sources.corrections import (
    append_correction,
    corrections_file,
    read_annotation_corrections,
    read_corrections,
)
from tests.helpers.blank_rows import blank_row
from wanstreamer.errors import InputError

Line = dict[str, Any]


def event(**fields: Any) -> Line:
    value = {"kind": "backchannel", "label": "lexical", "other": "a"}
    line = {"stage": "annotate", "kind": "event", "action": "add", "participant": "b", "start_ms": 100, "end_ms": 400}
    return line | {"value": value, "by": "mk", "at": "2026-11-30T12:00:00Z"} | fields


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with one session of 1.6 s."""
    write_table(tmp_path, "sessions", to_table("sessions", [blank_row("sessions", session_id="s", num_units=10)]))
    tracks = [blank_row("tracks", session_id="s", participant=who, num_units=10) for who in "ab"]
    write_table(tmp_path, "tracks", to_table("tracks", tracks))
    return tmp_path


def test_lines_are_appended_and_never_changed(data: Path) -> None:
    path = corrections_file(data, "s")
    path.parent.mkdir()
    by_hand = '{"stage": "people", "kind": "is_dyad", "by": "ä"}'
    path.write_text(by_hand, encoding="utf-8")  # without an end of line
    append_correction(data, "s", [event(), event(start_ms=500, end_ms=700)])
    append_correction(data, "s", [event(by="zoë")])
    assert path.read_text(encoding="utf-8").splitlines()[0] == by_hand
    assert [line.by for line in read_annotation_corrections(path)] == ["mk", "mk", "zoë"]
    assert [line.kind for line in read_corrections(path, "people")] == ["is_dyad"]


def test_many_writers_lose_no_line(data: Path) -> None:
    def write(by: str) -> None:
        for _ in range(20):
            append_correction(data, "s", [event(by=by)])

    writers = [threading.Thread(target=write, args=(name,)) for name in "xyz"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(line.by for line in read_annotation_corrections(corrections_file(data, "s"))) == sorted("xyz" * 20)


BEFORE = {"kind": "backchannel", "label": "lexical", "start_ms": 100, "end_ms": 400}
MISTAKES: list[tuple[Line, str]] = [
    (event(participant="c"), "participant `c`; expected one of a, b"),
    (event(end_ms=1601), "end_ms 1601 is after the end of the session"),
    (event(end_ms=99), "end_ms 99 is not after start_ms 100"),
    (event(kind="speech", value=None, end_ms=100), "end_ms 100 is not after start_ms 100"),
    (event(start_ms=-1), "start_ms `-1`; expected a whole number"),
    (event(by=""), "by is missing; expected who corrects"),
    (event(at="yesterday"), "at `yesterday`: expected a time"),
    (event(action="chnge"), "action `chnge`; expected one of add, change"),
    (event(kind="turn"), "kind `turn`; expected one of word, speech, event"),
    (event(value={"kind": "state", "label": "lexical"}), "value: label `lexical`; expected one of pause"),
    (event(value={"kind": "state", "label": "gap", "outcome": "failed"}), "outcome `failed` of gap; expected none"),
    (event(value={"kind": "backchannel", "label": "lexical", "other": "b"}), "other `b` is the participant"),
    (event(value={"kind": "backchannel", "label": "lexical", "note": 1}), "value has an unknown field `note`"),
    (event(value="x" * 100_000), "value `x+...`: expected an object"),
    (event(kind="word", value={"word": "y" * 100_000}), "is longer than 65536 characters"),
    (event(action="change"), "change needs before"),
    (event(before=BEFORE), "add takes no before"),
    (event(note=1), "unknown field `note`"),
    (event(stage="people"), "stage `people`; expected annotate"),
]


@pytest.mark.parametrize(("mistake", "problem"), MISTAKES)
def test_what_could_never_apply_is_refused_in_one_line(data: Path, mistake: Line, problem: str) -> None:
    with pytest.raises(InputError, match=f"correction 2: .*{problem}") as caught:
        append_correction(data, "s", [event(), mistake])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert not corrections_file(data, "s").exists(), "all lines or none"


def test_an_unknown_session_is_refused(data: Path) -> None:
    with pytest.raises(InputError, match="session `../t`: not in the table tracks"):
        append_correction(data, "../t", [event()])


def test_a_mistake_in_a_file_is_named_with_its_line(data: Path) -> None:
    append_correction(data, "s", [event()])
    path = corrections_file(data, "s")
    path.write_text(path.read_text() + '{"stage": "annotate", "kind": "event"\n')
    with pytest.raises(InputError, match=r"s\.jsonl line 2"):
        read_annotation_corrections(path)


def test_long_files_and_other_encodings(data: Path) -> None:
    append_correction(data, "s", [event()] * 10_000)
    path = corrections_file(data, "s")
    path.write_text(path.read_text(), encoding="utf-16")
    append_correction(data, "s", [event(by="zoë")])
    assert len(read_annotation_corrections(path)) == 10_001
