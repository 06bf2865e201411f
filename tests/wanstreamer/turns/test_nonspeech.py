"""Sounds that are no speech: tags of corpora, what they take from speech, and that they change nothing else."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.formats.word_files import read_words
from tests.helpers.counts import examples
from tests.helpers.dialogues import conversations
from tools.convert import convert
from tools.events import annotate_intervals
from tools.exchange.formats import read_file
from tools.exchange.intervals import NON_SPEECH, SPEECH, WORDS, Interval, part_sounds, speech_of
from tools.score import event_agreement
from wanstreamer.clock import Span, intersect_spans, merge_spans
from wanstreamer.turns import Annotation, Sound, TurnParams, Word, annotate_session
from wanstreamer.turns.nonspeech import LABELS, SILENCE, part_words, sound_of, tag, without_laughter_mark

PARAMS = TurnParams()
TAGS = {
    "laughter": "[laughter] [LAUGHTER] <laugh> (laughs) {laugh} *chuckles* ++laugh++ &=laughs [breath-laugh] [laugh].",
    "breath": "{breath} [sigh] (inhales) [quick_breath] &=gasps",
    "vocal_noise": "[vocalized-noise] [lipsmack] {cough} [cough], [mn] {sneeze} (mouth_noise)",
    "noise": "[noise] <noise> [Music] [background_noise] [static] [door_slam]",
    SILENCE: "[silence] [BLANK_AUDIO] <sil> (pause)",
}
WORDS_THAT_LOOK_LIKE_TAGS = (
    "laughter", "noise", "%hesitation", "%um", "<unk>", "(uh)", "((laugh))", "[laughter-yeah]", "[", "[]", "()", "(.)",
    "th[e]-", "[audio]", "<b_aside>", "[laughter]yes", "",
)  # fmt: skip


@pytest.mark.parametrize(("label", "text"), [(label, text) for label, told in TAGS.items() for text in told.split()])
def test_tags_of_corpora_are_sounds(label: str, text: str) -> None:
    assert sound_of(text) == label


@pytest.mark.parametrize("text", WORDS_THAT_LOOK_LIKE_TAGS)
def test_words_stay_words(text: str) -> None:
    words, sounds = part_words([word(text, 0, 100)])
    assert [one.text for one in words] == [without_laughter_mark(text)] and not sounds


def test_every_label_is_written_as_a_tag_that_is_read_again() -> None:
    assert [sound_of(tag(label)) for label in LABELS] == list(LABELS)


def word(text: str, start_ms: int, end_ms: int) -> Word:
    return Word(text=text, start_ms=start_ms, end_ms=end_ms)


def test_what_is_said_laughing_is_said_and_a_tag_cut_into_words_is_one() -> None:
    texts = ["[laughter-yeah]", "(clears", "throat)", "[silence]", "[so", "called]", "[noise]"]
    words, sounds = part_words([word(text, 100 * i, 100 * (i + 1)) for i, text in enumerate(texts)])
    assert [one.text for one in words] == ["yeah", "[so", "called]"]
    assert [(one.start_ms, one.end_ms, label) for one, label in sounds] == [
        (100, 300, "vocal_noise"), (600, 700, "noise")
    ]  # fmt: skip


def annotate(speech: Any, words: Any = None, **sounds: list[tuple[int, int, str]]) -> Annotation:
    sounds_by_participant = {
        who: [Sound(start_ms=start, end_ms=end, label=label) for start, end, label in own]
        for who, own in sounds.items()
    }
    return annotate_session(speech, words or {}, PARAMS, sounds=sounds_by_participant)


TURN = {"a": [Span(0, 4000)], "b": []}
TOLD = {"a": [word("well", 0, 2000), word("yes.", 2000, 4000)], "b": []}


def test_laughter_inside_anothers_turn_is_no_backchannel_and_no_interruption() -> None:
    heard = {**TURN, "b": [Span(1500, 2100)]}
    (as_speech,) = [e for e in annotate(heard, TOLD).events if e.participant == "b" and e.kind != "state"]
    assert as_speech.kind == "backchannel"  # what it would be without the tag
    annotation = annotate(heard, TOLD, b=[(1480, 2000, "laughter")])
    (laughter,) = [e for e in annotation.events if e.participant == "b"]
    assert (laughter.kind, laughter.label, laughter.start_ms, laughter.end_ms) == ("non_speech", "laughter", 1480, 2000)
    assert annotation.speech["b"] == [] and [e.kind for e in annotation.events] == ["transition", "non_speech"]


def test_a_gap_may_hold_laughter() -> None:
    speech = {"a": [Span(0, 1000), Span(1100, 1900)], "b": [Span(2200, 3000)]}
    words = {"a": [word("so.", 0, 1000)], "b": [word("yes.", 2200, 3000)]}
    (gap,) = [e for e in annotate(speech, words, a=[(1100, 1900, "laughter")]).events if e.kind == "state"]
    assert (gap.label, gap.start_ms, gap.end_ms) == ("gap", 1000, 2200)


def test_words_said_over_a_sound_stay_speech_and_its_edges_go_with_it() -> None:
    words = {"a": [word("so", 0, 400), word("yes.", 2000, 2300)]}
    annotation = annotate({"a": [Span(0, 2380)]}, words, a=[(300, 1900, "noise")])
    assert annotation.speech["a"] == [Span(0, 400), Span(1900, 2380)]
    words["a"].pop()
    assert annotate({"a": [Span(0, 1950)]}, words, a=[(300, 1900, "noise")]).speech["a"] == [Span(0, 400)]
    # 200 ms that no word accounts for may be speech that was not written down.
    assert annotate({"a": [Span(0, 2100)]}, words, a=[(300, 1900, "noise")]).speech["a"] == [
        Span(0, 400), Span(1900, 2100)
    ]  # fmt: skip


def test_without_a_transcript_only_sounds_of_ones_own_throat_are_no_speech() -> None:
    speech = {"a": [Span(0, 2000)]}
    assert annotate(speech, a=[(500, 1500, "noise"), (600, 700, "bleed")]).speech == speech
    assert annotate(speech, a=[(500, 1500, "laughter")]).speech["a"] == [Span(0, 500), Span(1500, 2000)]


def test_one_stretch_may_have_two_labels_and_is_told_once_by_two_sources() -> None:
    annotation = annotate({}, a=[(0, 100, "noise"), (0, 100, "laughter"), (0, 100, "noise")])
    assert [e.label for e in annotation.events] == ["laughter", "noise"]


sounds_of_two = st.fixed_dictionaries(
    {
        who: st.lists(
            st.tuples(st.integers(0, 20_000), st.integers(1, 3000), st.sampled_from(LABELS)).map(
                lambda one: (one[0], one[0] + one[1], one[2])
            ),
            max_size=6,
        )
        for who in "ab"
    }
)


def others(annotation: Annotation) -> tuple[Any, ...]:
    return (
        annotation.speech,
        annotation.ipus,
        annotation.turns,
        annotation.floor,
        [e for e in annotation.events if e.kind != "non_speech"],
    )


@examples(200)
@given(conversations(), sounds_of_two)
def test_sounds_change_nothing_where_words_are_said(conversation: tuple[dict, dict], sounds: dict) -> None:
    """Speech as the words are: sounds anywhere, heard as speech or not, add their own rows and nothing else."""
    words = {who: own or [] for who, own in conversation[1].items()}
    speech = {who: [Span(w.start_ms, w.end_ms) for w in own if w.end_ms > w.start_ms] for who, own in words.items()}
    plain = annotate(speech, words)
    heard = {who: own + [Span(start, end) for start, end, _ in sounds[who]] for who, own in speech.items()}
    for detected in (speech, heard):
        annotation = annotate(detected, words, **sounds)
        assert others(annotation) == others(plain)
        rows = [(e.participant, e.start_ms, e.end_ms, e.label) for e in annotation.events if e.kind == "non_speech"]
        assert sorted(rows) == sorted({(who, *one) for who, own in sounds.items() for one in own})


@examples(200)
@given(conversations(), sounds_of_two)
def test_sounds_act_by_taking_speech_away_alone(conversation: tuple[dict, dict], sounds: dict) -> None:
    speech, words = conversation
    annotation = annotate(speech, words, **sounds)
    assert others(annotate(annotation.speech, words)) == others(annotation)
    assert others(annotate(annotation.speech, words, **sounds)) == others(annotation)
    for who, left in annotation.speech.items():
        whole = merge_spans(speech[who])
        assert intersect_spans(left, whole) == left
        spoken = [Span(w.start_ms, w.end_ms) for w in words[who] or ()]
        assert all(intersect_spans(whole, [one]) == intersect_spans(left, [one]) for one in spoken)


def test_tags_in_a_ctm_change_no_event_of_the_rules(tmp_path: Path) -> None:
    ctm = "s a 0.0 1.0 hello\ns b 1.2 0.9 hello\ns a 2.4 2.0 well\n"
    (tmp_path / "x.ctm").write_text(ctm)
    (tmp_path / "y.ctm").write_text(
        ctm + "s b 2.6 0.5 [laughter] 0.8\ns b 4.5 1.0 (laughs)\ns a 5.0 3.0 [silence]\ns c 1.0 0.5 <noise>\n"
    )
    plain, tagged = (annotate_intervals(read_file(tmp_path / name)[0], PARAMS) for name in ("x.ctm", "y.ctm"))
    assert [row for row in tagged[0] if row["kind"] != "non_speech"] == plain[0] and tagged[1] == plain[1]
    sounds = [(row["participant"], row["start_ms"], row["label"], row["confidence"]) for row in tagged[0]
              if row["kind"] == "non_speech"]  # fmt: skip
    assert sounds == [("c", 1000, "noise", 1.0), ("b", 2600, "laughter", 0.8), ("b", 4500, "laughter", 1.0)]


RTTM = """\
SPEAKER s 1 0.000 2.000 <NA> <NA> a <NA> <NA>
NON-LEX s 1 0.500 1.000 <NA> laugh a 0.9 <NA>
NON-LEX s 1 2.500 0.200 <NA> cough b <NA> <NA>
NON-SPEECH s 1 3.000 1.000 <NA> music <NA> <NA> <NA>
"""


def test_sounds_of_an_rttm_are_read_and_written_again(tmp_path: Path) -> None:
    (tmp_path / "s.rttm").write_text(RTTM)
    intervals, losses = read_file(tmp_path / "s.rttm")
    assert not losses
    rows = {row["label"]: row for row in annotate_intervals(intervals, PARAMS)[0] if row["kind"] == "non_speech"}
    assert {label: row["participant"] for label, row in rows.items()} == {
        "laughter": "a", "vocal_noise": "b", "noise": ""
    }  # fmt: skip
    for name in ("s.TextGrid", "s.eaf", "s.seglst.json"):
        form = {".TextGrid": "textgrid", ".eaf": "eaf"}.get(Path(name).suffix, "seglst")
        tiers = () if form != "seglst" else (SPEECH, NON_SPEECH)
        convert(intervals, form, tmp_path / name, tiers=tiers)
        again, _ = read_file(tmp_path / name)
        assert [(i.participant, i.kind, i.start_ms, i.text) for i in again] == [
            (i.participant, i.kind, i.start_ms, i.text) for i in intervals
        ]
    _, lost = convert(intervals, "rttm", tmp_path / "again.rttm")
    assert not lost and read_file(tmp_path / "again.rttm")[0] == intervals
    with pytest.raises(SystemExit) as ended:
        (tmp_path / "bad.rttm").write_text("NON-LEX s 1 x 1 <NA> laugh a\n")
        from tools.convert import main

        main([str(tmp_path / "bad.rttm"), "--out", str(tmp_path / "x.ctm")])
    assert ended.value.code == 2


def interval(kind: str, start_ms: int, end_ms: int, text: str = "", who: str = "a") -> Interval:
    return Interval(session_id="s", participant=who, kind=kind, start_ms=start_ms, end_ms=end_ms, text=text)


def test_what_a_format_cannot_hold_of_sounds_is_said(tmp_path: Path) -> None:
    intervals = [
        interval(WORDS, 0, 300, "yes"),
        interval(NON_SPEECH, 400, 900, "laughter"),
        interval(NON_SPEECH, 0, 90, "bleed"),
    ]
    assert convert(intervals, "ctm", tmp_path / "s.ctm")[1] == {"tier non_speech, left out": 2}
    assert convert(intervals, "rttm", tmp_path / "s.rttm")[1] == {
        "tier words, left out": 1, "names of sounds, written as the nearest type of RTTM": 1
    }  # fmt: skip


def test_tags_are_no_speech_of_words_and_segments_and_convert_leaves_them_as_they_are(tmp_path: Path) -> None:
    intervals = [interval(WORDS, 0, 300, "yes"), interval(WORDS, 300, 900, "[laughter]")]
    assert [(i.start_ms, i.end_ms) for i in speech_of(intervals)] == [(0, 300)]
    convert(intervals, "ctm", tmp_path / "s.ctm")
    assert [i.text for i in read_file(tmp_path / "s.ctm")[0]] == ["yes", "[laughter]"]
    _, lost = convert(intervals, "rttm", tmp_path / "s.rttm")
    assert lost == {"tier words, left out": 1}
    assert [(i.kind, i.text) for i in read_file(tmp_path / "s.rttm")[0]] == [(NON_SPEECH, "laughter"), (SPEECH, "")]
    segments = [interval("segments", 0, 900, "(laughs)"), interval("segments", 1000, 2000, "so (laughs) yes")]
    assert [(i.start_ms, i.end_ms) for i in speech_of(segments)] == [(1000, 2000)]
    assert [(i.start_ms, i.text) for i in part_sounds(segments)[1]] == [(0, "laughter")]
    # WhisperX tells a segment and its words: one sound.
    both = [*segments[:1], interval(WORDS, 100, 800, "(laughs)")]
    assert [i.start_ms for i in part_sounds(both)[1]] == [100]


def test_sounds_are_scored_where_the_reference_names_some() -> None:
    def row(kind: str, label: str) -> dict[str, Any]:
        place = {"session_id": "s", "participant": "a", "start_ms": 0, "end_ms": 9, "outcome": None}
        return place | {"kind": kind, "label": label}

    laughter, bleed, gap = row("non_speech", "laughter"), row("non_speech", "bleed"), row("state", "gap")
    assert event_agreement([laughter, gap], [laughter]) == {"non_speech.laughter": (1, 1, 1), "state.gap": (0, 1, 0)}
    assert event_agreement([bleed, gap], [gap]) == {"state.gap": (1, 1, 1)}


def test_icsi_describes_its_sounds(tmp_path: Path) -> None:
    path = tmp_path / "Bmr001.A.words.xml"
    path.write_text(
        """<nite:root xmlns:nite="http://nite.sourceforge.net/">
        <w starttime="1.0" endtime="1.2">so</w>
        <vocalsound starttime="1.2" endtime="1.9" description="breath-laugh"/>
        <w starttime="1.9" endtime="1.9" punc="true">.</w>
        <vocalsound starttime="2.0" endtime="2.1" description="tongue click"/>
        <vocalsound starttime="2.2" endtime="2.3" description="imitates a motor"/>
        <nonvocalsound starttime="3.0" endtime="3.5" description="mike noise"/>
        <comment starttime="4.0" endtime="4.0" description="digits"/></nite:root>"""
    )
    words, untimed = read_words(path)
    assert [one["word"] for one in words] == ["so.", "[laughter]", "[vocal_noise]", "[vocal_noise]", "[noise]"]
    assert untimed == 0
