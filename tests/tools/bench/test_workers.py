"""Efficiency of work that sleeps: what counts, and every figure is there."""

import argparse
import json
from typing import Any

import pytest

from tools.bench import workers
from wanstreamer.errors import InputError


def figures(**options: Any) -> Any:
    args: dict[str, Any] = {
        "workers": [2], "median_s": 0.3, "sessions_each": 12, "rounds": 1, "builds": False, "nodes": 0,
        "only_nodes": False, "delay_ms": 1.0,
    }  # fmt: skip
    return workers.run(argparse.Namespace(**args | options))


def test_time_asleep_counts_from_the_last_workers_begin_to_the_last_begin() -> None:
    idle = [[(0.0, 1.0), (1.0, 2.0), (3.0, 4.0)], [(1.0, 5.0)]]  # one second of two workers' four
    assert workers.share_asleep(idle, 2, -10.0) == {"start_s": 11.0, "steady_s": 2.0, "efficiency": 0.75}
    with pytest.raises(InputError, match="2 of 3 workers had work"):
        workers.share_asleep(idle, 3, 0.0)
    with pytest.raises(InputError, match="the last session began before"):
        workers.share_asleep([[(0.0, 9.0)], [(1.0, 2.0)]], 2, 0.0)


@pytest.mark.long
@pytest.mark.parametrize("builds", [False, True])
def test_workers_on_one_machine(builds: bool, capsys: pytest.CaptureFixture[str]) -> None:
    found = figures(builds=builds, rounds=2)
    (row,) = found["one_machine"]
    assert row["workers"] == 2 and row["sessions"] == 24 and len(row["efficiencies"]) == 2
    assert 0 < row["efficiency"] <= 1 and row["steady_s"] > 2
    json.dumps(found)
    workers.show(found)
    assert "sleeps 0.3 s in the median" in capsys.readouterr().out
    with pytest.raises(InputError, match="--rounds 0"):
        figures(rounds=0)


@pytest.mark.long
def test_workers_on_two_nodes_with_slow_files(capsys: pytest.CaptureFixture[str]) -> None:
    found = figures(nodes=2, only_nodes=True, delay_ms=2.0)
    (row,) = found["nodes"]
    assert row["sessions"] == 24 and 0 < row["efficiency"] < 1
    workers.show(found)
    assert "on 2 nodes, with a store and 2 ms more" in capsys.readouterr().out
