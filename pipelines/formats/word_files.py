"""A file of timed words, in the formats of corpora -> rows `{"word", "start_ms", "end_ms"}` on the file's clock.

    *.json with "words"                our own: {"words": [{"word", "start_ms", "end_ms"}]}
    *.json with "metadata:transcript"  Seamless Interaction: segments of words with "start" and "end" in seconds
    *.json with "results"              CANDOR: Amazon Transcribe, by channel, with times in seconds as text
    *.words.xml                        AMI and ICSI (NXT): <w starttime endtime>, punctuation in separate elements

A word without usable times is left out and counted: one of them is missing, null or no number, or the word ends before
it begins. Punctuation without times is appended to the word before it. Sounds that are not words
stay among the words, written as in the file, `[laughter]`; the elements `vocalsound` and `nonvocalsound` become such
tags (wanstreamer/turns/nonspeech.py).
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from wanstreamer.clock import seconds_to_ms
from wanstreamer.errors import InputError
from wanstreamer.text_files import FARTHEST_S, decode_text, number_of, parse_json, parse_xml
from wanstreamer.turns.nonspeech import NOISE, VOCAL, VOCAL_NOISE, described_as, sound_of, tag

EXPECTED = "expected timed words: our JSON, Seamless Interaction, CANDOR (transcribe_output.json) or AMI (*.words.xml)"


class BadWords(Exception):
    """The file has no known format. The message says what is wrong, and contains no words of the file."""


def read_words(path: Path, channel: int | None = None) -> tuple[list[dict[str, Any]], int]:
    """All words of one participant in order of time, and the number of words without usable times.

    Args:
        channel: The speaker's audio channel, from 0, if the file has several.

    Raises:
        FileNotFoundError: There is no such file.
        BadWords: The file has no known format, or there are words and none of them has times.
    """
    content = path.read_bytes()
    try:
        if path.suffix.lower() == ".xml":
            timed = list(_ami(parse_xml(content, path.name)))
        else:
            timed = list(_json(parse_json(decode_text(content, path.name), path.name), channel))
    except InputError as error:
        raise BadWords(f"{str(error).removeprefix(path.name).lstrip(': ')}; {EXPECTED}") from error
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise BadWords(f"{type(error).__name__}; {EXPECTED}") from error
    words: list[dict[str, Any]] = []
    num_untimed = 0
    for text, start_ms, end_ms in timed:
        if start_ms is None or end_ms is None or end_ms < start_ms or not _is_storable(text):
            before = next((word for word in reversed(words) if sound_of(word["word"]) is None), None)
            if before and text and not any(letter.isalnum() for letter in text):
                before["word"] += text
            else:
                num_untimed += bool(text)
        elif text:
            words.append({"word": text, "start_ms": start_ms, "end_ms": max(end_ms, start_ms + 1)})
    if num_untimed and not words:
        raise BadWords(f"none of its {num_untimed} words has a start and an end; {EXPECTED}")
    return sorted(words, key=lambda word: (word["start_ms"], word["end_ms"])), num_untimed


TimedWords = Iterator[tuple[str, int | None, int | None]]


def _json(content: Any, channel: int | None) -> TimedWords:
    if "words" in content:
        for number, word in enumerate(_list(content["words"], "words"), start=1):
            if not isinstance(word, dict) or "word" not in word:
                raise InputError(f"word {number}: expected an object with word, start_ms and end_ms")
            yield _text(word["word"]), _ms(word.get("start_ms"), 1), _ms(word.get("end_ms"), 1)
    elif "metadata:transcript" in content:
        for segment in _list(content["metadata:transcript"], "metadata:transcript"):
            for word in _list(segment.get("words") or [], "words"):
                yield _text(word["word"]), _ms(word.get("start")), _ms(word.get("end"))
    else:
        channels = content["results"]["channel_labels"]["channels"]
        wanted = [entry for entry in channels if entry["channel_label"] == f"ch_{channel or 0}"]
        for item in wanted[0]["items"]:
            yield _text(item["alternatives"][0]["content"]), _ms(item.get("start_time")), _ms(item.get("end_time"))


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f"`{name}`: expected a list")
    return value


def _text(value: object) -> str:
    """A word, without blanks around it; empty for null."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError("a word that is no text")
    return str(value).strip()


def _is_storable(text: str) -> bool:
    """JSON may have half a letter, which no table can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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


def _ms(value: object, per_second: float = 1000) -> int | None:
    """A time in seconds, or with `per_second` 1 in ms; None if it is missing, or no time that a recording has."""
    try:
        seconds = number_of(value) * per_second / 1000
    except (ValueError, OverflowError):
        return None
    return seconds_to_ms(seconds) if abs(seconds) <= FARTHEST_S else None
