"""Several sets of windows with weights -> one endless stream, in an order fixed by a seed, resumable at any sample.

    blend = Blend([(open_windows("talks/windows", "train"), 3.0), (open_windows("calls/windows", "train"), 1.0)])
    loader = Loader(blend, batch_size=8, seed=0)       # three of four windows are of talks

A weight is a share of the windows drawn, relative to the other weights; the sizes of the sets do not count. The stream
is cut into blocks of BLOCK places. The number of places that a set has in the first n blocks follows from the weights
alone and is never more than one per set away from its exact share. Within a block, places are shuffled. Each set has
its own endless stream: all its windows once in each of its epochs, shuffled by the seed, the set and the epoch. A small
set therefore repeats before a large one has been seen once.

The order depends on the sets' windows, the weights and the seed. It does not depend on the order in which the sets are
listed, nor on the shards that the windows lie in.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from math import lcm
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from wanstreamer.errors import InputError
from wanstreamer.windows.index import Place, Windows
from wanstreamer.windows.manifest import Manifest
from wanstreamer.windows.shards import ShardReader

BLOCK = 256  # places of the stream that are shuffled together
MUST_AGREE = (
    "window_units", "field_shapes", "vocab_size", "text_slots", "blank_id", "missing_id", "begin_id",
    "text_lead_units", "tokenizer_sha256", "audio_codec", "video_codec",
)  # fmt: skip


class Order(Protocol):
    """The places of a set's endless stream -> numbers of its windows."""

    def take(self, start: int, stop: int) -> list[int]: ...


class Blend:
    """Windows of one split from several folders, with weights.

    Args:
        sets: Windows, of any folders, and the weight of each: a finite number above 0.

    Attributes:
        sets: The windows of each set, sorted by their content.
        weights: The weight of each of `sets`.

    Raises InputError, naming both folders, if their windows differ in a shape, a VAE, the tokenizer or a text id.
    """

    def __init__(self, sets: Sequence[tuple[Windows, float]]) -> None:
        if not sets:
            raise InputError("a blend of no windows; name at least one set")
        for windows, weight in sets:
            if not 0 < weight < float("inf"):
                raise InputError(f"{windows.manifest.folder}: weight {weight}; expected a number above 0")
        check_agree([windows.manifest for windows, _ in sets])
        by_content = sorted(sets, key=lambda item: (item[0].content_sha256, item[1]))
        self.sets = tuple(windows for windows, _ in by_content)
        self.weights = tuple(float(weight) for _, weight in by_content)
        self.split = self.sets[0].split

    def __len__(self) -> int:
        return sum(map(len, self.sets))

    @property
    def shares(self) -> tuple[float, ...]:
        """The share of the stream of each of `sets`; they add up to 1."""
        return tuple(weight / sum(self.weights) for weight in self.weights)

    def stream(self) -> list[dict[str, Any]]:
        """What the order depends on besides the seed: a JSON value, part of a loader's state."""
        return [
            {"content_sha256": windows.content_sha256, "num_windows": len(windows), "weight": weight}
            for windows, weight in zip(self.sets, self.weights, strict=True)
        ]


def check_agree(manifests: Sequence[Manifest]) -> None:
    """Raises InputError if one model cannot train on the windows of all folders. A folder without audio fits any."""
    for other in manifests[1:]:
        for name in MUST_AGREE:
            mine, theirs = getattr(manifests[0], name), getattr(other, name)
            if name in ("audio_codec", "video_codec"):
                mine = next((value for m in manifests if (value := getattr(m, name)) is not None), None)
                theirs = mine if theirs is None else theirs
            if mine != theirs:
                against = next(m for m in manifests if getattr(m, name) == mine)
                raise InputError(_disagreement(name, against, other))


def _disagreement(name: str, first: Manifest, other: Manifest) -> str:
    mine, theirs = getattr(first, name), getattr(other, name)
    if name == "field_shapes":
        field = next(field for field in mine if mine[field] != theirs[field])
        what, mine, theirs = f"the shape of {field}", list(mine[field]), list(theirs[field])
        remedy = "encode both with the same VAEs at the same size and rate (vae.weights), and pack both again"
    elif name.endswith("_codec"):
        what, mine, theirs = f"the {name.removesuffix('_codec')} VAE", mine[:12], theirs[:12]
        remedy = "set vae.weights of one data folder to the models/vae of the other, and run its stages from vae again"
    elif name in ("tokenizer_sha256", "vocab_size"):
        what, mine, theirs = "the tokenizer", first.tokenizer_sha256[:12], other.tokenizer_sha256[:12]
        remedy = "set pack.tokenizer of one data folder to the models/tokenizer.json of the other, and pack it again"
    else:
        what, remedy = name, f"pack both with the same pack.{name}"
    return f"{other.folder}: {what} is {theirs}, but {mine} in {first.folder}; {remedy}"


class BlendOrder:
    """Places of a blend's stream -> (number of the set, number of the window in it)."""

    def __init__(self, orders: Sequence[Order], weights: Sequence[float], seed: int) -> None:
        self.orders, self.seed = orders, seed
        exact = [Fraction(weight) for weight in weights]
        whole = lcm(*(weight.denominator for weight in exact))
        self._weights = [int(weight * whole) for weight in exact]
        self._shuffled = lru_cache(maxsize=2)(self._shuffled_block)

    def counts(self, stop: int) -> list[int]:
        """How many of the first `stop` places each set has before places are shuffled; never falls as `stop` grows.

        The first set gets its share of all places, rounded down; the second its share of the places that are left, and
        so on. With exact integers, no weight is rounded however long the stream is.
        """
        counts, left, rest = [], stop, sum(self._weights)
        for weight in self._weights:
            counts.append(left * weight // rest)
            left, rest = left - counts[-1], rest - weight
        return counts

    def take(self, start: int, stop: int) -> list[tuple[int, int]]:
        """The windows at the places `start` to `stop` (exclusive) of the stream."""
        windows: list[tuple[int, int]] = []
        while start < stop:
            block, first = divmod(start, BLOCK)
            of_block, begin = self._shuffled(block), self.counts(block * BLOCK)
            sets = of_block[first : first + stop - start]
            part = np.stack([sets, sets], axis=1)
            for number in np.unique(sets).tolist():
                before = begin[number] + int(np.count_nonzero(of_block[:first] == number))
                of_set = sets == number
                part[of_set, 1] = self.orders[number].take(before, before + int(np.count_nonzero(of_set)))
            windows += map(tuple, part.tolist())
            start += len(sets)
        return windows

    def _shuffled_block(self, block: int) -> np.ndarray:
        """The set of each place of a block: int64 (BLOCK,)."""
        begin, end = self.counts(block * BLOCK), self.counts((block + 1) * BLOCK)
        sets = np.repeat(np.arange(len(begin)), np.subtract(end, begin))
        np.random.default_rng([self.seed, block, len(self.orders)]).shuffle(sets)
        return sets


def seed_of_set(windows: Windows, seed: int) -> int:
    """The seed of a set's own order. It depends on its content, so that another set in the blend changes nothing."""
    sequence = np.random.SeedSequence([seed, int(windows.content_sha256[:16], 16)])
    return int(sequence.generate_state(1, np.uint64)[0])


def blend_places(blend: Blend, chosen: Sequence[tuple[int, int]], *, skip_damaged: bool = False) -> list[Place]:
    """Where the windows (number of the set, number in it) lie; `Place.set` is the number of the set."""
    places: list[Place | None] = [None] * len(chosen)
    for number, windows in enumerate(blend.sets):
        at = [place for place, (of, _) in enumerate(chosen) if of == number]
        rows = windows.rows.places([chosen[place][1] for place in at], skip_damaged=skip_damaged)
        for place, row in zip(at, rows, strict=True):
            places[place] = row._replace(set=number)
    return [place for place in places if place is not None]


class BlendReader:
    """A `ShardReader` for places in several folders: one reader per set."""

    def __init__(self, manifests: Sequence[Manifest], *, skip_damaged: bool = False) -> None:
        self.readers = [ShardReader(manifest, skip_damaged=skip_damaged) for manifest in manifests]
        self.record_dtype = self.readers[0].record_dtype

    def __enter__(self) -> "BlendReader":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        for reader in self.readers:
            reader.close()

    def announce(self, places: Sequence[Place]) -> None:
        for number, reader in enumerate(self.readers):
            reader.announce([place for place in places if place.set == number])

    def read(self, places: Sequence[Place], records: np.ndarray) -> list[str]:
        """As `ShardReader.read`, but the masked shards are named with their folders."""
        masked: list[str] = []
        as_bytes = records.view(np.uint8).reshape(len(places), self.record_dtype.itemsize)
        for number, reader in enumerate(self.readers):
            at = [row for row, place in enumerate(places) if place.set == number]
            if not at:
                continue
            of_set = np.empty(len(at), self.record_dtype)
            shards = reader.read([places[row] for row in at], of_set)
            as_bytes[at] = of_set.view(np.uint8).reshape(len(at), self.record_dtype.itemsize)
            masked += [str(reader.manifest.folder / shard) for shard in shards]
        return masked
