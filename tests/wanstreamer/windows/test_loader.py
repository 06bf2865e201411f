"""data: every window once per epoch, and the same order after any resume, by any ranks, batch size and workers."""

import json
import random
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.counts import examples
from tests.helpers.packed_windows import pack_windows, shard_of
from wanstreamer.errors import InputError
from wanstreamer.windows.index import index_path
from wanstreamer.windows.loader import (
    FIELDS,
    Batch,
    Loader,
    Windows,
    batches,
    batches_once,
    load_batch,
    load_sample,
    open_windows,
    stream_indices,
)  # fmt: skip
from wanstreamer.windows.order import ShardOrder


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> Path:
    return pack_windows(tmp_path_factory.mktemp("packed"))


@pytest.fixture(scope="module")
def windows(packed) -> Windows:
    return open_windows(packed, "train")


def test_batch_has_the_documented_shapes_and_types(packed, windows):
    batch = next(batches(packed, "train", batch_size=3, seed=0))
    shapes = {name: tuple(value.shape) for name, value in vars(batch).items() if isinstance(value, torch.Tensor)}
    assert shapes["agent_audio_BKNC"] == shapes["user_audio_BKNC"] == (3, 8, 4, 3)
    assert shapes["agent_video_BKCHW"] == (3, 8, 2, 3, 4) and shapes["agent_text_BKS"] == (3, 8, 2)
    assert shapes["labels_BKL"] == (3, 8, 4) and len(batch.window_id) == 3
    assert {shape for name, shape in shapes.items() if name.endswith("known_BK")} == {(3, 8)}
    assert batch.agent_audio_BKNC.dtype == torch.float32 and batch.user_text_BKS.dtype == torch.int64
    assert batch.user_audio_known_BK.dtype == torch.bool and batch.labels_BKL.dtype == torch.int64
    assert isinstance(batch.to("cpu", non_blocking=True), Batch)
    assert_holds(load_batch(windows, [3, 3, 0]), windows, [3, 3, 0])


def assert_holds(batch: Batch, windows: Windows, indices: Sequence[int]) -> None:
    """The batch is the windows at `indices`, values included."""
    assert batch.window_id == [windows.rows[index]["window_id"] for index in indices]
    samples = [load_sample(windows, index) for index in indices]
    for name, (_, dimensions) in FIELDS.items():
        values = getattr(batch, f"{name}_B{dimensions}").numpy()
        np.testing.assert_array_equal(values, np.stack([sample[name] for sample in samples]))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_before_a_damaged_window_come_first(packed, tmp_path, workers):
    """The places of windows are looked up ahead of time: an index that is damaged must not end the stream early."""
    shutil.copytree(packed, tmp_path / "windows")
    shard = shard_of(tmp_path / "windows", "s1")
    (tmp_path / "windows" / index_path(str(shard))).write_bytes(b"x")
    windows = open_windows(tmp_path / "windows", "train")
    seed = next(seed for seed in range(1000) if max(stream_indices(14, seed, 0, 4)) < 8)  # first 4 windows of s0
    order = stream_indices(14, seed, 0, 14)
    before = next(place for place, index in enumerate(order) if index >= 8)
    stream = iter(Loader(windows, batch_size=1, seed=seed, workers=workers))
    for index in order[:before]:
        assert_holds(next(stream), windows, [index])
    with pytest.raises(InputError, match="damaged"):
        next(stream)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "index"])
def test_damaged_windows_are_masked_and_counted_when_asked(packed, tmp_path, damage, workers):
    shutil.copytree(packed, tmp_path / "windows")
    shard = shard_of(tmp_path / "windows", "s1")
    content = bytearray(shard.read_bytes())
    if damage == "index":
        (tmp_path / "windows" / index_path(str(shard))).unlink()
    elif damage == "gone":
        shard.unlink()
    else:
        content[-3000] ^= 1  # in the last window
        shard.write_bytes(content if damage == "flip" else content[:-3000])
    lost = {13} if damage in ("flip", "cut") else {*range(8, 14)}
    whole, windows = open_windows(packed, "train"), open_windows(tmp_path / "windows", "train")
    loader = Loader(windows, batch_size=4, seed=3, workers=workers, skip_damaged=True)
    stream = iter(loader)
    counted = 0
    for step, batch in enumerate(islice(stream, 7)):
        indices = stream_indices(14, 3, 4 * step, 4 * step + 4)
        kept = [place for place, index in enumerate(indices) if index not in lost]
        assert_holds(batch.take(kept), whole, [indices[place] for place in kept])
        masked = batch.take([place for place in range(4) if place not in kept])
        for name, (_, dimensions) in FIELDS.items():
            nothing = 1 if name.endswith("_text") else -1 if name == "labels" else 0
            assert (getattr(masked, f"{name}_B{dimensions}") == nothing).all()
        assert all(name.startswith("s1-") for name in masked.window_id)
        counted += len(masked.window_id)
        assert loader.damaged == ({str(shard.relative_to(tmp_path / "windows")): counted} if counted else {})
    stream.close()
    assert counted == 2 * len(lost)


@given(st.integers(1, 40), st.integers(0, 3), st.data())
@settings(deadline=None)
def test_every_window_comes_once_per_epoch_across_seams(num_windows, seed, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, 3 * num_windows), max_size=8)))
    edges = [0, *cuts, 3 * num_windows]
    stream = [i for cut in range(len(edges) - 1) for i in stream_indices(num_windows, seed, edges[cut], edges[cut + 1])]
    epochs = [stream[start : start + num_windows] for start in range(0, 3 * num_windows, num_windows)]
    assert all(sorted(epoch) == list(range(num_windows)) for epoch in epochs)


def test_order_is_a_global_shuffle_fixed_by_seed_and_epoch(packed):
    def epoch(seed: int, number: int) -> list[str]:
        stream = batches(packed, "train", batch_size=7, seed=seed, position=14 * number)
        return [key for batch in islice(stream, 2) for key in batch.window_id]

    first = epoch(0, 0)
    assert len(first) == 14 and first == epoch(0, 0)
    assert first != epoch(1, 0) and first != epoch(0, 1) and first != sorted(first)
    # Global: windows of both shards are mixed, not one shard after the other.
    assert len({key.split("-")[0] for key in first[:7]}) == 2


def run(windows: Windows, state: dict | None, steps: int, *, num_ranks: int, **settings) -> tuple[list[Batch], dict]:
    """Steps of all ranks from `state` on: their batches in the order of the stream, and the state afterwards."""
    by_rank, states = [], []
    for rank in range(num_ranks):
        loader = Loader(windows, seed=7, rank=rank, num_ranks=num_ranks, **settings)
        if state is not None:
            loader.load_state_dict(state)
        stream = iter(loader)
        by_rank.append(list(islice(stream, steps)))
        states.append(json.loads(json.dumps(loader.state_dict())))
        stream.close()
    assert all(state_of_rank == states[0] for state_of_rank in states)
    return [batch for step in zip(*by_rank, strict=True) for batch in step], states[0]


@pytest.mark.parametrize("shuffle", [{}, {"shuffle": "shards", "buffer_shards": 1}], ids=["exact", "shards"])
def test_a_run_stopped_anywhere_goes_on_with_the_uninterrupted_order(windows, shuffle):
    """50 stops, each resumed by other ranks, batch size and workers; values are compared, not names alone."""
    draw = random.Random(0)
    stops = set()
    uninterrupted = stream_indices(14, 7, 0, 300)
    if shuffle:
        uninterrupted = ShardOrder(windows.rows.segments(), 7, buffer_shards=1).take(0, 300)
    for number in range(50):
        _, state = run(
            windows, None, draw.randrange(1, 9), num_ranks=draw.randint(1, 3), batch_size=draw.randint(1, 5),
            prefetch=0, **shuffle,
        )  # fmt: skip
        stop, workers, batch_size = state["position"], (0, 0, 1, 0, 2)[number % 5], draw.randint(1, 5)
        stops.add(stop)
        num_ranks = 1 + number % 2 if workers else draw.randint(1, 3)
        resumed, state = run(
            windows, state, 6, num_ranks=num_ranks, batch_size=batch_size, workers=workers,
            prefetch=draw.randint(0, 2), **shuffle,
        )  # fmt: skip
        assert state["position"] == stop + 6 * num_ranks * batch_size
        for place, batch in enumerate(resumed):
            start = stop + place * batch_size
            assert_holds(batch, windows, uninterrupted[start : start + batch_size])
    assert len(stops) > 20 and {stop % 14 for stop in stops} > set(range(7))


def test_what_was_read_ahead_does_not_count_as_taken(windows):
    loader = Loader(windows, batch_size=2, seed=0, prefetch=4)
    stream = iter(loader)
    assert loader.state_dict()["position"] == 0
    next(stream), next(stream)
    assert loader.state_dict()["position"] == 4
    stream.close()
    again = next(iter(loader))
    assert_holds(again, windows, stream_indices(14, 0, 4, 6))


def test_a_state_of_another_stream_is_refused(windows, packed):
    state = Loader(windows, batch_size=2, seed=0).state_dict()
    for other, seed, message in (
        (windows, 1, "seed is 1, but the state to resume from was made with 0"),
        (open_windows(packed, "test"), 0, "split is 'test'"),
        (windows.take(range(1, 14)), 0, "num_windows is 13"),
        (
            replace(windows, manifest=replace(windows.manifest, content_sha256={"train": "0"})),
            0,
            "content_sha256 is '0'",
        ),
    ):
        with pytest.raises(InputError, match=message):
            Loader(other, batch_size=2, seed=seed).load_state_dict(state)
    for shuffle in ({"shuffle": "shards"}, {"shuffle": "shards", "buffer_shards": 2}):
        loader = Loader(windows, batch_size=2, seed=0, **shuffle)
        with pytest.raises(InputError, match="None|'exact'"):
            loader.load_state_dict(state)
        loader.load_state_dict(loader.state_dict())
        with pytest.raises(InputError, match="buffer_shards is 3, but"):
            Loader(windows, batch_size=2, seed=0, shuffle="shards", buffer_shards=3).load_state_dict(
                loader.state_dict()
            )
    old = {"index_sha256": "0" * 64, "split": "train", "num_windows": 14, "seed": 0, "position": 4}
    with pytest.raises(InputError, match="made with None; resume with the same windows, seed and shuffle"):
        Loader(windows, batch_size=2, seed=0).load_state_dict(old)


@given(st.integers(1, 14), st.integers(1, 5), st.integers(1, 5))
@examples(30)
def test_one_pass_over_ranks_meets_every_window_once(windows, num_windows, batch_size, num_ranks):
    some = windows.take(slice(num_windows))
    by_rank = [list(batches_once(some, batch_size, rank=rank, num_ranks=num_ranks)) for rank in range(num_ranks)]
    steps = list(zip(*by_rank, strict=True))  # as many batches on every rank
    assert [key for step in steps for batch in step for key in batch.window_id] == [
        row["window_id"] for row in some.rows
    ]
    for step in steps:
        sizes = [len(batch.labels_BKL) for batch in step]
        assert sizes == [len(batch.window_id) for batch in step]
        assert max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1


def test_one_pass_of_one_rank_has_whole_batches_and_a_rest(windows):
    passed = list(batches_once(windows, 4))
    assert [len(batch.window_id) for batch in passed] == [4, 4, 4, 2]
    assert_holds(passed[3], windows, [12, 13])


@pytest.fixture
def no_children() -> Iterator[psutil.Process]:
    me = psutil.Process()
    before = set(me.children())
    yield me
    assert set(me.children()) <= before


def test_workers_end_with_their_reader_and_leave_the_generator_alone(windows, no_children):
    before = torch.get_rng_state()
    stream = iter(Loader(windows, batch_size=2, seed=0, workers=2))
    next(stream)
    assert len(no_children.children()) >= 2
    assert torch.equal(torch.get_rng_state(), before)
    stream.close()


def test_batches_of_workers_keep_their_values(windows):
    stream = iter(Loader(windows, batch_size=3, seed=5, workers=2, prefetch=1))
    taken = list(islice(stream, 20))
    stream.close()
    for step, batch in enumerate(taken):
        assert_holds(batch, windows, stream_indices(14, 5, 3 * step, 3 * step + 3))


def test_prefetching_stops_with_its_reader(windows):
    before = threading.active_count()
    stream = iter(Loader(windows, batch_size=2, seed=0))
    next(stream)
    assert threading.active_count() == before + 1
    stream.close()
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("batch_size", "message"),
    [
        (0, "batch_size 0: expected 1 or more windows"),
        (-3, "batch_size -3: expected"),
        (10**12, r"a batch takes [\d,]+ GB of the [\d,]+ GB of this machine"),
    ],
)
def test_a_batch_that_cannot_be_is_refused(windows, batch_size, message):
    with pytest.raises(InputError, match=message):
        Loader(windows, batch_size=batch_size, seed=0)
    with pytest.raises(InputError, match=message):
        next(batches_once(windows, batch_size))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_larger_than_the_split_goes_on_with_the_next_epochs(windows, workers):
    stream = iter(Loader(windows, batch_size=35, seed=3, workers=workers))
    batch = next(stream)
    stream.close()
    assert_holds(batch, windows, stream_indices(14, 3, 0, 35))
    assert {batch.window_id.count(row["window_id"]) for row in windows.rows} == {2, 3}


def test_a_shuffle_that_cannot_be_is_refused(windows):
    with pytest.raises(InputError, match="shuffle 'none': expected exact or shards"):
        Loader(windows, batch_size=1, seed=0, shuffle="none")
    with pytest.raises(InputError, match="buffer_shards 0: expected 1 or more shards"):
        Loader(windows, batch_size=1, seed=0, shuffle="shards", buffer_shards=0)


def test_ranks_outside_their_number_are_refused(windows):
    with pytest.raises(ValueError, match="rank 2 of 2"):
        Loader(windows, batch_size=1, seed=0, rank=2, num_ranks=2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("workers", [0, 1])
def test_batches_are_pinned_where_cuda_is(windows, workers):
    stream = iter(Loader(windows, batch_size=3, seed=0, workers=workers))
    batch = next(stream)
    stream.close()
    assert all(value.is_pinned() for value in vars(batch).values() if isinstance(value, torch.Tensor))
    assert_holds(batch.to("cuda", non_blocking=True).to("cpu"), windows, stream_indices(14, 0, 0, 3))
