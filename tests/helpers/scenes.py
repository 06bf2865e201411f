"""Scenes of the sample, each spoken and staged once per process."""

from functools import cache

from pipelines.conversation.cast import Speaker
from pipelines.conversation.dialogue import Dialogue
from pipelines.conversation.scene_kinds import KINDS
from pipelines.conversation.scene_picture import Picture
from pipelines.conversation.scene_staging import stage
from pipelines.conversation.scene_talk import talk
from pipelines.conversation.scenes import Scene, plan_scenes


def planned(kind: str, seconds: int = 0) -> Scene:
    """The first scene of a kind, by default as short as the kind may be."""
    return plan_scenes([kind], 1, seed=5, seconds=seconds or KINDS[kind].min_seconds)[0]


@cache
def spoken(kind: str, seconds: int = 0) -> tuple[Dialogue, dict[str, Speaker]]:
    return talk(planned(kind, seconds))


@cache
def staged(kind: str, seconds: int = 0) -> Picture:
    """What is seen in a scene of a kind that has a picture."""
    picture = stage(planned(kind, seconds), *spoken(kind, seconds))
    assert picture is not None
    return picture
