"""Files of text that people hand in, and random damage of the kinds that editors, programs and disks do to them."""

import json
import random

from tests.helpers.dialogue_of_intervals import dialogue
from tools.exchange.formats import FORMATS, WRITABLE, given_to
from tools.exchange.intervals import NON_SPEECH, SPEECH, Interval

TOKENS = (
    "null", "NaN", "nan", "-1", "1e400", "99999999999999999999", "0.5", "1,5", "\u0661\u0662", "<NA>", "true", "[]",
    "{}", '"', '""', "'", ",", ";", ":", "\t", " ", "\u00a0", "\n", "\n\n", "\r", "\r\n", "\0", "\ufeff", "\x1c",
    "\u2028", "-->", "00:00:01.000 --> 00:00:02.000", "<v ben>", "<i>", "{\\an8}", "<!--", "&amp;", "&x;", "\\ud800",
    "(", "]", "%s", "../x", "a b", "李雷", "SPEAKER", "WEBVTT", "*", "inf", "0", "1" * 400, "[" * 2000,
)  # fmt: skip
ENCODINGS = ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "gb18030", "cp1252", "shift_jis")


def exchange_files() -> dict[str, bytes]:
    """Name -> content, one file in each format, and in forms that only other programs write."""
    files: dict[str, bytes] = {}
    sounds = [Interval(session_id="s", participant="b", kind=NON_SPEECH, start_ms=600, end_ms=900, text="laughter")]
    speech = [Interval(session_id="s", participant="a", kind=SPEECH, start_ms=0, end_ms=500)]
    for form in WRITABLE:
        write = FORMATS[form].write
        assert write
        chosen, _ = given_to(form, [*dialogue(), *sounds, *speech], ())
        files[f"s{FORMATS[form].suffix}"] = write(chosen)[0].encode()
    files["rt09.ctm"] = (
        b"s 1 0.10 0.30 hello 0.9 lex anna\ns 1 0.45 0.30 there 0.9 lex ben\ns 1 1.0 0.2 uh NA fp anna\n"
    )
    files["a.words.json"] = words_file()
    files["zoom.vtt"] = b"WEBVTT\n\n1\n00:00:01.000 --> 00:00:02.000\nAnna: hello\n\n2\n00:02.0 --> 00:03.0\nBen: hi\n"
    return files


def words_file() -> bytes:
    words = [
        {"word": word, "start_ms": 100 * i, "end_ms": 100 * i + 90} for i, word in enumerate(["is", "it", "red", "?"])
    ]
    return json.dumps({"words": words}, indent=1).encode()


def damaged(content: bytes, rng: random.Random) -> bytes:
    """One to three kinds of damage, one after the other."""
    for _ in range(rng.randint(1, 3)):
        content = rng.choice(DAMAGES)(content, rng)
    return content


def _place(content: bytes, rng: random.Random) -> int:
    return rng.randint(0, len(content))


def _insert(content: bytes, rng: random.Random) -> bytes:
    place = _place(content, rng)
    return content[:place] + rng.choice(TOKENS).encode() + content[place:]


def _replace_field(content: bytes, rng: random.Random) -> bytes:
    fields = [match for match in content.replace(b",", b" ").replace(b"\t", b" ").split(b" ") if match.strip()]
    if not fields:
        return content
    field, token = rng.choice(fields), rng.choice(TOKENS).encode()
    return content.replace(field, token, 1 if rng.random() < 0.7 else -1)


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: _place(content, rng)]


def _delete(content: bytes, rng: random.Random) -> bytes:
    place = _place(content, rng)
    return content[:place] + content[place + rng.randint(1, 20) :]


def _repeat(content: bytes, rng: random.Random) -> bytes:
    place = _place(content, rng)
    end = place + rng.randint(1, 80)
    return content[:end] + content[place:end] * rng.randint(1, 3) + content[end:]


def _lines(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    rng.shuffle(lines)
    return b"\n".join(lines[: rng.randint(1, len(lines))] if rng.random() < 0.3 else lines)


def _ends(content: bytes, rng: random.Random) -> bytes:
    return content.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\r\r\n", b"\n\n", b" \n")))


def _encoding(content: bytes, rng: random.Random) -> bytes:
    return (content.decode(errors="replace") + " é 李").encode(rng.choice(ENCODINGS), errors="replace")


def _flip(content: bytes, rng: random.Random) -> bytes:
    if not content:
        return content
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _zeros(content: bytes, rng: random.Random) -> bytes:
    return content[: _place(content, rng)] + bytes(rng.randint(1, 512))


DAMAGES = (
    _insert,
    _insert,
    _replace_field,
    _replace_field,
    _cut,
    _delete,
    _repeat,
    _lines,
    _ends,
    _encoding,
    _flip,
    _zeros,
)
