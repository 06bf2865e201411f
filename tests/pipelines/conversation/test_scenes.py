"""Plans of scenes: each is drawn by itself, and what cannot be made is refused."""

import pytest

from pipelines.conversation.scene_kinds import BROKEN, DYADS, IN_CORPUS, KINDS, NON_DYADS
from pipelines.conversation.scenes import UNLIKE_VOICES, plan_scenes
from wanstreamer.errors import InputError


def test_a_scene_depends_on_its_seed_kind_and_index_alone() -> None:
    alone = plan_scenes(["cuts"], 3, seed=4, seconds=60)
    mixed = plan_scenes(["two_shot", "cuts"], 6, seed=4, seconds=60)
    assert [scene for scene in mixed if scene.kind == "cuts"] == alone
    assert len({scene.cast[0].speaker_id for scene in mixed}) == 6
    assert plan_scenes(["cuts"], 1, seed=5, seconds=60)[0].cast != alone[0].cast
    assert [scene.session_id for scene in alone] == ["cuts-0000", "cuts-0001", "cuts-0002"]


def test_recordings_differ_as_those_of_users_do() -> None:
    scenes = plan_scenes(["two_shot"], 30, seed=4, seconds=60)
    assert len({scene.container for scene in scenes}) == 3
    assert len({scene.frame_rate for scene in scenes}) == 4
    assert len({scene.rate_hz for scene in scenes}) == 2
    pairs = [(scene.cast[0].is_high, scene.cast[1].is_high) for scene in scenes]
    assert len(set(pairs)) == 4, "voices of one pitch meet too"
    for scene in [*scenes, *plan_scenes(["ten"], 3, seed=4, seconds=60)]:
        voices = {person.voice.name.removeprefix("en-us+") for person in scene.cast}
        assert len(voices) == len(scene.cast) and voices <= UNLIKE_VOICES


def test_every_kind_is_in_one_group() -> None:
    assert sorted([*DYADS, *NON_DYADS, *BROKEN]) == sorted(KINDS)
    assert set(IN_CORPUS) <= set(KINDS) - set(BROKEN)


def test_what_cannot_be_made_is_one_line() -> None:
    with pytest.raises(InputError, match="scene `two_shots`: unknown; expected some of two_shot, cuts"):
        plan_scenes(["two_shots"], 1, seed=0, seconds=60)
    with pytest.raises(InputError, match="scene `two_words` in 30 seconds: expected 40 or more"):
        plan_scenes(["two_words"], 1, seed=0, seconds=30)
