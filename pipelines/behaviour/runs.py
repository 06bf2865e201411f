"""The model's conversations with recorded users, as files that the viewer lays beside the recording.

`reports/behaviour/runs/000/`: `run.json` (whose session, in whose place, when the model speaks), `agent.wav`, and
`agent.mp4` of conversations that were watched. tools/show/runs.py reads them.
"""

import json
import shutil
from pathlib import Path

import numpy as np

from pipelines.behaviour.activity import sounding_spans
from pipelines.behaviour.play import Played
from pipelines.behaviour.recorded import View
from pipelines.media.tracks import write_video, write_wav
from wanstreamer.clock import FRAMES_PER_UNIT, UNIT_MS


def write_runs(folder: Path, views: list[View], played: Played, rate_hz: int) -> None:
    """Write a run per view, as long as its session; those of an earlier run of the stage go."""
    shutil.rmtree(folder, ignore_errors=True)
    for place, view in enumerate(views):
        own = folder / f"{place:03d}"
        own.mkdir(parents=True)
        num_units = min(view.num_units, played.agent_BT.shape[1] * 1000 // (rate_hz * UNIT_MS))
        samples = played.agent_BT[place, : num_units * UNIT_MS * rate_hz // 1000]
        write_wav(own / "agent.wav", samples.astype(np.float32), rate_hz)
        watched = played.frames_BTHWC is not None and place < len(played.frames_BTHWC)
        if watched:
            write_video(own / "agent.mp4", played.frames_BTHWC[place, : num_units * FRAMES_PER_UNIT])  # type: ignore[index]
        about = {
            "session_id": view.session_id,
            "participant": view.agent,
            "label": f"model in the place of {view.agent}",
            "kind": "behaviour",
            "duration_ms": num_units * UNIT_MS,
            "audio": "agent.wav",
            "video": "agent.mp4" if watched else None,
            "speech": [[span.start_ms, span.end_ms] for span in sounding_spans(samples, rate_hz)],
        }
        (own / "run.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
