"""Text files that people hand in -> text, lines, fields, numbers, JSON: the one reader for all of them.

A file is UTF-8, with or without a byte order mark, or UTF-16 with one. A line ends with LF or CRLF. Fields are
separated by spaces and tabs, and by nothing else: a no-break space is part of a French word. Whatever cannot be read is
an InputError that names the file, the line and what was expected.
"""

import codecs
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from wanstreamer.errors import InputError

MARK = "\ufeff"  # a byte order mark, after decoding
FARTHEST_S = 1e9  # 30 years: no recording has such a time
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_MISSING = frozenset({"", "nan", "NaN", "<NA>"})  # what programs write for a missing value


def read_text(path: Path) -> str:
    """A text file, without its byte order mark. Line ends are not changed.

    Raises InputError for a file that does not exist, is a folder, or is not text in UTF-8 or marked UTF-16.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: is a folder; expected a file") from error
    except PermissionError as error:
        if not isinstance(path, Path):  # a store explains it better
            raise
        raise InputError(f"{path}: not readable; check its permissions") from error
    return decode_text(content, str(path))


def decode_text(content: bytes, where: str) -> str:
    """The text in `content`. Raises InputError as `read_text`; `where` names the file in messages."""
    if content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise InputError(f"{where}: not text in UTF-8 but in UTF-32; save it as UTF-8")
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8"
    if encoding == "utf-8" and b"\0" in content:
        raise InputError(f"{where}: {_about_nul(content)}; save it as UTF-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        if encoding == "utf-16":
            raise InputError(
                f"{where}: its mark says UTF-16, but it is damaged or cut off; save it as UTF-8"
            ) from error
        raise InputError(
            f"{where}: not text in UTF-8 (byte 0x{content[error.start]:02x} in line {line}); the encoding is perhaps "
            f"{_likely_encoding(content)}; save it as UTF-8"
        ) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise InputError(f"{where}: a NUL character in line {line}; the file is damaged, or is not text")
    return text.lstrip(MARK)


def _about_nul(content: bytes) -> str:
    if len(content) % 2 == 0 and 0 in (content[::2].count(0), content[1::2].count(0)):
        return "not text in UTF-8 but probably in UTF-16 without a byte order mark"
    line = content[: content.index(b"\0")].count(b"\n") + 1
    return f"not text in UTF-8 (a NUL byte in line {line}); it is damaged, or no text file"


def _likely_encoding(content: bytes) -> str:
    """A guess: letters with accents stand alone between ASCII letters, other scripts come in runs."""
    longest = max(map(len, re.findall(rb"[\x80-\xff]+", content)))
    if longest < 4:
        return "Windows-1252 or ISO-8859-1"
    return "GB18030, Big5, Shift_JIS, EUC-KR or Windows-1251"


def text_lines(text: str, where: str) -> list[str]:
    """The lines of a text, which end with LF or CRLF, without their ends and without byte order marks before them.

    Files with marks may have been joined. Raises InputError for a carriage return inside a line.
    """
    lines = [line.lstrip(MARK).rstrip("\r") for line in text.split("\n")]
    for number, line in enumerate(lines, start=1):
        if "\r" in line:
            raise InputError(
                f"{where} line {number}: a carriage return inside the line; save the file with line ends LF or CRLF"
            )
    return lines[:-1] if lines[-1] == "" else lines


def numbered_fields(text: str, where: str) -> Iterator[tuple[int, list[str]]]:
    """(line number, fields) of all lines that are neither empty nor a comment behind `;`. Raises as `text_lines`."""
    for number, line in enumerate(text_lines(text, where), start=1):
        fields = [field for field in re.split("[ \t]+", line) if field]
        if fields and not fields[0].startswith(";"):
            yield number, fields


def is_missing(value: object) -> bool:
    """Whether a value stands for no value: null, NaN, an empty text, or what programs write for one in a text file."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and value.strip() in _MISSING)


def shown(value: object) -> str:
    """A value in a message: on one line, and not too long."""
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", str(value))
    return text if len(text) <= 60 else f"{text[:60]}..."


def number_of(value: object) -> float:
    """A finite number, given as a number or as text with a decimal point. Raises ValueError for anything else.

    >>> number_of("1200.0"), number_of(0.5)
    (1200.0, 0.5)
    """
    is_text = isinstance(value, str) and _NUMBER.fullmatch(value.strip(" \t"))
    if not is_text and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ValueError(f"`{shown(value)}`: expected a number")
    number = float(value)  # type: ignore[arg-type]
    if not math.isfinite(number):
        raise ValueError(f"`{shown(value)}`: expected a finite number")
    return number


def seconds_of(value: object) -> float:
    """Seconds of an exchange format, as a number or text. Raises ValueError with what was expected."""
    try:
        seconds = number_of(value)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"`{shown(value)}`: expected seconds, such as 1.25") from error
    if abs(seconds) > FARTHEST_S:
        raise ValueError(f"`{shown(value)}`: expected seconds below {FARTHEST_S:.0f}")
    return seconds


def parse_json(text: str, where: str) -> Any:
    """The content of a JSON text. Raises InputError with the line, also for a key that an object has twice."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not valid JSON ({error.msg}, line {error.lineno} column {error.colno})") from error
    except RecursionError as error:
        raise InputError(f"{where}: not valid JSON here: lists or objects inside each other, too deep") from error
    except ValueError as error:
        raise InputError(f"{where}: not valid JSON ({str(error).partition(';')[0]})") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has the key `{shown(twice)}` twice")
    return content


def parse_xml(content: bytes, where: str) -> ElementTree.Element:
    """The root of an XML file, in the encoding that it states. Raises InputError with the line."""
    try:
        return ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise InputError(f"{where}: not valid XML ({error})") from error
    except (LookupError, ValueError) as error:
        raise InputError(f"{where}: XML in an encoding that is not supported ({error}); save it as UTF-8") from error
