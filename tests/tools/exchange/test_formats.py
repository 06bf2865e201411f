"""Exchange formats: what is written is read back, and what is lost is said."""

import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pysubs2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from praatio import textgrid
from pympi.Elan import Eaf

from tests.helpers.counts import examples
from tests.helpers.dialogue_of_intervals import dialogue
from tests.helpers.plain_intervals import plain, plain_lists
from tools.convert import convert
from tools.exchange.formats import FORMATS, WRITABLE, read_file
from tools.exchange.intervals import Interval, Losses, in_order
from wanstreamer.errors import InputError

# What has broken readers: blanks, quotes, line breaks, tags, the formats' own marks, and any letter there is.
AWKWARD = (
    "", " ", "red?", 'she said "no"', '""', "a b", " a", "two\nlines", "a\n\nb", "tab\there", "1984", "in\n1984",
    "a\r\nb", "<v b>x", "</v>", "&amp;", "a & b <i>c</i>", "[a]: no", "[]:", "[words@b] x", "item [2]:", "(words)",
    "intervals [1]:", "(speech)", '"IntervalTier"', "<NA>", ";; note", "; note", "<o,f0,unk>", "<o,f0,unk> a",
    "{\\an7}", "a\\Nb", "--> x", "naïve 日本", "\u2028", "\x85", "\x00", "\x1c", "NOTE", "WEBVTT", "a-_b", "!",
    "00:00:01,000 --> 00:00:02,000", "\ufeff",
)  # fmt: skip
NAMES = ("a", "b", "anna b", "a_b", "", "x]", "a@b", "a#2", "q - words", "née", "SPEAKER_MAIN", " a")


@st.composite
def odd_lists(draw: st.DrawFn, form: str) -> list[Interval]:
    """Plain but for one thing, as several losses would hide each other."""
    changed, *rest = draw(plain_lists(form))
    odd: dict[str, st.SearchStrategy[object]] = {
        "text": st.sampled_from(AWKWARD) | st.text(max_size=6),
        "participant": st.sampled_from((*NAMES, *AWKWARD)) | st.text(max_size=3),
        "kind": st.sampled_from(("speech", "words", "segments", "turns", "backchannel", "transition"))
        | st.sampled_from(AWKWARD),
        "confidence": st.floats(0, 1) | st.sampled_from((0.0, 1.0, 1e-7)),
        "end_ms": st.just(changed.start_ms),
    }
    if FORMATS[form].many_sessions:
        odd["session_id"] = st.sampled_from(("monday", "day 2", ";x", "<NA>"))
    name = draw(st.sampled_from(sorted(odd)))
    return [replace(changed, **{name: draw(odd[name])}), *rest]  # type: ignore[arg-type]


def round_trip(form: str, given_intervals: list[Interval]) -> tuple[list[Interval], Losses]:
    write = FORMATS[form].write
    assert write
    text, losses = write(given_intervals)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"s{FORMATS[form].suffix}"
        path.write_bytes(text.encode())
        found, unread = read_file(path, form)
    assert not unread, "reading our own file loses nothing more"
    return found, losses


def check_honest(form: str, given_intervals: list[Interval]) -> None:
    """Equal or a loss is said, never both; and what has survived once survives."""
    try:
        found, losses = round_trip(form, in_order(given_intervals))
    except InputError as error:
        assert "would both be written as" in str(error)
        return
    assert (found == in_order(given_intervals)) == (not losses), losses
    if found:
        assert round_trip(form, found) == (found, Losses())


@pytest.mark.parametrize("form", WRITABLE)
@examples(100)
@given(data=st.data())
def test_what_is_lost_is_said_and_what_is_said_is_lost(form: str, data: st.DataObject) -> None:
    check_honest(form, data.draw(odd_lists(form)))


@pytest.mark.parametrize("form", WRITABLE)
def test_awkward_texts_and_names(form: str) -> None:
    for text in AWKWARD:
        for who in ("a", ""):
            check_honest(form, [plain(form, who, 0, 500), replace(plain(form, who, 500, 900), text=text)])
            check_honest(form, [replace(plain(form, who, 0, 500), text=text), plain(form, who, 500, 900)])
    for who in (*NAMES, *AWKWARD):
        check_honest(form, [plain(form, who, 0, 500), plain(form, "b", 500, 900)])


@pytest.mark.parametrize("form", WRITABLE)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_plain_intervals_lose_nothing(form: str, data: st.DataObject) -> None:
    given_intervals = in_order(data.draw(plain_lists(form)))
    assert round_trip(form, given_intervals) == (given_intervals, Losses())


@pytest.mark.parametrize("form", ["textgrid", "eaf", "audacity"])
def test_a_segment_of_no_one_keeps_a_text_that_looks_like_a_tier(form: str) -> None:
    own = Interval(session_id="s", participant="", kind="segments", start_ms=0, end_ms=9, text="[words@b] x")
    assert round_trip(form, [own]) == ([own], Losses())


def test_names_that_would_become_one_are_refused() -> None:
    with pytest.raises(InputError, match="'a b' and 'a_b' would both be written as 'a_b'"):
        round_trip("rttm", [plain("rttm", "a b"), plain("rttm", "a_b")])


# What other programs write, and what they read of ours.

FOREIGN = {
    "call.rttm": (
        "SPEAKER call 1 0.5 1.25 <NA> <NA> anna <NA> <NA>\nSPKR-INFO call 1 <NA> <NA> <NA> unknown anna <NA>\n",
        [("call", "anna", "speech", 500, 1750, "")],
        {"lines other than SPEAKER, NON-LEX and NON-SPEECH, left out": 1},
    ),
    "x.ctm": (
        ";; made by hand\ncall A 0.10 0.2 red 0.9\ncall A 0.4 0.1 hat NA\n",
        [("call", "A", "words", 100, 300, "red"), ("call", "A", "words", 400, 500, "hat")],
        {},
    ),
    "x.stm": (
        "call 1 anna 0.0001 2.5 <o,f0,female> is it red\n",
        [("call", "anna", "segments", 0, 2500, "is it red")],
        {"labels of conditions, left out": 1, "times finer than a millisecond, rounded": 1},
    ),
    "gaps.stm": (
        ";; c\ncall 1 inter_segment_gap 0.00 0.50 <o,,unknown>\ncall 1 anna 0.50 1.00 <NA> hello\u00a0!\n"
        "call 1 excluded_region 1.0 2.0 IGNORE_TIME_SEGMENT_IN_SCORING\n"
        "call 1 ben 2.0 3.0 <o,,male> ignore_time_segment_in_scoring\n",
        [("call", "anna", "segments", 500, 1000, "hello\u00a0!")],
        {"labels of conditions, left out": 3, "regions that are not scored, left out": 3},
    ),
    "french.ctm": (
        "call A 0.10 0.30 pourquoi\u00a0? 0.91\ncall A 0.50 0.30 l\u2019id\u00e9e 0.90\ncall B 1.0 0.2 oui 0.8\n",
        [
            ("call", "A", "words", 100, 400, "pourquoi\u00a0?"),
            ("call", "A", "words", 500, 800, "l\u2019id\u00e9e"),
            ("call", "B", "words", 1000, 1200, "oui"),
        ],
        {},
    ),
    "x.seglst.json": (
        '[{"session_id": "call", "speaker": "anna", "start_time": "0.5", "end_time": 1, "words": "red"}]',
        [("call", "anna", "segments", 500, 1000, "red")],
        {},
    ),
    "call.TextGrid": (  # as Praat saves it short, a label with quotes and a point
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n2\n<exists>\n2\n'
        '"IntervalTier"\n"anna - words"\n0\n2\n2\n0\n0.5\n""\n0.5\n2\n"say ""red"""\n'
        '"TextTier"\n"bells"\n0\n2\n1\n1.5\n"ding"\n',
        [("call", "anna", "words", 500, 2000, 'say "red"'), ("call", "bells", "segments", 1500, 1500, "ding")],
        {},
    ),
    "call.eaf": (
        '<ANNOTATION_DOCUMENT VERSION="3.0" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xsi:noNamespaceSchemaLocation="x"><HEADER/><TIME_ORDER><TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="10"/>'
        '<TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="90"/><TIME_SLOT TIME_SLOT_ID="ts3"/></TIME_ORDER>'
        '<TIER TIER_ID="utterance" PARTICIPANT="anna" LINGUISTIC_TYPE_REF="x"><ANNOTATION><ALIGNABLE_ANNOTATION '
        'ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2"><ANNOTATION_VALUE>rouge</ANNOTATION_VALUE>'
        '</ALIGNABLE_ANNOTATION></ANNOTATION><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="ts2" '
        'TIME_SLOT_REF2="ts3"><ANNOTATION_VALUE/></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>'
        '<TIER TIER_ID="gloss@anna" PARENT_REF="utterance" LINGUISTIC_TYPE_REF="x"><ANNOTATION><REF_ANNOTATION '
        'ANNOTATION_ID="a2" ANNOTATION_REF="a1"><ANNOTATION_VALUE>red</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>'
        "</TIER></ANNOTATION_DOCUMENT>",
        [("call", "anna", "gloss", 10, 90, "red"), ("call", "anna", "utterance", 10, 90, "rouge")],
        {"annotations without times, left out": 1},
    ),
    "call.srt": (
        "\ufeff1\r\n00:00:01,5 --> 00:00:02,000\r\n[SPEAKER_00]: is it\r\nred?\r\n\r\n"
        "2\r\n00:00:03,000 --> 00:00:04,000\r\nin\r\n1984",
        [
            ("call", "", "segments", 3000, 4000, "in\n1984"),
            ("call", "SPEAKER_00", "segments", 1500, 2000, "is it\nred?"),
        ],
        {},
    ),
    "call.vtt": (
        "WEBVTT - a title\n\nNOTE by hand\n\nintro\n00:01.000 --> 00:02.000 align:start\n"
        "<v.loud Anna B>Tom &amp; <i>I</i></v>\n<v Tom>yes\n",
        [("call", "Anna B", "segments", 1000, 2000, "Tom & I"), ("call", "Tom", "segments", 1000, 2000, "yes")],
        {
            "blocks without times, left out": 1,
            "positions of cues, left out": 1,
            "tags of style and timing, left out": 1,
        },
    ),
    "call.json": (  # WhisperX: a digit without times, a negative length
        '{"segments": [{"start": 0, "end": 2, "text": " in 1984 no", "words": [{"word": "in", "start": 0.1, '
        '"end": 0.3, "score": 0.5}, {"word": "1984"}, {"word": "no", "start": 1.5, "end": 1.4, "score": 0.5}]}], '
        '"language": "en"}',
        [("call", "", "segments", 0, 2000, "in 1984 no"), ("call", "", "words", 100, 300, "in")],
        {"words without times, left out": 1, "intervals before 0 or of negative length, left out": 1},
    ),
    "talk.json": (
        '{"alignments": [["red", [0.5, 0.75], "SPEAKER_MAIN"]]}',
        [("talk", "SPEAKER_MAIN", "words", 500, 750, "red")],
        {},
    ),
    "call.txt": (
        "0.500000\t1.000000\tred hat\r\n\\\t100.0\t200.0\r\n1.000000\t1.000000\t\r\n",
        [("call", "", "segments", 500, 1000, "red hat"), ("call", "", "segments", 1000, 1000, "")],
        {"frequency ranges, left out": 1},
    ),
    "monday/a.words.json": (
        '{"words": [{"word": "red?", "start_ms": 1200, "end_ms": 1480}]}',
        [("monday", "a", "words", 1200, 1480, "red?")],
        {},
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_files_of_other_programs(name: str, tmp_path: Path) -> None:
    """Found by suffix or content alone; what cannot be used is counted."""
    content, expected, losses = FOREIGN[name]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.encode())
    found, lost = read_file(path)
    told = [(one.session_id, one.participant, one.kind, one.start_ms, one.end_ms, one.text) for one in found]
    assert (told, lost) == (expected, losses)


def test_praatio_reads_our_textgrid(tmp_path: Path) -> None:
    """praatio refuses tiers with overlaps, so this shows that ours have none."""
    convert(dialogue(), "textgrid", tmp_path / "s.TextGrid")
    grid = textgrid.openTextgrid(str(tmp_path / "s.TextGrid"), includeEmptyIntervals=False, reportingMode="error")
    told = {name: [tuple(entry) for entry in grid.getTier(name).entries] for name in grid.tierNames}
    assert told == {
        "words@a": [(0, 0.3, 'say "red"')],
        "words#2@a": [(0.2, 0.5, "no")],
        "words@b": [(0.25, 0.4, "mhm")],
        "transition@b": [(0.25, "interruption")],
    }
    for form in ("short_textgrid", "long_textgrid"):
        grid.save(str(tmp_path / "theirs.TextGrid"), form, includeBlankSpaces=True)
        theirs, _ = read_file(tmp_path / "theirs.TextGrid")
        assert [replace(one, session_id="s") for one in theirs] == in_order(dialogue())


def test_no_tier_of_an_eaf_holds_overlaps_and_media_are_linked(tmp_path: Path) -> None:
    media = tmp_path / "tracks" / "a b.wav"
    convert(dialogue(), "eaf", tmp_path / "out" / "s.eaf", media={"s": [media]})
    found = Eaf(str(tmp_path / "out" / "s.eaf"))
    for tier in found.get_tier_names():
        own = sorted(found.get_annotation_data_for_tier(tier))
        assert all(one[1] <= two[0] for one, two in pairwise(own)), tier
    assert found.get_parameters_for_tier("words#2@a")["PARTICIPANT"] == "a"
    assert found.get_linked_files()[0]["RELATIVE_MEDIA_URL"] == "../tracks/a b.wav"


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_pysubs2_reads_our_subtitles(form: str, tmp_path: Path) -> None:
    convert(dialogue(), form, tmp_path / f"s.{form}")
    cues = pysubs2.load(str(tmp_path / f"s.{form}"))
    name = {"srt": "[{}]: ", "vtt": ""}[form]
    assert [(cue.start, cue.end, cue.text) for cue in cues] == [
        (0, 500, name.format("a") + 'say "red" no'),
        (250, 400, name.format("b") + "mhm"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.ctm", "call A 0.1 red", "line 1: not CTM"),
        ("x.ctm", "call A nan 0.1 red", "line 1: not CTM"),
        ("x.stm", "call 1 a", "line 1: not STM"),
        ("x.rttm", "SPEAKER call 1 0 inf <NA> <NA> a", "line 1: not RTTM"),
        ("x.TextGrid", 'File type = "ooTextFile"', "not a TextGrid"),
        ("x.eaf", "<a/>", "not an EAF"),
        ("x.srt", "hello", "no cue with times"),
        ("x.json", "{", "not valid JSON"),
        ("x.json", "{}", "JSON, but none of the known formats"),
        ("x.json", '{"segments": 3}', "not WhisperX"),
        ("x.json", '{"alignments": [[1]]}', "not Moshi"),
        ("x.json", "[3]", "segment 1: not SegLST"),
        ("x.txt", "0.5\tred\n", "format not recognised"),
        ("x.txt", "0.5\t1\tred\nred", "line 2: not Audacity"),
        ("x.srt", "\udcff", "not text in UTF-8"),
    ],
)
def test_a_bad_file_is_one_clear_line(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=message) as said:
        read_file(tmp_path / name)
    assert str(said.value).startswith(str(tmp_path / name)) and "\n" not in str(said.value)
