"""Corrections of found people: read with every mistake on one line, applied without touching what was given."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.engine.jobs import Rejected
from pipelines.sources.corrections import (
    Correction,
    apply_people,
    corrections_hash,
    is_confirmed,
    listed_corrections,
    read_corrections,
    stray_corrections,
)
from tests.helpers.found_people import crop_row, person, spans
from wanstreamer.errors import InputError

Row = dict[str, Any]


def write(folder: Path, *lines: dict[str, Any] | str, session: str = "s") -> Path:
    path = folder / "corrections" / f"{session}.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def line(kind: str, **fields: Any) -> dict[str, Any]:
    return {"stage": "people", "kind": kind, **fields, "by": "mk", "at": "2026-11-30"}


def corrected(folder: Path, rows: list[Row], *lines: dict[str, Any], **known: Any) -> list[Row]:
    return apply_people(rows, read_corrections(write(folder, *lines), "people"), **known)


def found() -> list[Row]:
    """a speaks from 0 to 2 s, b from 1.5 to 3 s; a is on the left up to 4 s, then in a close-up, b on the right."""
    shared = {"overlap": spans((1500, 2000)), "others": spans((5000, 5100)), "uncertain": spans((900, 1900))}
    left = [crop_row(0, (0, 0, 100, 100)), crop_row(4000, (0, 0, 100, 100)), crop_row(4000, (20, 20, 40, 40), cut=True)]
    right = [crop_row(0, (200, 0, 100, 100)), crop_row(2000, (220, 0, 100, 100))]
    return [
        person("s", "a", speech=spans((0, 2000)), crops=left, visible=spans((0, 6000)), **shared),
        person("s", "b", speech=spans((1500, 3000)), crops=right, visible=spans((0, 4000)), **shared),
    ]


def test_a_stretch_goes_from_one_to_the_other(tmp_path: Path) -> None:
    stretch = {"start_ms": 1000, "end_ms": 1800}
    rows = found()
    a, b = corrected(
        tmp_path, rows, line("not_speech", participant="a", **stretch), line("speech", participant="b", **stretch)
    )
    assert a["speech"] == spans((0, 1000), (1800, 2000)) and b["speech"] == spans((1000, 3000))
    assert a["overlap"] == b["overlap"] == spans((1800, 2000))
    assert a["uncertain"] == b["uncertain"] == spans((900, 1000), (1800, 1900)), "a person is certain"
    assert a["others"] == spans((5000, 5100)) and rows == found(), "the arguments stay"


def test_corrections_travel_as_json(tmp_path: Path) -> None:
    own = read_corrections(
        write(tmp_path, line("crop", participant="a", start_ms=0, end_ms=9, value="1:2:30:40"), line("is_dyad")),
        "people",
    )
    assert [Correction.from_json(json.loads(json.dumps(each.to_json()))) for each in own] == own


def test_a_third_voice_and_both(tmp_path: Path) -> None:
    a, b = corrected(
        tmp_path, found(),
        line("not_speech", participant="other", start_ms=0, end_ms=9000),
        line("speech", participant="other", start_ms=7000, end_ms=7500),
        line("speech", participant="a", start_ms=2000, end_ms=2200),
    )  # fmt: skip
    assert a["others"] == b["others"] == spans((7000, 7500))
    assert a["overlap"] == b["overlap"] == spans((1500, 2200))


def test_a_crop_is_seen_and_jumps_at_both_ends(tmp_path: Path) -> None:
    crop = line("crop", participant="b", start_ms=1000, end_ms=5000, value="10:20:80:60")
    _, b = corrected(tmp_path, found(), crop, picture=(320, 180))
    assert b["visible"] == spans((0, 5000))
    assert b["crops"] == [
        crop_row(0, (200, 0, 100, 100)), crop_row(999, (209.99, 0, 100, 100)),
        crop_row(1000, (10, 20, 80, 60), cut=True), crop_row(5000, (220, 0, 100, 100), cut=True),
    ]  # fmt: skip
    off_screen = [found()[0], person("s", "b", speech=spans((0, 10)))]
    _, b = corrected(tmp_path, off_screen, crop)
    assert (
        b["visible"] == spans((1000, 5000))
        and b["face_confidence"] == b["face_certainty"] == 1.0
        and len(b["crops"]) == 1
    )
    with pytest.raises(Rejected, match=r"s.jsonl line 1: crop 10:20:80:60 reaches outside the 80x60 picture"):
        corrected(tmp_path, found(), crop, picture=(80, 60))


def test_someone_is_not_seen(tmp_path: Path) -> None:
    hidden = line("not_visible", participant="a", start_ms=1000, end_ms=2000)
    a, b = corrected(tmp_path, found(), hidden)
    assert a["visible"] == spans((0, 1000), (2000, 6000)) and b == found()[1]
    a, _ = corrected(tmp_path, found(), {**hidden, "start_ms": 0, "end_ms": 10**9}, duration_ms=6000)
    assert a["visible"] == a["crops"] == [] and a["face_confidence"] is None and a["face_certainty"] is None


def test_faces_are_exchanged_for_a_while_or_throughout(tmp_path: Path) -> None:
    a, b = corrected(tmp_path, found(), line("swap_faces"))
    before_a, before_b = found()
    assert (a["visible"], b["visible"]) == (before_b["visible"], before_a["visible"])
    assert [{**crop, "cut": False} for crop in a["crops"]] == before_b["crops"]
    assert a["speech"] == before_a["speech"] and b["speech"] == before_b["speech"]
    a, b = corrected(tmp_path, found(), line("swap_faces", start_ms=1000, end_ms=3000))
    assert a["crops"] == [
        crop_row(0, (0, 0, 100, 100)), crop_row(999, (0, 0, 100, 100)), crop_row(1000, (210, 0, 100, 100), cut=True),
        crop_row(2000, (220, 0, 100, 100)), crop_row(3000, (0, 0, 100, 100), cut=True), *before_a["crops"][1:],
    ]  # fmt: skip
    assert (a["visible"], b["visible"]) == (before_a["visible"], before_b["visible"])
    twice = corrected(tmp_path, found(), line("swap_faces"), line("swap_faces"))
    assert [row["visible"] for row in twice] == [row["visible"] for row in found()]


def test_a_person_decides_whether_it_is_a_dyad(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="a radio is playing") as caught:
        corrected(tmp_path, found(), line("not_a_dyad", value="a radio is playing"))
    assert caught.value.reason == "not_a_dyad"
    assert corrected(tmp_path, found(), line("is_dyad")) == found()
    assert is_confirmed(read_corrections(tmp_path / "corrections/s.jsonl", "people"))
    with pytest.raises(Rejected, match="b never speaks") as caught:
        corrected(tmp_path, found(), line("not_speech", participant="b", start_ms=0, end_ms=10**9))
    assert caught.value.reason == "one_person"


def test_no_corrections_change_nothing(tmp_path: Path) -> None:
    assert read_corrections(tmp_path / "corrections/s.jsonl", "people") == []
    assert apply_people(found(), []) == found()
    assert listed_corrections(tmp_path) == {} and corrections_hash(tmp_path, "s") == ""


MISTAKES: list[tuple[dict[str, Any] | str, str]] = [
    ("[1]", r"line 2: `\[1\]`: expected an object"),
    ("{", "line 2: not valid JSON"),
    ({"kind": "speech"}, "line 2: stage is missing; expected one of people"),
    ({"stage": "poeple", "kind": "speech"}, "line 2: stage `poeple`; expected one of people"),
    (line("speeches"), "line 2: kind `speeches`; expected one of speech, not_speech, crop"),
    (line("speech", participant="a", start_ms=0), "line 2: speech needs end_ms"),
    (line("speech", participant="c", start_ms=0, end_ms=1), "line 2: participant `c`: expected one of a, b, other"),
    (line("crop", participant="other", start_ms=0, end_ms=1, value="0:0:9:9"), "line 2: participant `other`: expected"),
    (
        line("speech", participant="a", start_ms=1.5, end_ms=9),
        "line 2: start_ms `1.5`: expected a whole number of mill",
    ),
    (line("speech", participant="a", start_ms=-5, end_ms=9), "line 2: start_ms `-5`: expected a whole number of mill"),
    (line("speech", participant="a", start_ms=9, end_ms=9), "line 2: end_ms 9 is not after start_ms 9"),
    (line("speech", participant="a", start_ms=0, end_ms=9, value="x"), "line 2: speech takes no value; leave it out"),
    (
        line("speech", participant="a", start_ms=0, end_ms=9, note="x"),
        "line 2: unknown field `note`; known: stage, kind",
    ),
    (
        line("crop", participant="a", start_ms=0, end_ms=9, value="1:2:3"),
        "line 2: value `1:2:3`: expected x:y:width:heig",
    ),
    (
        line("crop", participant="a", start_ms=0, end_ms=9, value="0:0:1:9"),
        "line 2: value `0:0:1:9`: expected x:y:width",
    ),
    (line("not_a_dyad"), "line 2: not_a_dyad needs value"),
    (line("not_a_dyad", value=["x"]), "line 2: value .*: expected text"),
    ('{"stage": "people", "kind": "is_dyad", "kind": "is_dyad"}', "line 2: .*`kind` twice"),
]


@pytest.mark.parametrize(("mistake", "said"), MISTAKES)
def test_every_mistake_is_one_line_with_its_place(tmp_path: Path, mistake: dict[str, Any] | str, said: str) -> None:
    path = write(tmp_path, line("is_dyad"), mistake)
    with pytest.raises(InputError, match=f"{path} {said}") as caught:
        read_corrections(path, "people")
    assert "\n" not in str(caught.value)


def test_one_listing_says_which_sessions_have_changed(tmp_path: Path) -> None:
    write(tmp_path, line("is_dyad"))
    write(tmp_path, line("is_dyad"), session="caf\u0065\u0301")  # as a Mac composes names
    (tmp_path / "corrections/.s.jsonl.swp").touch()
    (tmp_path / "corrections/notes.txt").touch()
    before = listed_corrections(tmp_path)
    assert sorted(before) == ["caf\u00e9", "s"]
    assert corrections_hash(tmp_path, "caf\u00e9") == corrections_hash(tmp_path, "s") != ""
    write(tmp_path, line("is_dyad"), line("swap_faces"))
    after = listed_corrections(tmp_path)
    assert {key for key in before if before[key] != after[key]} == {"s"}
    assert stray_corrections(tmp_path, after, {"s", "caf\u00e9"}) == ""
    assert "s.jsonl: no such session" in stray_corrections(tmp_path, after, {"caf\u00e9"})


TIMES = st.tuples(st.integers(0, 7000), st.integers(1, 3000)).map(lambda t: {"start_ms": t[0], "end_ms": t[0] + t[1]})
KINDS = st.one_of(
    st.builds(lambda kind, who, at: line(kind, participant=who, **at),
              st.sampled_from(["speech", "not_speech"]), st.sampled_from(["a", "b", "other"]), TIMES),
    st.builds(lambda who, at: line("not_visible", participant=who, **at), st.sampled_from("ab"), TIMES),
    st.builds(lambda who, at: line("crop", participant=who, value="1:2:30:40", **at), st.sampled_from("ab"), TIMES),
    st.builds(lambda at: line("swap_faces", **at), TIMES),
)  # fmt: skip


@given(st.lists(KINDS, max_size=6))
def test_whatever_is_corrected_stays_a_table(tmp_path_factory: pytest.TempPathFactory, lines: list[Row]) -> None:
    """Spans are sorted and disjoint, both speak only where both do, crops ascend, and who is seen has a crop."""
    folder = tmp_path_factory.getbasetemp()
    try:
        a, b = corrected(folder, found(), *lines, duration_ms=9000)
    except Rejected as rejected:
        assert rejected.reason == "one_person"
        return
    assert a["overlap"] == b["overlap"] and a["others"] == b["others"]
    for row in (a, b):
        for name in ("speech", "overlap", "others", "visible"):
            edges = [edge for span in row[name] for edge in span.values()]
            assert edges == sorted(set(edges)), name
        starts = [crop["start_ms"] for crop in row["crops"]]
        assert starts == sorted(starts) and (bool(row["crops"]) or not row["visible"])
    for both in a["overlap"]:
        assert all(any(s["start_ms"] <= both["start_ms"] and both["end_ms"] <= s["end_ms"] for s in row["speech"])
                   for row in (a, b))  # fmt: skip


def test_a_span_after_the_end_of_the_recording_is_no_correction(tmp_path: Path) -> None:
    late = line("not_speech", participant="a", start_ms=90_000, end_ms=91_000)
    with pytest.raises(
        Rejected, match=r"s.jsonl line 1: start_ms 90000 is after the end of the recording \(40000 ms\)"
    ):
        corrected(tmp_path, found(), late, duration_ms=40_000)
    assert corrected(tmp_path, found(), {**late, "start_ms": 39_000}, duration_ms=40_000)
