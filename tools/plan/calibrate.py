"""How fast this machine is, in seconds: three tasks that together resemble the stages.

    media      decode a second of 720p video and encode it as a track
    networks   encode a second of it with the video VAE and as much sound with the audio VAE, on one thread
    python     make a Parquet table from rows

Measured as CPU time; the best of some rounds counts, because other work on the machine only ever adds to it.
"""

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from pipelines.engine.spent import cpu_s
from pipelines.engine.tables import to_table
from pipelines.media.ffmpeg import conform_video
from pipelines.media.probing import probe
from pipelines.media.process import ffmpeg_path
from wanstreamer.clock import FRAME_RATE_HZ, FRAMES_PER_UNIT

ROUNDS = 5
SECONDS = 4
ROWS = 20_000


def measure_speeds() -> dict[str, float]:
    """CPU seconds of each task on this machine."""
    with tempfile.TemporaryDirectory(prefix="calibrate-") as folder:
        tasks = {"media": _media(Path(folder)), "networks": _networks(), "python": _python}
        return {name: min(_timed(task) for _ in range(ROUNDS)) for name, task in tasks.items()}


def _timed(task: Callable[[], None]) -> float:
    before_s = cpu_s()
    task()
    return cpu_s() - before_s


def _media(folder: Path) -> Callable[[], None]:
    clip = folder / "clip.mp4"
    command = [
        ffmpeg_path(), "-v", "error", "-y", "-f", "lavfi", "-i", f"testsrc2=s=1280x720:r=30:d={SECONDS}",
        "-vf", "noise=alls=6:allf=t", "-c:v", "libx264", "-preset", "ultrafast", "-b:v", "2M", "-pix_fmt", "yuv420p",
        str(clip),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    source = probe(clip).source

    def conform() -> None:
        conform_video(
            source, folder / "track.mp4", lead_ms=0, num_frames=SECONDS * FRAME_RATE_HZ, width=64, height=48, crop=None,
            qp=22,
        )  # fmt: skip

    return conform


def _networks() -> Callable[[], None]:
    import torch

    from wanstreamer.vae import AudioVAE, AudioVAEConfig, VideoVAE, VideoVAEConfig

    torch.manual_seed(0)
    video, audio = VideoVAE(VideoVAEConfig()).eval(), AudioVAE(AudioVAEConfig()).eval()
    frames_BTCHW = torch.rand(1, SECONDS * FRAME_RATE_HZ // FRAMES_PER_UNIT * FRAMES_PER_UNIT, 3, 48, 64)
    samples_BT = torch.rand(1, SECONDS * audio.config.rate_hz)

    def encode() -> None:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.inference_mode():
                video.encode(frames_BTCHW, None)
                audio.encode(samples_BT, None)
        finally:
            torch.set_num_threads(threads)

    return encode


def _python() -> None:
    rows = [
        {"session_id": "calibrate", "participant": "a", "start_ms": 10 * n, "end_ms": 10 * n + 9, "source": "sidecar",
         "confidence": 0.5}
        for n in range(ROWS)
    ]  # fmt: skip
    to_table("speech", rows)
