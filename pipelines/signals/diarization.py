"""A recording that holds several voices in one sound -> who speaks when, by pyannote's pipeline from a local folder."""

from pathlib import Path
from typing import Any

import numpy as np

from pipelines.signals.speech_models import DIARIZATION, device, import_speech_packages, loading, model_folder
from pipelines.signals.voice_activity import RATE_HZ
from wanstreamer.clock import Span, intersect_spans, merge_spans, seconds_to_ms


def load_diarizer(folder: Path, setting: str) -> Any:
    """pyannote's pipeline, on the GPU when there is one. Sets this process to one torch thread.

    Args:
        folder: With the pipeline's `config.yaml` and the weights it names as `$model/...`.
        setting: What the user gave the folder as.

    Raises:
        InputError: The package, the folder or what it names is not there.
    """
    model_folder(setting, folder, DIARIZATION, "pyannote.audio")
    import_speech_packages()
    import torch
    from pyannote.audio import Pipeline

    torch.set_num_threads(1)
    with loading(setting, folder, DIARIZATION):
        pipeline: Any = Pipeline.from_pretrained(folder)
    pipeline.to(torch.device(device()))
    return pipeline


def diarize(pipeline: Any, audio_T: np.ndarray, num_speakers: int | None = None) -> dict[str, list[Span]]:
    """Speech per voice, in ms, voices by their first word; where they overlap, each has its own.

    Args:
        pipeline: From `load_diarizer`.
        audio_T: float32 (num_samples,) at 16 kHz.
        num_speakers: How many voices there are, when known.
    """
    import torch

    known = {} if num_speakers is None else {"num_speakers": num_speakers}
    waveform_1T = torch.from_numpy(np.array(audio_T))[None]
    result = pipeline({"waveform": waveform_1T, "sample_rate": RATE_HZ, "uri": "recording"}, **known)
    whole = [Span(0, 1000 * len(audio_T) // RATE_HZ)]  # pyannote fills up short sound, and hears voices there
    voices: dict[str, list[Span]] = {}
    for segment, _, voice in result.speaker_diarization.itertracks(yield_label=True):
        voices.setdefault(voice, []).append(Span(seconds_to_ms(segment.start), seconds_to_ms(segment.end)))
    heard = {voice: intersect_spans(merge_spans(spans), whole) for voice, spans in voices.items()}
    return dict(
        sorted(((voice, spans) for voice, spans in heard.items() if spans), key=lambda item: (item[1], item[0]))
    )
