"""The command that finds who speaks in a mix: its RTTM, and its mistakes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.formats.rttm import read_rttm
from tests.helpers.chirps import ffmpeg
from tests.helpers.counts import examples
from tools import diarize
from wanstreamer.clock import Span, merge_spans
from wanstreamer.errors import InputError

SPANS = st.lists(st.tuples(st.integers(0, 10_000_000), st.integers(1, 60_000)), min_size=1, max_size=8).map(
    lambda found: merge_spans(Span(start, start + length) for start, length in found)
)


@examples(50)
@given(st.dictionaries(st.sampled_from(["SPEAKER_00", "SPEAKER_01", "x"]), SPANS, min_size=1))
def test_an_rttm_holds_what_was_heard(tmp_path_factory: pytest.TempPathFactory, speech: dict) -> None:
    path = tmp_path_factory.mktemp("rttm") / "a call.rttm"
    path.write_text(diarize.rttm_of("a call", speech))
    assert read_rttm(path) == speech


def test_diarizing_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "call.wav").touch()
    for arguments, said in (
        (["nowhere.wav"], "nowhere.wav: no such recording"),
        (["--speakers", "0", "call.wav"], "--speakers 0: expected 1 or more"),
        ([str(tmp_path / "call.wav"), "--model", str(tmp_path)], "--model"),
    ):
        with pytest.raises(SystemExit) as ended:
            diarize.main(arguments)
        error = capsys.readouterr().err
        assert ended.value.code == 2 and said in error and error.count("\n") == 1
    (tmp_path / "call.rttm").touch()
    with pytest.raises(InputError, match="--force"):
        diarize.write_rttms([tmp_path / "call.wav"], tmp_path, speakers=None, force=False)


def test_channels_that_cancel_are_heard(tmp_path: Path) -> None:
    voice = 0.1 * np.random.default_rng(0).standard_normal(3 * 16000)
    samples = np.round(32767 * np.stack([voice, -voice], axis=1)).astype("<i2")
    command = ("-f", "s16le", "-ar", 16000, "-ac", 2, "-i", "pipe:", tmp_path / "call.wav")
    ffmpeg(*command, input=samples.tobytes())
    assert np.abs(diarize.sound_of(tmp_path / "call.wav") - voice).max() < 1e-3
