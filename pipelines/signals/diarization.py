"""A recording with several voices -> who speaks when, with pyannote's pipeline from a local folder."""

from pathlib import Path
from typing import Any

import numpy as np

from pipelines.engine.models import DIARIZATION
from pipelines.signals.speech_models import device, import_speech_packages, loading, model_folder
from pipelines.signals.voice_activity import RATE_HZ
from wanstreamer.clock import Span, intersect_spans, merge_spans, seconds_to_ms


def load_diarizer(folder: Path, setting: str) -> Any:
    """pyannote's pipeline, on the GPU if there is one. Sets this process to one torch thread.

    Args:
        folder: Has the pipeline's `config.yaml` and the weights that it names as `$model/...`.
        setting: The parameter or option with which the user named the folder, for error messages.

    Raises:
        InputError: The package, the folder or the weights are missing.
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
    """Speech per voice, in ms; voices in order of their first word. Overlapping speech is in both voices.

    Args:
        pipeline: From `load_diarizer`.
        audio_T: float32 (num_samples,) at 16 kHz.
        num_speakers: The number of voices, if known.
    """
    import torch

    known = {} if num_speakers is None else {"num_speakers": num_speakers}
    waveform_1T = torch.from_numpy(np.array(audio_T))[None]
    result = pipeline({"waveform": waveform_1T, "sample_rate": RATE_HZ, "uri": "recording"}, **known)
    whole = [Span(0, 1000 * len(audio_T) // RATE_HZ)]  # pyannote pads short audio, and may find voices in the padding
    voices: dict[str, list[Span]] = {}
    for segment, _, voice in result.speaker_diarization.itertracks(yield_label=True):
        voices.setdefault(voice, []).append(Span(seconds_to_ms(segment.start), seconds_to_ms(segment.end)))
    heard = {voice: intersect_spans(merge_spans(spans), whole) for voice, spans in voices.items()}
    return dict(
        sorted(((voice, spans) for voice, spans in heard.items() if spans), key=lambda item: (item[1], item[0]))
    )
