"""Manifests that people and programs write: what means the same is read the same, the rest is one line."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sources.find import find_sources
from pipelines.sources.manifest import is_of, read_manifest
from pipelines.sources.row import NO_PARTICIPANTS
from wanstreamer.errors import InputError

GOOD = {"session_id": "s", "uri": "a.mp4"}


def read(folder: Path, content: bytes, suffix: str = ".jsonl") -> list[dict[str, Any]]:
    path = folder / f"manifest{suffix}"
    path.write_bytes(content)
    return [{k: v for k, v in vars(row).items() if v is not None} for row in read_manifest(path)]


def json_line(**values: object) -> bytes:
    return json.dumps({**GOOD, **values}).encode() + b"\n"


def parquet(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


BARE = {"session_id": "s", "participant": "a", "uri": "a.mp4", "start_offset_ms": 0, "audio_kind": "own"}


def test_a_mark_and_another_unicode_change_nothing(tmp_path: Path) -> None:
    text = json_line(speaker_id="Zoë").decode()
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        assert read(tmp_path, text.encode(encoding)) == [{**BARE, "speaker_id": "Zoë"}]
        table = "session_id,uri,speaker_id\r\ns,a.mp4,Zoe\u0308\r\n"
        assert read(tmp_path, table.encode(encoding), ".csv") == [{**BARE, "speaker_id": "Zoë"}]


def test_numbers_that_pandas_wrote_as_floats(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"session_id": ["s", "s"], "participant": ["a", "b"], "uri": ["a.mp4", "b.mp4"], "channel": [0, 1],
         "start_offset_ms": [None, 1200], "audio_offset_ms": [None, -40], "speaker_id": [None, 7],
         "language": ["en", None]}
    )  # fmt: skip
    expected = [
        {**BARE, "channel": 0, "language": "en"},
        {**BARE, "participant": "b", "uri": "b.mp4", "channel": 1, "start_offset_ms": 1200, "audio_offset_ms": -40,
         "speaker_id": "7"},
    ]  # fmt: skip
    frame["channel"] = frame["channel"].astype(float)
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    lines = frame.to_json(orient="records", lines=True)
    for content, suffix in (
        (frame.to_csv(index=False).encode(), ".csv"),
        (frame.to_csv(index=False, na_rep="nan").encode(), ".CSV"),
        (lines.encode(), ".jsonl"),
        (buffer.getvalue(), ".parquet"),
        (frame.iloc[[1, 0]].to_csv(index=False).encode(), ".csv"),
    ):
        rows = read(tmp_path, content, suffix)
        assert sorted(rows, key=lambda row: row["participant"]) == expected


def test_blanks_around_values_are_no_part_of_them(tmp_path: Path) -> None:
    text = "\n session_id , uri,speaker_id , consent\n\n s , a.mp4,anna ,train ; share\n,,,\ns,b.mp4,\u00a0anna, \n"
    rows = read(tmp_path, text.encode(), ".csv")
    assert [row["speaker_id"] for row in rows] == ["anna", "anna"]
    assert [row.get("consent") for row in rows] == [("train", "share"), None]


def test_missing_is_missing(tmp_path: Path) -> None:
    for missing in (None, math.nan, "", " ", "nan", "<NA>"):
        names = ("speaker_id", "consent", "crop", "channel", "words_uri", "partners")
        assert read(tmp_path, json_line(**dict.fromkeys(names, missing))) == [BARE]
    for missing in (None, math.nan):
        assert read(tmp_path, parquet([{**GOOD, "consent": missing, "speaker_id": missing}]), ".parquet") == [BARE]
    lists = parquet([{**GOOD, "consent": ["train", None], "crop": [0.0, 10.0, 20.0, 30.0]}])
    assert read(tmp_path, lists, ".parquet") == [{**BARE, "consent": ("train",), "crop": (0, 10, 20, 30)}]
    assert read(tmp_path, json_line(consent=[]))[0]["consent"] == ()  # agreed to nothing, which is not unknown


def test_an_empty_participant_of_a_lone_row_asks_for_people_to_be_found(tmp_path: Path) -> None:
    for missing in (None, math.nan, "", " ", "nan", "<NA>"):
        (row,) = read(tmp_path, json_line(participant=missing, language="de", consent="train", audio_uri="a.wav"))
        known = {**BARE, "language": "de", "consent": ("train",), "audio_uri": "a.wav"}
        assert {**row, "unusable": None} == {**known, "unusable": None} and row["unusable"][0] == NO_PARTICIPANTS
        assert "row 1: a.mp4 has no participant" in row["unusable"][1]
    two = read(tmp_path, b"session_id,participant,uri\ns,,a.mp4\ns,,b.mp4\nt,,c.mp4\n", ".csv")
    assert [(row["session_id"], row["participant"], "unusable" in row) for row in two] == [
        ("s", "a", False), ("s", "b", False), ("t", "a", True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "value"),
    [("crop", "0:0:9:9"), ("channel", 0), ("rttm_uri", "a.rttm"), ("rttm_speaker", "anna"), ("speaker_id", "anna"),
     ("words_uri", "a.json"), ("audio_kind", "own"), ("partners", "b")],
)  # fmt: skip
def test_what_is_about_one_person_needs_that_person(tmp_path: Path, column: str, value: object) -> None:
    said = f"manifest.jsonl row 1: {column} is about one person, but the row names no participant; name the participant"
    with pytest.raises(InputError, match=said):
        read(tmp_path, json_line(participant=None, **{column: value}))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"null\n", "row 1: `null`: expected an object per line"),
        (b'["session_id","uri"]\n', "row 1: .*expected an object per line"),
        (json_line() + b"\n3\n", "row 2: `3`: expected an object per line"),
        (json_line() + b'{"session_id": "s"\n', "row 2: not valid JSON"),
        (b'{"session_id":"s","uri":"a","uri":"b"}', "row 1: .*`uri` twice"),
        (json_line(consent=True), "row 1: consent `True`: expected some of train, share, show"),
        (json_line(consent={"train": 1}), "row 1: consent .*expected some of"),
        (json_line(consent=7), "row 1: consent `7`: expected some of"),
        (json_line(consent=["train", ["show"]]), "row 1: consent .*expected some of"),
        (json_line(crop=12), "row 1: crop `12`: expected x:y:width:height"),
        (json_line(crop=[1, 2, None, 4]), "row 1: crop .*expected x:y"),
        (json_line(channel=True), "row 1: channel `True`: expected a whole number, 0 or more"),
        (json_line(channel=1.5), "row 1: channel `1.5`: expected a whole number"),
        (json_line(channel="١"), "row 1: channel `١`: expected a whole number"),
        (json_line(start_offset_ms=math.inf), "row 1: start_offset_ms `inf`: expected a whole number"),
        (json_line(speaker_id=["anna"]), "row 1: speaker_id .*expected text"),
        (json_line(speaker_id=False), "row 1: speaker_id `False`: expected text"),
        (json_line(speaker_id="N/A"), "row 1: speaker_id `N/A`: if it is missing, leave the field empty"),
        (json_line(speaker_id="an\nna"), "row 1: speaker_id .*control character"),
        (json_line(speaker_id="\ud800"), "row 1: speaker_id .*half a letter"),
        (json_line(uri=5), "row 1: uri `5`: expected the name of a file"),
        (json_line(language={}), "row 1: language `{}`: expected text"),
        (json_line(**{"colour": 1}), "row 1: unknown column `colour`"),
    ],
)  # fmt: skip
def test_a_row_that_is_wrong_is_named_with_its_column(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(InputError, match=f"manifest.jsonl {said}") as error:
        read(tmp_path, content)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("session_id,uri\ns\n", "row 1: 1 fields, but the header has 2 columns"),
        ("session_id,uri\ns,a.mp4,b\n", "row 1: more fields than the header"),
        ('session_id,uri\ns,"a.mp4\ns,b.mp4\n', "row 1 .*not CSV .*correct the quotes"),
        ("session_id,uri,uri\ns,a,b\n", "has the column `uri` twice"),
        (",session_id,uri\n0,s,a\n", "row 1: `0` in a column without a name; .*index=False"),
        ("session_id,uri,channel\ns,a.mp4,1;2\n", "row 1: channel `1;2`"),
        ("session_id,uri\ns," + "a" * 200_000, "row 1 .*not CSV"),
    ],
)
def test_a_csv_that_is_damaged_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=f"manifest.csv:? {said}"):
        read(tmp_path, text.encode(), ".csv")


def test_a_parquet_manifest_that_is_damaged_or_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a readable parquet file"):
        read(tmp_path, parquet([GOOD])[:-9], ".parquet")
    with pytest.raises(InputError, match="row 1: consent `True`"):
        read(tmp_path, parquet([{**GOOD, "consent": True}]), ".parquet")
    frame = pd.DataFrame([GOOD], index=pd.Index([5], name=None))
    frame.to_parquet(tmp_path / "manifest.parquet")
    assert len(read_manifest(tmp_path / "manifest.parquet")) == 1


VALUES = st.one_of(
    st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=4),
    st.lists(st.text(max_size=3), max_size=3),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)  # fmt: skip
COLUMNS = ("speaker_id", "channel", "crop", "consent", "partners", "audio_kind", "start_offset_ms", "words_uri")


@given(values=st.dictionaries(st.sampled_from(COLUMNS), VALUES, min_size=1))
def test_whatever_json_holds_is_read_or_named(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> None:
    try:
        [row] = read(tmp_path_factory.getbasetemp(), json.dumps({**GOOD, **values}).encode())
    except InputError as error:
        assert "row 1: " in str(error) and "\n" not in str(error)
        return
    assert row.get("speaker_id") != "nan" and {type(value) for value in row.values()} <= {str, int, tuple}


@given(order=st.permutations(range(4)), quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
       end=st.sampled_from(["\n", "\r\n"]), encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
       pad=st.sampled_from(["", " ", "\t"]))  # fmt: skip
def test_marks_line_ends_blanks_and_orders_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], quoting: Any, end: str, encoding: str, pad: str
) -> None:
    columns = ["session_id", "uri", "speaker_id", "channel"]
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=quoting, lineterminator=end)
    for values in (columns, ["s", "a, b.mp4", "李雷", "1"]):
        writer.writerow([f"{pad}{values[place]}{pad}" for place in order])
    rows = read(tmp_path_factory.getbasetemp(), out.getvalue().encode(encoding), ".csv")
    assert rows == [{**BARE, "uri": "a, b.mp4", "speaker_id": "李雷", "channel": 1}]


def test_people_whose_ids_differ_in_capitals_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "manifest.csv").write_text("session_id,uri,speaker_id\ns,a.mp4,anna \ns,b.mp4,Anna\n")
    find_sources(tmp_path)
    assert "speaker_id Anna and anna differ only in capitals" in capsys.readouterr().err


def test_a_person_is_found_however_the_manifest_writes_them() -> None:
    assert is_of({"session_id": "t", "speaker_id": "Zoe\u0308"}, {"s"}, "Zoë")
    assert is_of({"session_id": 7.0}, {"7"}, "x") and is_of({"speaker_id": 7.0}, {"s"}, "7")
    assert not is_of({"session_id": None, "speaker_id": None}, {"None"}, "None")
