"""EAF as ELAN shows it: slots without times, subdivisions, the origin of media; damage is named."""

from pathlib import Path

import pytest

from tools.exchange.formats import read_file
from wanstreamer.errors import InputError

TIERS = """<ANNOTATION_DOCUMENT><HEADER TIME_UNITS="milliseconds">{media}</HEADER><TIME_ORDER>{slots}</TIME_ORDER>
{tiers}</ANNOTATION_DOCUMENT>"""


def eaf_of(slots: str, tiers: dict[str, str], media: str = "") -> str:
    """`slots`: values of ts1, ts2, ..., `-` for none. `tiers`: name<parent -> annotations `id from to text`."""
    written = [
        f'<TIME_SLOT TIME_SLOT_ID="ts{i}"' + ("/>" if value == "-" else f' TIME_VALUE="{value}"/>')
        for i, value in enumerate(slots.split(), start=1)
    ]
    elements = []
    for name, notes in tiers.items():
        own, _, parent = name.partition("<")
        element = f'<TIER TIER_ID="{own}"' + (f' PARENT_REF="{parent}">' if parent else ">")
        for note in notes.split(";"):
            key, first, last, text = note.split()
            tag, about = "ALIGNABLE", f'TIME_SLOT_REF1="{first}" TIME_SLOT_REF2="{last}"'
            if first.startswith("a"):
                tag, about = "REF", f'ANNOTATION_REF="{first}"' + f' PREVIOUS_ANNOTATION="{last}"' * (last != "-")
            element += f'<ANNOTATION><{tag}_ANNOTATION ANNOTATION_ID="{key}" {about}><ANNOTATION_VALUE>{text}'
            element += f"</ANNOTATION_VALUE></{tag}_ANNOTATION></ANNOTATION>"
        elements.append(element + "</TIER>")
    return TIERS.format(media=media, slots="".join(written), tiers="".join(elements))


def times_of(path: Path) -> list[tuple[str, int, int, str]]:
    return [(one.kind, one.start_ms, one.end_ms, one.text) for one in read_file(path)[0]]


THIRDS = [("words", 1000, 2000, "is"), ("words", 2000, 3000, "it"), ("words", 3000, 4000, "red")]


@pytest.mark.parametrize(
    ("slots", "words"),
    [
        ("1000 1000 - - 4000 4000", "a2 ts2 ts3 is;a3 ts3 ts4 it;a4 ts4 ts5 red"),
        ("1000 1000 - - - - 4000 4000", "a2 ts2 ts3 is;a3 ts4 ts5 it;a4 ts6 ts7 red"),
        ("1000 - - - - 4000", "a2 ts2 ts3 is;a3 ts3 ts4 it;a4 ts4 ts5 red"),
        ("1000 1000 2000 - 4000 4000", "a2 ts2 ts3 is;a3 ts3 ts4 it;a4 ts4 ts5 red"),
        ("1000 1000 2000 - - 4000", "a2 ts2 ts3 is;a3 ts4 ts5 it;a4 ts5 ts6 red"),
        ("1000 4000", "a2 a1 - is;a3 a1 a2 it;a4 a1 a3 red"),
        ("1000 4000", "a4 a1 a3 red;a2 a1 - is;a3 a1 a2 it"),
    ],
)
def test_subdivisions_of_an_eaf_have_the_times_that_elan_shows(tmp_path: Path, slots: str, words: str) -> None:
    last = f"ts{len(slots.split())}"
    path = tmp_path / "s.eaf"
    path.write_text(eaf_of(slots, {"words@anna<talk@anna": words, "talk@anna": f"a1 ts1 {last} is-it-red"}))
    assert times_of(path) == [("talk", 1000, 4000, "is-it-red"), *THIRDS]


def test_parts_of_parts_of_an_eaf(tmp_path: Path) -> None:
    """The words have no times of their own, and the syllables lie in them by the order of the slots."""
    path = tmp_path / "s.eaf"
    tiers = {
        "talk@a": "a1 ts1 ts8 hello-you",
        "words@a<talk@a": "a2 ts2 ts6 hello;a3 ts6 ts7 you",
        "parts@a<words@a": "a4 ts3 ts4 hel;a5 ts4 ts5 lo",
        "gloss@a<parts@a": "a6 a4 - X",
    }
    path.write_text(eaf_of("0 0 - - - - 4000 4000", tiers))
    assert times_of(path) == [
        ("gloss", 0, 1000, "X"),
        ("parts", 0, 1000, "hel"),
        ("parts", 1000, 2000, "lo"),
        ("talk", 0, 4000, "hello-you"),
        ("words", 0, 2000, "hello"),
        ("words", 2000, 4000, "you"),
    ]


def test_the_time_origin_of_media_is_applied_or_reported(tmp_path: Path) -> None:
    path = tmp_path / "s.eaf"
    origin, other = ('<MEDIA_DESCRIPTOR TIME_ORIGIN="5000"/>', "<MEDIA_DESCRIPTOR/>")
    path.write_text(eaf_of("1000 2000", {"words@a": "a1 ts1 ts2 red"}, origin * 2))
    assert (times_of(path), read_file(path)[1]) == ([("words", 6000, 7000, "red")], {})
    path.write_text(eaf_of("1000 2000", {"words@a": "a1 ts1 ts2 red"}, origin + other))
    assert times_of(path) == [("words", 1000, 2000, "red")]
    assert any("TIME_ORIGIN" in loss for loss in read_file(path)[1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((' TIME_VALUE="10"', ' TIME_VALUE="ten"'), "time slot ts1 `ten`: expected a number"),
        (('TIME_SLOT_REF1="ts1"', 'TIME_SLOT_REF1="ts9"'), "ts9"),
        (('"milliseconds"', '"PAL-frames"'), "TIME_UNITS `PAL-frames`: expected milliseconds"),
        (("</TIER>", ""), "not valid XML .*line"),
        (('"a2"', '"a1"'), "annotation a1 is there twice"),
    ],
)
def test_a_damaged_eaf_is_one_line(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    path = tmp_path / "s.eaf"
    path.write_text(eaf_of("10 20 30", {"words@a": "a1 ts1 ts2 red;a2 ts2 ts3 hat"}).replace(*change))
    with pytest.raises(InputError, match=f"s.eaf: .*{said}"):
        read_file(path)
