"""A planned scene -> one media file, and what is true of it. No sidecar names who is in it."""

from pathlib import Path

import cv2

from pipelines.conversation.record import Coding, encode, write_wav
from pipelines.conversation.scene_kinds import KINDS
from pipelines.conversation.scene_picture import draw, visible
from pipelines.conversation.scene_sound import mixed_sound, separate_sounds
from pipelines.conversation.scene_staging import stage
from pipelines.conversation.scene_talk import talk
from pipelines.conversation.scenes import Scene
from pipelines.sample.truth import Rows, scene_rows

STEREO_SHARE = 0.5  # of the scenes, whose sound is the same on two channels


def make_scene(scene: Scene, folder: Path, separate: Path | None = None) -> Rows:
    """Write `<folder>/<session_id>.<container>`; returns truth rows.

    With `separate`, a conversation of two is also written as it would be with a microphone per person:
    `<separate>/<session_id>/a.wav` and `b.wav`.

    The result depends on the scene only.
    """
    cv2.setNumThreads(1)  # scenes already run in parallel
    dialogue, people = talk(scene)
    picture = stage(scene, dialogue, people)
    seen = visible(picture) if picture else {}
    path = folder / f"{scene.session_id}.{scene.container}"
    sound = None
    if KINDS[scene.kind].has_sound:
        sound = folder / f".{scene.session_id}.wav"
        mix = mixed_sound(scene, dialogue, [name for name in people if name not in seen])
        write_wav(sound, [mix] * (2 if scene.rng(8).random() < STEREO_SHARE else 1))
    coding = Coding(
        audio_codec=scene.audio_codec, rate_hz=scene.rate_hz, frame_rate=scene.frame_rate, width=scene.width,
        height=scene.height,
    )  # fmt: skip
    encode(path, sound, draw(picture) if picture else None, coding)
    if sound is not None:
        sound.unlink()
    if separate is not None and not KINDS[scene.kind].rejection:
        home = separate / scene.session_id
        home.mkdir(parents=True)
        for name, samples in separate_sounds(scene, dialogue).items():
            write_wav(home / f"{name}.wav", [samples])
    return scene_rows(scene, path.name, dialogue, people, picture)
