"""A person -> train, valid or test. People are assigned to splits only here, so that they never leak between splits."""

import hashlib


def split_of(speaker_id: str, salt: str, valid_fraction: float, test_fraction: float) -> str:
    """`train`, `valid` or `test` for a person, by a salted hash that other people do not change."""
    salted_hash = hashlib.sha256(f"{salt}:{speaker_id}".encode()).digest()
    place = int.from_bytes(salted_hash[:8], "big") / 2**64
    if place < test_fraction:
        return "test"
    return "valid" if place < test_fraction + valid_fraction else "train"
