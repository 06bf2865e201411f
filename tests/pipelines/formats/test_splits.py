"""Splits have the shares that they are given."""

from pipelines.formats.splits import split_of


def test_splits_have_their_shares() -> None:
    counts = {"train": 0, "valid": 0, "test": 0}
    for index in range(2000):
        counts[split_of(f"speaker {index}", "salt", 0.1, 0.2)] += 1
    assert abs(counts["test"] / 2000 - 0.2) < 0.04 and abs(counts["valid"] / 2000 - 0.1) < 0.03
