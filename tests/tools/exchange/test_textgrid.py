"""TextGrids of aligners and of Praat: one speaker's tiers are no people, silences no words; damage is named."""

from pathlib import Path

import pytest

from tools.exchange.formats import read_file
from wanstreamer.errors import InputError


def grid(*tiers: tuple[str, str]) -> str:
    """A short TextGrid of 3 s; labels in equal parts, separated by `|`."""
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "0", "3", "<exists>", str(len(tiers))]
    for name, labels in tiers:
        parts = labels.split("|")
        lines += ['"IntervalTier"', f'"{name}"', "0", "3", str(len(parts))]
        for i, label in enumerate(parts):
            lines += [str(3 * i / len(parts)), str(3 * (i + 1) / len(parts)), f'"{label}"']
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("tiers", "expected"),
    [
        ([("words", "|x|"), ("phones", "sil|z|sp")], {("", "words", "x"), ("", "phones", "z")}),  # MFA, one speaker
        ([("word", "sp|X|sp"), ("phone", "sp|EH1|sp")], {("", "words", "X"), ("", "phones", "EH1")}),  # P2FA
        ([("ORT-MAU", "<p:>|x|"), ("MAU", "<p:>|z|<p:>")], {("", "words", "x"), ("", "phones", "z")}),  # WebMAUS
        ([("silences", "silent|sounding|silent")], {("", "speech", "")}),  # Praat
        ([("anna - words", "sil|hello|sp"), ("ben - words", "<eps>|hi|SIL")],
         {("anna", "words", "hello"), ("ben", "words", "hi")}),
        ([("words@anna", "sp|sil|")], {("anna", "words", "sp"), ("anna", "words", "sil")}),  # ours: texts
        ([("Anna", "sil|x|")], {("Anna", "segments", "sil"), ("Anna", "segments", "x")}),  # no aligner's tier
    ],
)  # fmt: skip
def test_tiers_of_aligners_are_no_people_and_their_silences_no_words(
    tmp_path: Path, tiers: list[tuple[str, str]], expected: set[tuple[str, str, str]]
) -> None:
    (tmp_path / "s.TextGrid").write_text(grid(*tiers), encoding="utf-16")
    intervals, losses = read_file(tmp_path / "s.TextGrid")
    assert {(one.participant, one.kind, one.text) for one in intervals} == expected and not losses


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("\n3\n", '\n"three"\n'), "line 5: `three`: expected a number"),
        (('"x"', "x"), "line 16: `1.5`: expected a text in quotes"),
        (('"IntervalTier"', '"Tier"'), "line 8: `Tier`: expected IntervalTier or TextTier"),
        (("\n2\n0.0", "\n1\n0.0"), "line 16: more than the sizes before it state"),
        (("\n2\n0.0", "\n3\n0.0"), "it ends too early"),
        (("1.5", "1e300"), "expected seconds below"),
    ],
)
def test_a_damaged_textgrid_is_named_with_its_line(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    path = tmp_path / "s.TextGrid"
    path.write_text(grid(("words", "x|y")).replace(*change))
    with pytest.raises(InputError, match=f"s.TextGrid:? .*{said}"):
        read_file(path)
    path.write_bytes(b"ooBinaryFile\x08TextGrid\0")
    with pytest.raises(InputError, match="is a binary TextGrid; save it with Praat as text file"):
        read_file(path)
