"""A packed folder of windows: 14 of train in two shards, 4 of test in one."""

from pathlib import Path

import pytest

from pipelines.engine.run import RunParams
from pipelines.pack import stage as pack
from pipelines.pack.stage import PackParams
from tests.helpers.small_corpus import Person, keep_in_process, write_corpus


def pack_windows(home: Path) -> Path:
    people = {"a": Person(words=[("red", 330, 470)], speech_units={2}), "b": Person()}
    corpus = {"s0": ("train", 20, people), "s1": ("train", 15, people), "s2": ("test", 12, people)}
    write_corpus(home / "data", corpus)
    with pytest.MonkeyPatch.context() as patch:
        keep_in_process(patch)
        pack.run(home / "data", PackParams(window_units=8, stride_units=4), RunParams(workers=1))
    return home / "data" / "windows"
