"""`tools.bench people` on scenes of which the stage finds everything, or confuses everyone."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipelines.engine.timings import write_timings
from tools.bench import people
from tools.bench.people_scores import Crop, FaceAt, Found, TrueScene
from wanstreamer.clock import Span
from wanstreamer.errors import InputError

SETTINGS = {
    "seed": 3, "scene": "off_screen,sound,black", "sessions": 1, "seconds": 20, "workers": 2, "set": [],
    "events": False, "diarizer": None,
}  # fmt: skip


def perfect(scene: TrueScene) -> dict[str, Found]:
    """What an ideal stage finds: a crop at each instant with a face."""
    by_name: dict[str, list[FaceAt]] = {"a": [], "b": []}
    for face in scene.faces:
        by_name[face.participant].append(face)
    return {
        name: Found(
            speech=scene.speech[name], visible=[Span(0, scene.duration_ms)] if faces else [],
            crops=[
                Crop(f.time_ms, f.box.left - 20, f.box.top - 20, f.box.right - f.box.left + 40,
                     f.box.bottom - f.box.top + 40, cut=False)
                for f in faces
            ],
        )
        for name, faces in by_name.items()
    }  # fmt: skip


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


def measured(
    kept: Path, monkeypatch: pytest.MonkeyPatch, *, swap_voices: bool = False
) -> dict[str, object]:  # fmt: skip
    """The bench with a stage that knows the truth."""
    runs: list[str] = []

    def run_stage(stage: str, data: Path, source: Path, settings: Sequence[str], workers: int) -> None:
        assert sorted(path.stem for path in source.iterdir()) == ["black-0000", "off_screen-0000", "sound-0000"]
        runs.append(stage)
        write_timings(data, "people", {"cpu_s": 12.0})

    def read_people(data: Path) -> tuple[dict[str, dict[str, Found]], dict[str, str]]:
        scenes = people.read_truth(data / "truth")
        found = {scene.session_id: perfect(scene) for scene in scenes if not scene.rejection}
        if swap_voices:  # each voice with the picture of the other
            for both in found.values():
                a, b = both["a"], both["b"]
                both["a"] = Found(speech=a.speech, visible=b.visible, crops=b.crops)
                both["b"] = Found(speech=b.speech, visible=a.visible, crops=a.crops)
        return found, {scene.session_id: "one_person" for scene in scenes if scene.rejection}

    monkeypatch.setattr(people, "run_stage", run_stage)
    monkeypatch.setattr(people, "read_people", read_people)
    results = people.run(argparse.Namespace(**SETTINGS, keep=kept))
    assert runs == ["people"]
    json.dumps(results)
    return results


def test_a_stage_that_finds_everything_has_perfect_figures(
    kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = measured(kept, monkeypatch)
    for name in ("dyads_found", "dyads_assigned", "assignment_accuracy", "face_in_crop", "broken_rejected"):
        assert results[name] == 1.0, name
    assert results["confusion_share"] == 0 and results["diarization_error"] == 0
    assert results["non_dyads_rejected"] is None, "none was made"
    assert results["times_real_time_per_core"] == 5.0 and results["trouble"] == []
    people.show(results)
    printed = capsys.readouterr().out
    assert "3 recordings of 20 s, seed 3; 5.0 times real time per core" in printed and "off_screen" in printed


def test_swapped_pictures_are_seen_and_named(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = measured(kept, monkeypatch, swap_voices=True)
    assert results["assignment_accuracy"] == 0.5, "sound alone has no picture to swap"
    assert results["face_in_crop"] == 0 and results["confusion_share"] == 0
    (trouble,) = results["trouble"]  # type: ignore[misc]
    assert trouble.startswith("off_screen-0000: people: ")
    assert "is never seen, but has a picture" in trouble and "has no picture" in trouble


def test_a_folder_with_other_scenes_is_refused(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(kept, monkeypatch)
    with pytest.raises(InputError, match="has other scenes; pass another --keep"):
        people.run(argparse.Namespace(**SETTINGS | {"sessions": 2}, keep=kept))
    with pytest.raises(InputError, match="--scene ` `: no kind"):
        people.run(argparse.Namespace(**SETTINGS | {"scene": " "}, keep=kept))


@pytest.mark.long
def test_the_stage_and_the_whole_line_on_a_conversation(tmp_path: Path) -> None:
    """Of two voices that are unlike, without a picture: little can go wrong."""
    settings = SETTINGS | {"scene": "sound,mute", "seconds": 60, "events": True}
    results = people.run(argparse.Namespace(**settings, keep=tmp_path))
    assert results["dyads_found"] == results["assignment_accuracy"] == results["broken_rejected"] == 1.0
    assert results["confusion_share"] < 0.1 and results["diarization_error"] < 0.35
    assert results["times_real_time_per_core"] > 0
    events = results["events"]
    assert events["sessions"] == 1 and 0 < events["scenes_f1"] <= 1 and 0.5 < events["separate_f1"] <= 1
    with pytest.raises(InputError, match="bench people: stage people ended with exit code 2"):
        people.run(argparse.Namespace(**settings | {"set": ["people.no_such=1"]}, keep=tmp_path))
