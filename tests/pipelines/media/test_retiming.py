"""Sound and pictures of a clock that runs too fast or too slow, on another clock."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.media import retiming
from pipelines.media.ffmpeg import conform_video
from pipelines.media.probing import probe
from pipelines.media.retiming import retimed
from pipelines.media.timelines import timeline
from pipelines.media.tracks import read_frames
from tests.helpers.chirps import ffmpeg

RATE_HZ = 16000


@pytest.mark.parametrize("step", [1 + 80e-6, 1 - 1e-3, 1.0])
@pytest.mark.parametrize("tone_hz", [100, 1000, 3000, 6000])
def test_a_tone_is_moved_and_stretched(tone_hz: int, step: float) -> None:
    times_s = np.arange(4 * RATE_HZ) / RATE_HZ
    moved = retimed(np.sin(2 * np.pi * tone_hz * times_s).astype(np.float32), 50.3, step, 3 * RATE_HZ, None)
    expected = np.sin(2 * np.pi * tone_hz * (50.3 + step * np.arange(3 * RATE_HZ)) / RATE_HZ)
    assert np.sqrt(np.mean((moved - expected) ** 2)) < 1e-4


def test_pieces_do_not_show_and_outside_is_silence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, 5000).astype(np.float32)
    whole = np.array(retimed(sound, -1000.5, 1 + 80e-6, 8000, tmp_path))
    monkeypatch.setattr(retiming, "PIECE_SAMPLES", 777)
    assert (retimed(sound, -1000.5, 1 + 80e-6, 8000, tmp_path) == whole).all()
    assert not whole[:980].any() and not whole[6020:].any() and np.abs(whole[1000:6000]).mean() > 0.05
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("rate", [1.02, 0.98, 1.0])
def test_pictures_are_stretched_and_spans_do_not_show(tmp_path: Path, rate: float) -> None:
    """A ramp of brightness: frame n of the track shows the source's frame n / rate."""
    ffmpeg(
        "-f", "lavfi", "-i", "color=black:s=64x48:r=25:d=16,format=gray,geq=lum='20+N/2'", "-pix_fmt", "yuv420p",
        "-c:v", "libx264", "-preset", "ultrafast", "-qp", "0", "-g", "25", tmp_path / "ramp.mp4",
    )  # fmt: skip
    source = timeline(probe(tmp_path / "ramp.mp4").source, tmp_path).source
    common = {"lead_ms": 200.0, "rate": rate, "width": 64, "height": 48, "crop": None, "qp": 10}
    conform_video(source, tmp_path / "whole.mp4", num_frames=320, **common)  # type: ignore[arg-type]
    shown = read_frames(tmp_path / "whole.mp4").mean((1, 2, 3))
    ramp = shown[-1] - shown[60]
    frames = (np.arange(320) - 5) / rate
    assert ramp == pytest.approx((frames[-1] - frames[60]) / 2, abs=2)
    assert np.abs(shown[60:] - shown[60] - (frames[60:] - frames[60]) / 2).max() < 2
    span = {"first_frame": 160, "num_frames": 160, "seek_ms": 4000}
    conform_video(source, tmp_path / "part.mp4", **span, **common)  # type: ignore[arg-type]
    assert (read_frames(tmp_path / "part.mp4") == read_frames(tmp_path / "whole.mp4")[160:]).all()
