"""Blends: the shares that the weights name, each set once per epoch, and one stream for any ranks and resumes."""

import json
from collections import Counter
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.packed_windows import change_manifest, lay_out, pack_windows
from wanstreamer.errors import InputError
from wanstreamer.windows.blend import BLOCK, Blend, BlendOrder
from wanstreamer.windows.loader import FIELDS, Loader, Windows, load_sample, open_windows
from wanstreamer.windows.order import ExactOrder

SIZES_AND_WEIGHTS = st.lists(
    st.tuples(st.integers(1, 40), st.floats(1e-6, 1e6, allow_nan=False)), min_size=1, max_size=5
)


def order_of(sets: list[tuple[int, float]], seed: int) -> BlendOrder:
    orders = [ExactOrder(size, seed + number) for number, (size, _) in enumerate(sets)]
    return BlendOrder(orders, [weight for _, weight in sets], seed)


@given(SIZES_AND_WEIGHTS, st.integers(0, 10**12), st.integers(0, 10**6))
@settings(deadline=None)
def test_the_places_of_a_set_are_its_share_at_any_length_and_never_fall(sets, stop, more):
    order = order_of(sets, 0)
    counts, later = order.counts(stop), order.counts(stop + more)
    total = sum(Fraction(weight) for _, weight in sets)
    assert sum(counts) == stop and sum(later) == stop + more
    for (_, weight), count, after in zip(sets, counts, later, strict=True):
        assert abs(count - Fraction(weight) / total * stop) <= len(sets)
        assert after >= count


@given(SIZES_AND_WEIGHTS, st.integers(0, 3), st.data())
@settings(deadline=None, max_examples=20)
def test_any_cuts_give_the_same_stream_and_each_set_comes_once_per_epoch(sets, seed, data):
    length = 3 * BLOCK + 17
    cuts = [0, *sorted(data.draw(st.lists(st.integers(0, length), max_size=6))), length]
    whole = order_of(sets, seed).take(0, length)
    resumed = order_of(sets, seed)
    parts = [resumed.take(start, stop) for start, stop in zip(cuts, cuts[1:], strict=False)]
    assert [window for part in parts for window in part] == whole
    assert order_of(sets, seed).take(length - 5, length) == whole[-5:]  # without anything before it
    for number, (size, _) in enumerate(sets):
        drawn = [window for of, window in whole if of == number]
        for start in range(0, len(drawn) - size + 1, size):
            assert sorted(drawn[start : start + size]) == list(range(size))


def test_places_are_shuffled_within_a_block():
    """Otherwise ranks, or tasks that are assigned by place, would always meet the same set."""
    stream = [of for of, _ in order_of([(9, 1.0), (9, 1.0)], 0).take(0, 4 * BLOCK)]
    blocks = [tuple(stream[start : start + BLOCK]) for start in range(0, len(stream), BLOCK)]
    assert len(set(blocks)) == 4 and {sum(block) for block in blocks} == {BLOCK // 2}
    assert 0.3 < np.mean(stream[::2]) < 0.7


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Windows, Windows]:
    """8 windows of s0, and 6 of s1 in a folder of their own."""
    packed = pack_windows(tmp_path_factory.mktemp("packed"))
    home = tmp_path_factory.mktemp("sets")
    first = lay_out(packed, [["s0"], ["s2"]], home / "first")
    second = lay_out(packed, [["s1"]], home / "second")
    return open_windows(first, "train"), open_windows(second, "train")


def taken(windows: Windows | Blend, steps: int, **settings) -> tuple[list[str], dict]:
    settings = {"batch_size": 4, "seed": 5} | settings
    state = settings.pop("state", None)
    loader = Loader(windows, **settings)
    if state is not None:
        loader.load_state_dict(state)
    stream = iter(loader)
    names = [name for batch in islice(stream, steps) for name in batch.window_id]
    stream.close()
    return names, json.loads(json.dumps(loader.state_dict()))


def test_three_of_four_windows_come_from_the_set_with_weight_three(two):
    names, _ = taken(Blend([(two[0], 3.0), (two[1], 1.0)]), 4 * BLOCK // 4)
    assert Counter(name[:2] for name in names) == {"s0": 3 * BLOCK, "s1": BLOCK}


def test_the_order_in_which_sets_are_listed_changes_nothing(two):
    forward, back = Blend([(two[0], 2.0), (two[1], 1.0)]), Blend([(two[1], 1.0), (two[0], 2.0)])
    assert taken(forward, 20) == taken(back, 20)
    assert taken(forward, 20)[0] != taken(forward, 20, seed=6)[0]


def test_other_shards_change_nothing(two, tmp_path):
    other = lay_out(Path(two[0].manifest.folder), [["s2"], ["s0"]], tmp_path / "other")
    moved = open_windows(other, "train")
    assert taken(Blend([(two[0], 1.0), (two[1], 1.0)]), 9) == taken(Blend([(moved, 1.0), (two[1], 1.0)]), 9)


@pytest.mark.parametrize("shuffle", ["exact", "shards"])
def test_ranks_share_the_stream_and_a_resume_at_any_step_continues_it(two, shuffle):
    blend = Blend([(two[0], 2.5), (two[1], 1.0)])
    whole, _ = taken(blend, 12, batch_size=6, shuffle=shuffle)
    for stop in range(12):
        before, state = taken(blend, stop, batch_size=6, shuffle=shuffle)
        by_rank = [
            taken(blend, 2 * (12 - stop), batch_size=1, rank=rank, num_ranks=3, state=state, shuffle=shuffle)
            for rank in range(3)
        ]
        after = [name for step in zip(*(names for names, _ in by_rank), strict=True) for name in step]
        assert before + after == whole
        assert len({json.dumps(state) for _, state in by_rank}) == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_windows_of_both_folders_are_read_whole(two, workers):
    loader = Loader(Blend([(two[0], 1.0), (two[1], 1.0)]), batch_size=5, seed=1, workers=workers)
    samples = {
        row["window_id"]: load_sample(windows, number)
        for windows in two
        for number, row in enumerate(windows.rows)
    }  # fmt: skip
    stream = iter(loader)
    for batch in islice(stream, 6):
        for name, (_, dimensions) in FIELDS.items():
            expected = np.stack([samples[window_id][name] for window_id in batch.window_id])
            np.testing.assert_array_equal(getattr(batch, f"{name}_B{dimensions}").numpy(), expected)
    stream.close()


def test_a_state_of_other_weights_or_other_windows_is_refused(two):
    _, state = taken(Blend([(two[0], 2.0), (two[1], 1.0)]), 3)
    for other in (Blend([(two[0], 3.0), (two[1], 1.0)]), Blend([(two[0].take([0, 1]), 2.0), (two[1], 1.0)])):
        with pytest.raises(InputError, match="sets is .* resume with the same windows"):
            taken(other, 1, state=state)


def test_chosen_windows_have_a_content_of_their_own(two):
    windows = two[0]
    assert windows.content_sha256 == windows.manifest.content_sha256["train"]
    some = {windows.take(places).content_sha256 for places in ([0, 2], [0, 3], [2, 0])}
    assert len({windows.content_sha256, *some}) == 4
    assert windows.take([0, 2]).content_sha256 == windows.take([0, 2]).content_sha256


def test_rows_by_shard_are_the_rows(tmp_path):
    windows = open_windows(pack_windows(tmp_path), "train")
    for chosen in (windows, windows.take([1, 9, 3, 12])):
        rows = {}
        for places, table in chosen.rows.by_shard("window_id", "start_unit"):
            rows |= dict(zip(places.tolist(), table.to_pylist(), strict=True))
        assert [rows[place] for place in range(len(chosen))] == list(chosen.rows.select("window_id", "start_unit"))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"tokenizer_sha256": "0" * 64}, "the tokenizer is 000000000000"),
        ({"audio_codec": "1" * 64}, "the audio VAE is 111111111111"),
        ({"text_lead_units": 7}, "text_lead_units is 7"),
    ],
)
def test_folders_that_differ_are_named_both(two, tmp_path, changes, expected):
    other = lay_out(Path(two[1].manifest.folder), [["s1"]], tmp_path / "other")
    change_manifest(other, **changes)
    with pytest.raises(InputError) as caught:
        Blend([(two[0], 1.0), (open_windows(other, "train"), 1.0)])
    line = str(caught.value)
    assert line.startswith(f"{other}: {expected}") and f"in {two[0].manifest.folder}; " in line and "\n" not in line


def test_a_folder_without_any_audio_fits(two, tmp_path):
    silent = lay_out(Path(two[1].manifest.folder), [["s1"]], tmp_path / "silent")
    change_manifest(silent, audio_codec=None)
    assert len(Blend([(two[0], 1.0), (open_windows(silent, "train"), 1.0)])) == 14


@pytest.mark.parametrize("weight", [0, -1.0, float("nan"), float("inf")])
def test_a_weight_is_a_number_above_zero(two, weight):
    with pytest.raises(InputError, match="expected a number above 0"):
        Blend([(two[0], weight)])
