"""Our files, read by the format's own library and by ours; and changes of a file that change nothing.

pympi reads EAF, praatio TextGrid, pysubs2 SRT and WebVTT, pyannote.database RTTM and STM, pandas the columns of CTM and
of Audacity's labels, json the rest. MeetEval, the library of SegLST, has no wheels.
"""

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pysubs2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from praatio import textgrid
from pympi.Elan import Eaf

from tests.helpers.counts import examples
from tests.helpers.plain_intervals import plain_lists
from tools.exchange.formats import FORMATS, WRITABLE, read_file
from tools.exchange.intervals import Interval, in_order
from tools.exchange.tiers import lanes, tier_name
from wanstreamer.errors import InputError

Rows = list[tuple[Any, ...]]


def seconds(interval: Interval) -> tuple[float, float]:
    return interval.start_ms / 1000, interval.end_ms / 1000


def in_tiers(intervals: list[Interval]) -> Rows:
    return sorted(
        (tier_name(kind, participant, lane), *seconds(one), one.text)
        for (kind, participant, lane), own in lanes(intervals).items()
        for one in own
    )


def by_praatio(path: Path) -> Rows:
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=False, reportingMode="error")
    return sorted((name, *entry) for name in grid.tierNames for entry in grid.getTier(name).entries)


def by_pympi(path: Path) -> Rows:
    eaf = Eaf(str(path))
    return sorted(
        (name, start / 1000, end / 1000, text)
        for name in eaf.get_tier_names()
        for start, end, text in eaf.get_annotation_data_for_tier(name)
    )


def by_pysubs2(path: Path) -> Rows:
    return sorted((cue.start / 1000, cue.end / 1000, cue.plaintext) for cue in pysubs2.load(str(path)))


def by_pyannote(path: Path) -> Rows:
    util = pytest.importorskip("pyannote.database.util")
    load = util.load_rttm if path.suffix == ".rttm" else util.load_stm
    return sorted(
        (session, round(segment.start, 3), round(segment.end, 3), speaker)
        for session, annotation in load(str(path)).items()
        for segment, _, speaker in annotation.itertracks(yield_label=True)
    )


def by_pandas(path: Path) -> Rows:
    names = ["file", "channel", "start", "duration", "word", "confidence"]
    if path.suffix == ".txt":
        names = ["start", "end", "word"]
    table = pd.read_csv(path, sep="\t" if path.suffix == ".txt" else r"\s+", names=names, quoting=csv.QUOTE_NONE)
    if path.suffix == ".txt":
        return sorted((row.start, row.end, str(row.word)) for row in table.itertuples())
    return sorted(
        (row.file, row.channel, row.start, round(row.start + row.duration, 3), str(row.word))
        for row in table.itertuples()
    )


def by_json(path: Path) -> Rows:
    content = json.loads(path.read_bytes())
    if isinstance(content, list):
        return sorted((one["speaker"], one["start_time"], one["end_time"], one["words"]) for one in content)
    if "alignments" in content:
        return sorted((speaker, *times, text) for text, times, speaker in content["alignments"])
    return sorted((one["speaker"], one["start"], one["end"], one["text"]) for one in content["segments"])


def spoken(intervals: list[Interval]) -> Rows:
    return sorted((one.participant, *seconds(one), one.text) for one in intervals)


def of_subtitles(named: str) -> Callable[[list[Interval]], Rows]:
    return lambda intervals: sorted((*seconds(one), named.format(one.participant, one.text)) for one in intervals)


def of_speakers(intervals: list[Interval]) -> Rows:
    return sorted((one.session_id, *seconds(one), one.participant) for one in intervals)


# Format -> its library, and what we wrote in that library's words.
READERS: dict[str, tuple[Callable[[Path], Rows], Callable[[list[Interval]], Rows]]] = {
    "rttm": (by_pyannote, of_speakers),
    "stm": (by_pyannote, of_speakers),
    "ctm": (by_pandas, lambda own: sorted((one.session_id, one.participant, *seconds(one), one.text) for one in own)),
    "textgrid": (by_praatio, in_tiers),
    "eaf": (by_pympi, in_tiers),
    "srt": (by_pysubs2, of_subtitles("[{}]: {}")),
    "vtt": (by_pysubs2, of_subtitles("{1}")),
    "seglst": (by_json, spoken),
    "whisperx": (by_json, spoken),
    "moshi": (by_json, spoken),
    "audacity": (
        by_pandas, lambda own: sorted((*seconds(one), f"[{one.kind}@{one.participant}] {one.text}") for one in own)
    ),
}  # fmt: skip


def test_every_format_has_another_reader() -> None:
    assert set(READERS) == set(WRITABLE)


def written(form: str, intervals: list[Interval], folder: Path) -> Path:
    write = FORMATS[form].write
    assert write
    content, losses = write(intervals)
    assert not losses
    path = folder / f"s{FORMATS[form].suffix}"
    path.write_bytes(content.encode())
    return path


@pytest.mark.parametrize("form", READERS)
@examples(100)
@given(data=st.data())
def test_another_library_reads_what_we_write_and_so_do_we(
    tmp_path_factory: pytest.TempPathFactory, form: str, data: st.DataObject
) -> None:
    intervals = in_order(data.draw(plain_lists(form)))
    if form in ("srt", "vtt"):  # pysubs2 takes `<unk>` for a tag, and reads two digits of hours
        intervals = [one for one in intervals if "<" not in one.text and one.end_ms < 360_000_000]
    if not intervals:
        return
    path = written(form, intervals, tmp_path_factory.getbasetemp())
    reader, expected = READERS[form]
    assert reader(path) == expected(intervals)
    assert read_file(path, form) == (intervals, {})


LINES = ("rttm", "ctm", "stm", "audacity")
BLANK_LINES = (*LINES, "srt", "vtt")
MARKS = {
    "a mark": lambda text, _: text.encode("utf-8-sig"),
    "two marks": lambda text, _: ("\ufeff\ufeff" + text).encode(),
    "UTF-16": lambda text, _: text.encode("utf-16"),
    "CRLF": lambda text, _: text.replace("\n", "\r\n").encode(),
    "CR twice": lambda text, _: text.replace("\n", "\r\r\n").encode(),
    "blank lines at the ends": lambda text, _: ("\n\n" + text + "\n \n").encode(),
    "no last line end": lambda text, _: text.rstrip("\n").encode(),
    "old line ends": lambda text, _: text.replace("\n", "\r").encode(),
    "another encoding": lambda text, _: (text + "# é").encode("latin-1"),
    "UTF-16 without a mark": lambda text, _: text.encode("utf-16-le"),
    "UTF-32": lambda text, _: text.encode("utf-32"),
    "NULs at the end": lambda text, _: text.encode() + bytes(4096),
    "no-break spaces": lambda text, _: text.replace(" ", "\u00a0", 1).encode(),
    "tabs": lambda text, _: text.replace(" ", "\t \t").encode(),
    "another order": lambda text, rng: "".join(rng.sample(lines := text.splitlines(True), len(lines))).encode(),
    "a joined file": lambda text, _: ("\ufeff" + text + "\ufeff" + text).encode(),
}
ONLY = {"another order": set(LINES), "tabs": {"rttm", "ctm", "stm"}, "no-break spaces": {"rttm", "ctm"}}
SAME = {  # formats in which a change means nothing: it must be read, not only be named
    "a mark": set(WRITABLE) - {"eaf"},
    "UTF-16": set(WRITABLE) - {"eaf"},
    "two marks": set(WRITABLE) - {"eaf"},
    "CRLF": set(WRITABLE),
    "no last line end": set(WRITABLE),
    "blank lines at the ends": {*BLANK_LINES, "textgrid", "seglst", "whisperx", "moshi"} - {"vtt"},
    "tabs": {"rttm", "ctm", "stm"},
    "another order": set(LINES),
}


@pytest.mark.parametrize("form", WRITABLE)
@examples(60)
@given(data=st.data())
def test_marks_line_ends_blanks_and_orders_change_nothing_or_are_named(
    tmp_path_factory: pytest.TempPathFactory, form: str, data: st.DataObject
) -> None:
    intervals = in_order(data.draw(plain_lists(form)))
    name = data.draw(st.sampled_from(sorted(MARKS)))
    if form not in ONLY.get(name, WRITABLE):
        return
    path = written(form, intervals, tmp_path_factory.getbasetemp())
    try:
        content = MARKS[name](path.read_text(encoding="utf-8"), random.Random(data.draw(st.integers(0, 9))))
    except UnicodeEncodeError:
        return
    path.write_bytes(content)
    try:
        read, losses = read_file(path, form)
    except InputError as error:
        assert form not in SAME.get(name, ()) and str(error).startswith(str(path)) and "\n" not in str(error)
        return
    assert losses or read == in_order(intervals * 2 if name == "a joined file" else intervals), name
