"""A person -> train, valid or test. People are assigned to splits only here, so that they never leak between splits."""

import hashlib
from dataclasses import dataclass

from wanstreamer.bounds import BadValue, bounded, check_bounds


@dataclass(frozen=True, kw_only=True)
class SplitParams:
    """How people are assigned to splits: part of the parameters of ingest, and of the sample, which must agree."""

    split_salt: str = "wanstreamer"  # another salt assigns people to other splits
    valid_fraction: float = bounded(0.1, at_least=0, below=1)  # share of people in the split valid
    test_fraction: float = bounded(0.2, at_least=0, below=1)  # share of people in the split test

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.valid_fraction + self.test_fraction >= 1:
            raise BadValue(
                "test_fraction",
                self.test_fraction,
                f"less than 1 with valid_fraction ({self.valid_fraction}), so that sessions are left for training",
                "valid_fraction",
            )


def split_of(speaker_id: str, salt: str, valid_fraction: float, test_fraction: float) -> str:
    """`train`, `valid` or `test` for a person, by a salted hash that other people do not change."""
    salted_hash = hashlib.sha256(f"{salt}:{speaker_id}".encode()).digest()
    place = int.from_bytes(salted_hash[:8], "big") / 2**64
    if place < test_fraction:
        return "test"
    return "valid" if place < test_fraction + valid_fraction else "train"
