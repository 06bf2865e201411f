"""Scenes of the sample, each spoken and staged once per process."""

from functools import cache

from pipelines.conversation.cast import Speaker
from pipelines.conversation.dialogue import Dialogue
from pipelines.conversation.scene_picture import Picture
from pipelines.conversation.scene_staging import stage
from pipelines.conversation.scene_talk import talk
from pipelines.conversation.scenes import KINDS, Scene, plan_scenes


def planned(kind: str, index: int = 0) -> Scene:
    """The scene of a kind, as short as the kind may be."""
    return plan_scenes([kind], index + 1, seed=5, seconds=KINDS[kind].min_seconds)[index]


@cache
def spoken(kind: str) -> tuple[Dialogue, dict[str, Speaker]]:
    return talk(planned(kind))


@cache
def staged(kind: str, index: int = 0) -> Picture:
    """What is seen in a scene of a kind that has a picture."""
    picture = stage(planned(kind, index), *spoken(kind))
    assert picture is not None
    return picture
