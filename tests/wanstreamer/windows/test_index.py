"""index: rows are looked up when needed, in an order that the shards have no part in, with few files open."""

import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import fsspec
import psutil
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.helpers.counts import examples
from tests.helpers.packed_windows import Sample, lay_out, pack_windows, read_samples, write_shards
from tests.helpers.processes import in_another_process
from wanstreamer.windows import index
from wanstreamer.windows.loader import Loader, load_batch, load_sample, open_windows, read_manifest, session_text


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_windows(tmp_path_factory.mktemp("packed"))


@pytest.fixture(scope="module")
def eight(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packed windows as eight sessions of one to four windows: s0-a, s0-b, t0-a, ...; two of them are of test."""
    samples = []
    for sample in read_samples(packed):
        row = dict(sample.row)
        row["session_id"] = f"{row['session_id']}{row['agent']}{'xy'[row['start_unit'] > 4]}"
        samples.append(Sample(row, sample.content))
    by_session: dict[str, list[Sample]] = {}
    for sample in samples:
        by_session.setdefault(sample.row["session_id"], []).append(sample)
    return write_shards(packed, list(by_session.values()), tmp_path_factory.mktemp("eight") / "windows")


def plain_rows(folder: Path, split: str) -> list[dict]:
    """The rows without what depends on the shards."""
    apart = ("shard", "offset")
    return [
        {name: value for name, value in row.items() if name not in apart} for row in open_windows(folder, split).rows
    ]


@given(st.data())
@examples(60)
def test_order_content_and_batches_do_not_depend_on_the_shards(eight, tmp_path_factory, data):
    """Any sessions in any shards, in any order, also one session in several shards."""
    pieces: list[list[Sample]] = []
    by_session: dict[str, list[Sample]] = {}
    for sample in read_samples(eight):
        by_session.setdefault(sample.row["session_id"], []).append(sample)
    for samples in by_session.values():
        cut = data.draw(st.integers(0, len(samples) - 1))
        pieces += [part for part in (samples[:cut], samples[cut:]) if part]
    shards: dict[tuple[str, int], list[Sample]] = {}
    for piece in data.draw(st.permutations(pieces)):
        shards.setdefault((piece[0].row["split"], data.draw(st.integers(0, 3))), []).extend(piece)
    # Two pieces of a session that follow each other in a shard, the later one first, are no order of a session.
    for content in shards.values():
        for before, after in zip(content, content[1:], strict=False):
            same_session = before.row["session_id"] == after.row["session_id"]
            assume(not (same_session and before.row["window_id"] > after.row["window_id"]))
    folder = write_shards(eight, list(shards.values()), tmp_path_factory.mktemp("other") / "windows")
    assert read_manifest(folder).content_sha256 == read_manifest(eight).content_sha256
    for split in ("train", "test"):
        assert plain_rows(folder, split) == plain_rows(eight, split)
    theirs, ours = open_windows(eight, "train"), open_windows(folder, "train")
    assert Loader(theirs, batch_size=5, seed=1).state_dict() == Loader(ours, batch_size=5, seed=1).state_dict()
    streams = [iter(Loader(windows, batch_size=5, seed=1, prefetch=0)) for windows in (theirs, ours)]
    for one, two in islice(zip(*streams, strict=True), 6):
        assert one.window_id == two.window_id
        assert one.agent_video_BKCHW.equal(two.agent_video_BKCHW) and one.labels_BKL.equal(two.labels_BKL)


def test_rows_are_sorted_and_the_shuffle_of_shards_names_its_layout(eight, tmp_path):
    keys = [
        (row["session_id"], row["agent"], row["user"], row["start_unit"]) for row in open_windows(eight, "train").rows
    ]
    assert len(keys) == 14 and keys == sorted(set(keys))
    together = lay_out(eight, [["s0ax", "s0ay", "s0bx"], ["s0by", "s1ax", "s1ay", "s1bx", "s1by"], ["s2ax", "s2bx"]],
        tmp_path / "together")  # fmt: skip
    states = [
        Loader(open_windows(folder, "train"), batch_size=1, seed=0, shuffle="shards").state_dict()
        for folder in (eight, together)
    ]
    assert {name for name in states[0] if states[0][name] != states[1][name]} == {"layout_sha256"}


def test_rows_are_a_sequence_that_can_be_cut_and_taken_apart(eight):
    windows = open_windows(eight, "train")
    rows = windows.rows
    everything = list(rows)
    assert len(windows) == len(rows) == 14 and [rows[place] for place in range(14)] == everything
    assert rows[-1] == everything[-1] and list(reversed(rows)) == everything[::-1]
    for cut in (slice(3, 9), slice(None, None, 3), slice(-2, None), slice(None, None, -1), slice(9, 3)):
        assert list(rows[cut]) == everything[cut]
    assert list(rows.take([5, 0, 5, -1])) == [everything[place] for place in (5, 0, 5, -1)]
    assert list(rows[2:12].take([9, 0])[::-1]) == [everything[2], everything[11]]
    assert rows[2:12].take([9, 0])[1] == everything[2]
    assert list(rows.take([3, 4]).select("agent", "shard")) == [
        {"agent": row["agent"], "shard": row["shard"]} for row in everything[3:5]
    ]
    for wrong in (14, -15):
        with pytest.raises(IndexError):
            rows[wrong]
        with pytest.raises(IndexError):
            rows.take([0, wrong])
    assert set(everything[0]) >= {"window_id", "shard", "offset", "num_bytes", "crc32", "consent", "start_unit"}
    part = windows.take([4, 2])
    assert load_batch(part, [0, 1]).window_id == [everything[4]["window_id"], everything[2]["window_id"]]


def test_windows_of_a_session_are_known_without_an_index(eight, tmp_path):
    shutil.copytree(eight, tmp_path / "windows")
    for path in (tmp_path / "windows").rglob("*/*.arrow"):
        path.unlink()
    rows = open_windows(tmp_path / "windows", "train").rows
    sessions = [row["session_id"] for row in open_windows(eight, "train").rows]
    for session_id in (*set(sessions), "", "s0", "zz", "s2ax"):
        expected = [place for place, name in enumerate(sessions) if name == session_id]
        assert rows.of_session(session_id) == expected
        assert rows[3:].of_session(session_id) == [place - 3 for place in expected if place >= 3]
        assert rows[::-1].of_session(session_id) == [13 - place for place in reversed(expected)]
        assert rows.take([9, 2, 4]).of_session(session_id) == [
            place for place, number in enumerate((9, 2, 4)) if number in expected
        ]


def test_the_text_of_a_session_is_put_together_from_its_windows(packed):
    windows = open_windows(packed, "train")
    text_KS = session_text(windows, "s1", "b", 13)
    for place in windows.rows.of_session("s1"):
        row = windows.rows[place]
        if row["agent"] == "b":
            own = load_sample(windows, place)["agent_text"][: 13 - row["start_unit"]]
            assert (text_KS[row["start_unit"] : row["start_unit"] + len(own)] == own).all()
    assert text_KS.shape == (13, 2) and (text_KS != windows.manifest.missing_id).all()
    assert (session_text(windows, "s2", "b", 13) == windows.manifest.missing_id).all()


def open_indexes() -> list[str]:
    return [file.path for file in psutil.Process().open_files() if file.path.endswith(".arrow")]


def test_few_indexes_are_open_and_none_when_the_windows_are_gone(packed, tmp_path, monkeypatch):
    samples = [sample for sample in read_samples(packed) if sample.row["split"] == "train"]
    folder = write_shards(packed, [[sample] for sample in samples], tmp_path / "windows")
    monkeypatch.setattr(index, "MAX_OPEN_INDEXES", 3)
    monkeypatch.setattr(index, "MAX_HELD_BYTES", 0)
    windows = open_windows(folder, "train")
    assert len(windows.manifest.shards) == 14 and open_indexes() == []
    for _ in range(2):
        assert [place.window_id for place in windows.rows.places(range(14))] == [
            row["window_id"] for row in windows.rows
        ]
        assert len(open_indexes()) == 3
    stream = iter(Loader(windows, batch_size=4, seed=0, prefetch=0))  # no thread, which would open others meanwhile
    next(stream)
    assert len(open_indexes()) == 3
    stream.close()
    del windows, stream
    assert open_indexes() == []


def _read_first(windows: index.Windows) -> list:
    return [windows.rows[0], load_batch(windows, [0]).window_id, len(windows)]


def test_windows_pass_to_another_process(packed):
    windows = open_windows(packed, "train").take([3, 1])
    load_batch(windows, [0])  # files are open
    assert in_another_process(_read_first, windows) == [windows.rows[0], [windows.rows[0]["window_id"]], 2]


@pytest.fixture
def in_memory(packed: Path) -> Iterator[str]:
    files = fsspec.filesystem("memory")
    files.put(str(packed), "/lab/windows", recursive=True)
    yield "memory://lab/windows"
    files.rm("/lab", recursive=True)


def test_indexes_of_a_store_are_fetched_once_and_when_needed(packed, in_memory, monkeypatch):
    fetched: list[list[str]] = []  # the paths of every request
    files = fsspec.filesystem("memory")
    cat = files.cat

    def counted(paths, **options):
        fetched.append(paths)
        return cat(paths, **options)

    monkeypatch.setattr(files, "cat", counted)
    windows, local = open_windows(in_memory, "train"), open_windows(packed, "train")
    assert fetched == []
    for _ in range(2):
        assert windows.rows.places([0, 3]) == local.rows.places([0, 3])
        assert windows.rows[1] == local.rows[1]
    assert [len(paths) for paths in fetched] == [1]
    assert windows.rows.places(range(14)) == local.rows.places(range(14))
    assert list(windows.rows) == list(local.rows)
    assert [len(paths) for paths in fetched] == [1, 1]
    open_windows(in_memory, "train").rows.places(range(14))
    assert [len(paths) for paths in fetched] == [1, 1, 2]  # at once
