"""What was found in a recording of one file compared with the truth: perfect, swapped, shifted, missing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from tools.bench.people_scores import (
    Backchannel,
    Box,
    Crop,
    FaceAt,
    Found,
    Score,
    TrueScene,
    backchannel_errors,
    crop_at,
    mapping,
    score,
    share_of,
    speech_errors,
    summary,
)
from wanstreamer.clock import Span

SPEECH = {"a": [Span(0, 4000), Span(8000, 10_000)], "b": [Span(4500, 7500)]}
BOXES = {"a": Box(100, 100, 150, 160), "b": Box(400, 100, 450, 160), "poster": Box(260, 20, 300, 60)}
CROPS = {name: (Crop(0, box.left - 30, box.top - 30, 110, 110, cut=True),) for name, box in BOXES.items()}
ALWAYS = [Span(0, 10_000)]


def scene(
    *, seen: str = "ab", rejection: str = "", speech: Mapping[str, Sequence[Span]] = SPEECH, poster: bool = False,
    is_broken: bool = False,
) -> TrueScene:  # fmt: skip
    names = [*seen, *(["poster"] if poster else [])]
    return TrueScene(
        session_id="s", kind="two_shot", rejection=rejection, is_broken=is_broken, duration_ms=10_000, speech=speech,
        faces=[FaceAt(name, time_ms, BOXES[name]) for time_ms in range(0, 10_000, 200) for name in names],
    )  # fmt: skip


def people(faces: Mapping[str, str] | None = None, speech: Mapping[str, Sequence[Span]] = SPEECH) -> dict[str, Found]:
    """What a stage found: `faces` says whose crop each participant got; by default the own."""
    whose = {"a": "a", "b": "b"} if faces is None else faces
    return {
        name: Found(speech=speech[name], visible=ALWAYS, crops=CROPS[whose[name]]) if name in whose
        else Found(speech=speech[name])
        for name in "ab"
    }  # fmt: skip


def ratio(one: Score, over: str, under: str) -> float:
    return one.errors[over] / one.errors[under]


def test_what_is_perfect_has_no_errors_whatever_the_names() -> None:
    for found in (people(), {"b": people()["a"], "a": people()["b"]}, {"x": people()["a"], "y": people()["b"]}):
        one = score(scene(), found, None)
        assert (one.outcome, one.is_found, one.is_assigned, one.is_right, one.trouble) == (
            "people",
            True,
            True,
            True,
            "",
        )
        assert one.errors["speech_ms"] == 9000 and one.errors["true_frames"] == one.errors["held_frames"] == 100
        for name in ("missed_ms", "false_ms", "confused_ms", "collar_missed_ms", "other_frames"):
            assert one.errors[name] == 0


def test_swapped_faces_are_assigned_but_not_right() -> None:
    one = score(scene(), people({"a": "b", "b": "a"}), None)
    assert one.is_found and one.is_assigned and not one.is_right
    assert one.errors["held_frames"] == 0 and one.errors["other_frames"] == 100
    assert one.errors["confused_ms"] == 0
    assert "a: has the picture of another" in one.trouble


def test_speech_given_to_the_other_is_confusion() -> None:
    speech = {"a": [Span(0, 4000)], "b": [Span(4500, 7500), Span(8000, 10_000)]}
    one = score(scene(), people(speech=speech), None)
    assert ratio(one, "confused_ms", "speech_ms") == pytest.approx(2000 / 9000)
    assert one.errors["missed_ms"] == one.errors["false_ms"] == 0 and "22.2%" in one.trouble


def test_a_voice_with_less_than_half_of_the_speech_does_not_find_its_person() -> None:
    assert not score(scene(), people(speech={"a": SPEECH["a"], "b": [Span(4500, 5900)]}), None).is_found
    assert score(scene(), people(speech={"a": SPEECH["a"], "b": [Span(4500, 6100)]}), None).is_found


def test_shifted_edges_are_missed_and_false_and_the_collar_forgives_them() -> None:
    moved = {name: [Span(span.start_ms + 200, span.end_ms + 200) for span in spans] for name, spans in SPEECH.items()}
    errors = speech_errors(moved, SPEECH, 10_000)
    assert (errors["missed_ms"], errors["false_ms"], errors["confused_ms"]) == (600, 400, 0)  # one end is that of all
    collar = speech_errors(moved, SPEECH, 10_000, 250)
    assert collar["missed_ms"] == collar["false_ms"] == 0 and 0 < collar["speech_ms"] < 9000


def test_overlap_counts_for_both() -> None:
    both = {"a": [Span(0, 4000)], "b": [Span(3000, 5000)]}
    assert speech_errors(both, both, 5000)["speech_ms"] == 6000
    one_only = speech_errors({"a": both["a"], "b": [Span(4000, 5000)]}, both, 5000)
    assert (one_only["missed_ms"], one_only["confused_ms"]) == (1000, 0)


def test_speech_of_a_third_that_is_given_to_one_of_two_is_a_false_alarm() -> None:
    true = SPEECH | {"c": [Span(7600, 7900)]}
    found = people(speech=SPEECH | {"b": [Span(4500, 7500), Span(7600, 7900)]})
    assert score(scene(speech=true), found, None).errors["false_ms"] == 300
    assert score(scene(speech=true), people(), None).errors["false_ms"] == 0


def test_a_backchannel_is_found_if_its_own_voice_has_half_of_it() -> None:
    some = [
        Backchannel("b", Span(2000, 2400), in_pause=False), Backchannel("b", Span(7600, 7900), in_pause=True),
        Backchannel("a", Span(4600, 4800), in_pause=False),
    ]  # fmt: skip
    voices = {"a": [Span(0, 4000)], "b": [Span(2250, 2600), Span(7700, 7900)]}
    assert backchannel_errors(some, voices) == {
        "overlap_backchannels": 2, "own_overlap_backchannels": 0, "pause_backchannels": 1, "own_pause_backchannels": 1
    }  # fmt: skip
    one = score(replace(scene(), backchannels=some), people(), None)
    assert (one.errors["pause_backchannels"], one.errors["own_pause_backchannels"]) == (1, 0)


def test_people_who_are_not_in_the_picture_need_none() -> None:
    one_seen = scene(seen="a")
    assert score(one_seen, people({"a": "a"}), None).is_right
    assert not score(one_seen, people(), None).is_right, "b has no face"
    assert not score(one_seen, people({"b": "a"}), None).is_right
    assert not score(scene(), people({"a": "a"}), None).is_right, "b can be seen"
    assert score(replace(scene(), faces=()), people({}), None).is_right


def test_a_poster_is_another() -> None:
    one = score(scene(poster=True), people({"a": "a", "b": "poster"}), None)
    assert not one.is_right and one.errors["other_frames"] == 50
    assert score(scene(poster=True), people(), None).is_right


@pytest.mark.parametrize(
    ("rejection", "is_broken", "outcome", "right"),
    [
        ("one_person", False, "one_person", True),
        ("one_person", False, "more_than_two", False),
        ("one_person", False, None, False),
        ("no_audio", True, "no_speech", True),
        ("no_audio", True, None, False),
    ],
)
def test_what_is_no_conversation_needs_its_own_reason(
    rejection: str, is_broken: bool, outcome: str | None, right: bool
) -> None:
    one = score(scene(rejection=rejection, is_broken=is_broken), {}, outcome)
    assert (one.is_dyad, one.is_right) == (False, right) and one.outcome == (outcome or "lost")
    assert not score(scene(rejection=rejection, is_broken=is_broken), people(), None).is_right


def test_a_conversation_that_is_rejected_is_found_only_if_its_people_were() -> None:
    assert score(scene(), {}, "uncertain_assignment").is_found
    for reason in ("one_person", "more_than_two", None):
        one = score(scene(), {}, reason)
        assert not one.is_found and not one.is_assigned and not one.is_right


def test_crops_are_interpolated_up_to_a_cut() -> None:
    crops = [
        Crop(0, 0, 0, 100, 100, cut=True), Crop(1000, 100, 50, 200, 200, cut=False),
        Crop(2000, 500, 0, 100, 100, cut=True),
    ]  # fmt: skip
    assert crop_at(crops, 500) == Crop(500, 50, 25, 150, 150, cut=False)
    assert crop_at(crops, 1999) == crops[1] and crop_at(crops, 2000) == crops[2] == crop_at(crops, 9000)
    assert crop_at(crops[1:], 500) is None


def test_a_crop_that_cuts_the_face_off_does_not_hold_it() -> None:
    found = people()
    narrow = replace(found["a"], crops=(Crop(0, 105, 70, 110, 110, cut=True),))  # a tenth of the face is outside
    one = score(scene(), found | {"a": narrow}, None)
    assert one.errors["held_frames"] == 50 and one.errors["shown_frames"] == 100 and not one.is_right


def test_a_person_who_is_not_reported_visible_is_counted_apart() -> None:
    found = people()
    half = replace(found["a"], visible=[Span(0, 5000)])
    one = score(scene(), found | {"a": half}, None)
    assert one.is_right and one.errors["held_frames"] == one.errors["shown_frames"] == 75
    assert (one.errors["seen_frames"], one.errors["true_frames"]) == (75, 100)


def test_voices_are_named_by_the_most_common_speech() -> None:
    found = {"x": [Span(4500, 7500)], "y": [Span(0, 4000), Span(7000, 10_000)]}
    assert mapping(found, SPEECH) == {"x": "b", "y": "a"}
    assert mapping({"x": [Span(4500, 7500)]}, SPEECH) == {"x": "b"}


def test_shares_have_exact_intervals() -> None:
    # Clopper and Pearson's interval for 19 of 20 is that of every table.
    assert share_of([True] * 19 + [False]) == (0.95, 0.7513, 0.9987)
    assert share_of([True] * 10) == (1.0, 0.6915, 1.0)
    assert share_of([False] * 10)[:2] == (0.0, 0.0)
    assert share_of([]) == (None, None, None)


def test_the_summary_counts_each_group_by_itself() -> None:
    scores = [
        score(scene(), people(), None),
        score(scene(), people({"a": "b", "b": "a"}), None),
        score(scene(), {}, "uncertain_assignment"),
        score(scene(), {}, "one_person"),
        score(scene(rejection="one_person"), {}, "one_person"),
        score(scene(rejection="more_than_two"), people(), None),
        score(scene(rejection="no_audio", is_broken=True), {}, "no_audio"),
    ]
    figures = {name: figure[0] for name, figure in summary(scores, seed=1).items()}
    assert (figures["dyads_found"], figures["dyads_assigned"], figures["assignment_accuracy"]) == (0.75, 0.5, 0.5)
    assert (figures["non_dyads_rejected"], figures["broken_rejected"]) == (0.5, 1.0)
    assert (figures["confusion_share"], figures["face_in_crop"], figures["other_face_in_crop"]) == (0.0, 0.5, 0.5)
    low, high = summary(scores, seed=1)["face_in_crop"][1:]
    assert low == 0.0 and high == 1.0
    nothing = summary([scores[4]], seed=1)
    assert nothing["confusion_share"] == (None, None, None) and nothing["dyads_found"] == (None, None, None)
