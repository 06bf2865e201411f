"""A file of timed words, in the formats of corpora -> rows `{"word", "start_ms", "end_ms"}` on the file's clock.

    *.json with "words"                our own: {"words": [{"word", "start_ms", "end_ms"}]}
    *.json with "metadata:transcript"  Seamless Interaction: segments of words with "start" and "end" in seconds
    *.json with "results"              CANDOR: Amazon Transcribe, by channel, with times in seconds as text
    *.words.xml                        AMI and ICSI (NXT): <w starttime endtime>, punctuation in separate elements

Words without times are left out and counted; punctuation is appended to the word before it. Sounds that are not words
stay among the words, written as in the file, `[laughter]`; the elements `vocalsound` and `nonvocalsound` become such
tags (wanstreamer/turns/nonspeech.py).
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from wanstreamer.turns.nonspeech import NOISE, VOCAL, VOCAL_NOISE, described_as, sound_of, tag

FARTHEST_MS = 10**12  # 30 years; no recording has such a time
EXPECTED = "expected timed words: our JSON, Seamless Interaction, CANDOR (transcribe_output.json) or AMI (*.words.xml)"


class BadWords(Exception):
    """The file has no known format. The message says what is wrong, and contains no words of the file."""


def read_words(path: Path, channel: int | None = None) -> tuple[list[dict[str, Any]], int]:
    """All words of one participant in order of time, and the number of words without times.

    Args:
        channel: The speaker's audio channel, from 0, if the file has several.

    Raises:
        FileNotFoundError: There is no such file.
        BadWords: The file has no known format.
    """
    try:
        if path.suffix == ".xml":
            timed = list(_ami(ElementTree.fromstring(path.read_bytes())))
        else:
            timed = list(_json(json.loads(path.read_text(encoding="utf-8")), channel))
        for text, *times in timed:
            text.encode()  # JSON may have half a letter, which no table can hold
            if any(time is not None and abs(time) > FARTHEST_MS for time in times):
                raise ValueError(f"a time beyond {FARTHEST_MS} ms")
    except (
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        AttributeError,
        OverflowError,
        ElementTree.ParseError,
    ) as error:
        raise BadWords(f"{type(error).__name__}; {EXPECTED}") from error
    words: list[dict[str, Any]] = []
    untimed = 0
    for text, start_ms, end_ms in timed:
        if start_ms is None or end_ms is None:
            # Punctuation has no time; a word without a time is lost.
            before = next((word for word in reversed(words) if sound_of(word["word"]) is None), None)
            if before and text and not any(letter.isalnum() for letter in text):
                before["word"] += text
            else:
                untimed += bool(text)
        elif text:
            words.append({"word": text, "start_ms": start_ms, "end_ms": max(end_ms, start_ms + 1)})
    return sorted(words, key=lambda word: (word["start_ms"], word["end_ms"])), untimed


TimedWords = Iterator[tuple[str, int | None, int | None]]


def _json(content: Any, channel: int | None) -> TimedWords:
    if "words" in content:
        for word in content["words"]:
            yield str(word["word"]), int(word["start_ms"]), int(word["end_ms"])
    elif "metadata:transcript" in content:
        for segment in content["metadata:transcript"]:
            for word in segment["words"]:
                yield str(word["word"]).strip(), _ms(word.get("start")), _ms(word.get("end"))
    else:
        channels = content["results"]["channel_labels"]["channels"]
        wanted = [entry for entry in channels if entry["channel_label"] == f"ch_{channel or 0}"]
        for item in wanted[0]["items"]:
            yield item["alternatives"][0]["content"], _ms(item.get("start_time")), _ms(item.get("end_time"))


def _ami(root: ElementTree.Element) -> TimedWords:
    for element in root:
        name, text = element.tag.rpartition("}")[2], (element.text or "").strip()
        if name == "w" and element.get("punc") == "true":
            yield text, None, None
            continue
        if name == "vocalsound":  # AMI has a type, ICSI a description
            label = described_as(element.get("type") or element.get("description") or "")
            text = tag(label if label in VOCAL else VOCAL_NOISE)
        elif name == "nonvocalsound":
            text = tag(NOISE)
        elif name != "w":  # gaps, comments
            continue
        yield text, _ms(element.get("starttime")), _ms(element.get("endtime"))


def _ms(seconds: object) -> int | None:
    if seconds in (None, ""):
        return None
    value = float(str(seconds))
    return round(1000 * value) if math.isfinite(value) else None
