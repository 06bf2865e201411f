"""Conditions on windows: they choose what DuckDB chooses, whatever the shards, and can reach nothing but one row."""

from pathlib import Path

import pytest

from pipelines.train.filters import check_condition, matching, people
from tests.helpers.packed_windows import lay_out, pack_windows, rewrite
from wanstreamer.errors import InputError
from wanstreamer.windows.loader import Windows, open_windows


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_windows(tmp_path_factory.mktemp("packed"))


def chosen(windows: Windows, where: str) -> list[str]:
    return [row["window_id"] for row in matching(windows, where, "data[0].where")[0].rows]


def test_a_condition_chooses_rows_in_their_order_whatever_the_shards(packed: Path, tmp_path: Path) -> None:
    windows = open_windows(packed, "train")
    rows = list(windows.rows)
    expected = [row["window_id"] for row in rows if row["start_unit"] >= 4 and row["agent"] == "a"]
    where = "start_unit >= 4 AND agent = 'a' -- the later ones"
    assert 0 < len(expected) < len(rows) and chosen(windows, where) == expected
    other = open_windows(lay_out(packed, [["s1", "s0"], ["s2"]], tmp_path / "other"), "train")
    assert chosen(other, where) == expected
    assert matching(other, where, "x")[0].content_sha256 == matching(windows, where, "x")[0].content_sha256


def test_all_windows_are_the_whole_split(packed: Path) -> None:
    windows = open_windows(packed, "train")
    assert matching(windows, "", "x")[0] is windows and matching(windows, "start_unit >= 0", "x")[0] is windows


def test_who_refused_to_be_trained_on_is_left_out_and_counted(packed: Path, tmp_path: Path) -> None:
    folder = lay_out(packed, [["s0"], ["s1"], ["s2"]], tmp_path / "windows")
    consents = {"s0": ["show"], "s1": ["train", "share"], "s2": None}
    rewrite(folder, lambda sample: sample._replace(row=sample.row | {"consent": consents[sample.row["session_id"]]}))
    windows, refused = matching(open_windows(folder, "train"), "agent = 'a'", "x")
    assert {row["session_id"] for row in windows.rows} == {"s1"} and refused == 4


def test_people_are_those_of_both_roles(packed: Path) -> None:
    windows = open_windows(packed, "train")
    rows = list(windows.rows)
    assert people(windows) == {row[name] for row in rows for name in ("agent_speaker_id", "user_speaker_id")}


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("start_unit >", "is no SQL condition"),
        ("true) LIMIT 3 --", "is no SQL condition"),
        ("true); DROP TABLE windows; --", "is no SQL condition"),
        ("start_unit", "is no condition but"),  # DuckDB would take a number for one
        ("licence", "is no condition but"),
        ("strat_unit > 3", "names strat_unit"),
        ("shard = 'x'", "names shard"),
        ('"offset" > 3', "names offset"),
        ("current_date > '2020-01-01'", "names current_date"),
        ("random() < 0.5", "changes from run to run because of random()"),
        ("now() > '2020-01-01'", "changes from run to run because of now()"),
        ("start_unit = (SELECT max(start_unit) FROM windows)", "looks at more than one window's row"),
        ("agent IN (SELECT content FROM read_text('/etc/hostname'))", "looks at more than one window's row"),
        ("row_number() OVER () < 3", "looks at more than one window's row"),
        ("count(*) > 3", "is no condition"),
        ("start_unit = $1", "looks at more than one window's row"),
        ("list(start_unit) = 3", "is no condition"),
    ],
)
def test_a_condition_that_is_none_is_one_line(where: str, why: str) -> None:
    with pytest.raises(InputError) as caught:
        check_condition(where, "data[1].where")
    assert str(caught.value).startswith(f"data[1].where: {where!r} {why}") and "\n" not in str(caught.value)


def test_a_condition_that_matches_nothing_names_the_folder(packed: Path) -> None:
    with pytest.raises(InputError, match=r"matches none of the 14 train windows in .*windows; change the condition"):
        matching(open_windows(packed, "train"), "start_unit < 0", "duplex.data[0].where")


def test_a_value_that_cannot_be_computed_is_one_line(packed: Path) -> None:
    with pytest.raises(InputError, match="cannot be computed"):
        matching(open_windows(packed, "train"), "CAST(window_id AS INTEGER) > 3", "duplex.data[0].where")
