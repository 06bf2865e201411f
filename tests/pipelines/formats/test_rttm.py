"""RTTM: lines are read as spans, and a bad one is named."""

from pathlib import Path

import pytest

from pipelines.formats.rttm import read_rttm
from wanstreamer.clock import Span
from wanstreamer.errors import InputError


def test_rttm_lines_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "x.rttm"
    path.write_text("SPEAKER x 1 0.25 1.5 <NA> <NA> a <NA> <NA>\nSPEAKER x 1 1.0 1.0 <NA> <NA> a <NA> <NA>\n")
    assert read_rttm(path) == {"a": [Span(250, 2000)]}
    path.write_text("SPEAKER x 1 zero 1.5 <NA> <NA> a\n")
    with pytest.raises(InputError, match="line 1"):
        read_rttm(path)
