"""Words that were found, compared with those of a reference: substituted, missed and inserted ones.

Case and punctuation do not count; `uh-huh` is two words, a number is another word than its digits, and in scripts
without blanks every character is a word. Tags of sounds, such as `[laughter]`, are no words.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tools.exchange.intervals import SEGMENTS, WORDS, Interval, by_person, part_sounds

ERROR = 1 << 32  # cost of an error; of equally many errors, those with most substitutions count
# Han, kana, Thai, Lao, Burmese, Khmer: written without blanks between words.
_UNSPACED = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF))


class WordErrors(NamedTuple):
    """Counts; `rate` is None without words in the reference."""

    substituted: int
    missed: int
    inserted: int
    words: int  # of the reference

    @property
    def rate(self) -> float | None:
        return (self.substituted + self.missed + self.inserted) / self.words if self.words else None


def scored_words(text: str) -> list[str]:
    """
    >>> scored_words("I\u2019m not -- Uh-huh, 25\u00a0%!")
    ["i'm", 'not', 'uh', 'huh', '25']
    """
    letters = unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")
    spaced = "".join(f" {letter} " if _is_word(letter) else letter if _is_part(letter) else " " for letter in letters)
    return [word for part in spaced.split() if (word := part.strip("'"))]


def _is_word(letter: str) -> bool:
    """Whether a character of a script without blanks; its marks count too."""
    return any(first <= ord(letter) <= last for first, last in _UNSPACED) and _is_part(letter)


def _is_part(letter: str) -> bool:
    """Whether a letter, a digit, a mark on one, or an apostrophe."""
    return letter == "'" or unicodedata.category(letter)[0] in "LMN"


def word_errors(found: Sequence[str], reference: Sequence[str]) -> WordErrors:
    """The fewest errors that turn `reference` into `found` (Levenshtein).

    >>> word_errors("so I can say".split(), "what can I say".split())
    WordErrors(substituted=3, missed=0, inserted=0, words=4)
    """
    numbers: dict[str, int] = {}
    found_N, reference_M = (
        np.array([numbers.setdefault(word, len(numbers)) for word in words], np.int64) for words in (found, reference)
    )
    inserting_N = ERROR * np.arange(len(found_N) + 1)
    costs_N = inserting_N.copy()  # of the reference's words so far, for each number of found words
    for word in reference_M:
        best_N = costs_N + ERROR
        best_N[1:] = np.minimum(best_N[1:], costs_N[:-1] + np.where(found_N == word, 0, ERROR - 1))
        costs_N = np.minimum.accumulate(best_N - inserting_N) + inserting_N
    errors = -(-int(costs_N[-1]) // ERROR)
    substituted = errors * ERROR - int(costs_N[-1])
    more = len(found_N) - len(reference_M)  # inserted minus missed
    return WordErrors(
        substituted=substituted, missed=(errors - substituted - more) // 2, inserted=(errors - substituted + more) // 2,
        words=len(reference_M),
    )  # fmt: skip


def words_by_person(intervals: Iterable[Interval]) -> dict[tuple[str, str], list[str]]:
    """(session, participant) -> words in order of time; of one without words, the text of the segments."""
    spoken, _ = part_sounds(intervals)
    by_participant: dict[tuple[str, str], list[str]] = {}
    for person, own in by_person(spoken).items():
        kind = WORDS if any(interval.kind == WORDS for interval in own) else SEGMENTS
        words = [word for interval in own if interval.kind == kind for word in scored_words(interval.text)]
        if words:
            by_participant[person] = words
    return by_participant
