"""Words -> what their form shows: whether they are a backchannel, end a phrase, or ask for an answer.

English only; for other languages the rules use punctuation and timing. If a transcript has punctuation, it decides; if
it has none (CTM, many corpora), the form of the last clause decides. There is no model, so that a label can be
explained.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from wanstreamer.turns.clauses import BEFORE_A_SIDE, PERSONS, WH, can_end, inverts, words_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """One timed word as written, with its punctuation; times in ms on the session clock, half-open."""

    start_ms: int
    end_ms: int
    text: str


# NaturalTurn (Cooney & Reece 2025, doi 10.1038/s41598-025-24381-1; first published with CANDOR, doi
# 10.1126/sciadv.adf3197), plus "ok", "i see" and "got you", and other corpora's spellings of "mhm", "uh-huh" and "yes".
# Without its "a" and "e", which are parts of cut words there, and articles and letters elsewhere ("a mill").
CUES = words_of(
    "ah alright awesome cool dope exactly god gotcha huh hmm mhm mm mmm nice oh okay really right sick sucks sure "
    "uh um wow yeah yep yes yup "
    "ok hm mhmm mm-hmm mm-hm mmhm mmhmm uh-huh uhuh uhhuh aha ooh aye yea"
)
CUE_PHRASES = (("i", "see"), ("got", "it"), ("got", "you"), ("mm", "hmm"), ("uh", "huh"))
NOT_FIRST = words_of("and but i i'm i've it it's like so that that's we we're well you you're")

# Of the cues, these only fill time: they answer nothing.
_HESITATIONS = words_of("uh um uhm erm er eh ehm em")
FILLERS = words_of("uh um uhm erm er eh ehm em mm")
# Words that may precede a question without being part of it.
_LEAD_IN = CUES | FILLERS | words_of("and but so now well then no like i mean sorry wait hang on")
_TAGS = words_of("okay ok right yeah alright yes no huh")
TAG_ALONE = words_of("okay ok right alright yeah")  # "... okay?" after the speaker's own pause: a check
_BEFORE_PREDICATE = words_of("that's it's is was be all you're i'm quite")  # "that's right" states something
_CHECKS = TAG_ALONE - {"yeah"}
# These answer a check, but also say "go on"; "right" and "okay" acknowledge an answer.
_ASSENT = words_of("yes yeah yep yup aye yea mm mhm mm-hm mm-hmm mhmm mmhm mmhmm uh-huh uhuh uhhuh")
_CALLS_ON = words_of("see know")  # "see the mill ...", "you know where ...": the speaker wants a confirmation
_FULL_YES = words_of("yes yep yup aye")
_RECEIPTS = words_of("right")
_OF_LISTENER = frozenset(
    {("you", verb) for verb in ("have", "got", "see", "know", "had", "can", "do")}
    | {(verb, "you") for verb in ("have", "do", "did", "are")}
    | {("you've", "got")}
)
LISTENER_WORDS = 14  # a "yes" does not refer to words further back than this
_CLAUSE_WORDS = 12  # a question longer than this is recognised by its lead-in only
_TERMINAL = re.compile(r"[.?!。？！؟।]$")
_QUESTION_MARKS = ("?", "？", "؟")
_CUT_OFF = re.compile(r"(-|–|—|\.\.\.|…)$")
_GOES_ON = (",", ";", ":")
_ABBREVIATION = re.compile(r"(\w[._]+)+|(mr|mrs|ms|dr|st|jr|sr|prof|vs)\.", re.IGNORECASE)  # "U.S.", "t._v.", "Dr."
_QUOTES = "\"'“”’)]}»"


def normal_form(text: str) -> str:
    """Lower case, outer punctuation removed: `"Mm-hmm,"` -> `mm-hmm`."""
    return text.lower().replace("’", "'").strip(" \t\"“”‘'()[]{}<>.,;:?!…。？！，、-–—*")


def has_punctuation(words: Sequence[Word]) -> bool:
    """Whether a transcript marks the ends of phrases at all."""
    texts = (word.text.rstrip(_QUOTES) for word in words)
    return any(_TERMINAL.search(text) and not _ABBREVIATION.fullmatch(text) for text in texts)


def is_backchannel_wording(words: Sequence[Word], *, max_words: int, min_cue_share: float) -> bool:
    """Whether all words are cues; or they are few, enough of them are cues, and the first does not open a sentence."""
    forms = [(normal_form(word.text), bool(_CUT_OFF.search(word.text.rstrip(_QUOTES)))) for word in words]
    tokens = [token for token, _ in forms if token]
    if not tokens:
        return False
    is_cue = [token in CUES and not cut_off for token, cut_off in forms if token]  # "a-" is not "a"
    opens = tokens[0] in NOT_FIRST
    for phrase in CUE_PHRASES:
        for i in range(len(tokens) - len(phrase) + 1):
            if tuple(tokens[i : i + len(phrase)]) == phrase:
                is_cue[i : i + len(phrase)] = [True] * len(phrase)
                opens = opens and i != 0
    if all(is_cue):
        return True
    return len(tokens) <= max_words and sum(is_cue) >= min_cue_share * len(tokens) and not opens


def ends_phrase(words: Sequence[Word], *, punctuated: bool, english: bool = True) -> bool | None:
    """Whether the last of `words` completes a phrase: no cut-off, no filler, and punctuation if there is any.

    Without punctuation the form of the last clause decides (`wanstreamer.turns.clauses`); None in other languages than
    English, whose clauses are not known. A response such as "mm" is complete, although "mm" after other words is a
    filler.
    """
    last = words[-1].text.rstrip(_QUOTES)
    tokens = [token for token in (normal_form(word.text) for word in words) if token]
    if _CUT_OFF.search(last) or not tokens:
        return False
    if not english:
        return bool(_TERMINAL.search(last)) if punctuated else None
    if all(token in CUES for token in tokens) and tokens[-1] not in _HESITATIONS and not last.endswith(_GOES_ON):
        return can_end(tokens)
    if tokens[-1] in FILLERS and not last.endswith(("?", "!")):
        return False
    return bool(_TERMINAL.search(last)) if punctuated else can_end(tokens)


def asks(words: Sequence[Word], *, punctuated: bool) -> bool:
    """Whether these words of one breath end in a question, a check or a tag that wants an answer."""
    if not words:
        return False
    if punctuated:
        return words[-1].text.rstrip(_QUOTES).endswith(_QUESTION_MARKS)
    tokens = [token for token in (normal_form(word.text) for word in words) if token]
    while tokens and tokens[-1] in FILLERS:
        tokens.pop()
    if not tokens:
        return False
    if len(tokens) > 3 and tokens[-1] in _TAGS:
        is_side = tokens[-1] == "right" and tokens[-2] in BEFORE_A_SIDE
        return not is_side and tokens[-2] not in _BEFORE_PREDICATE
    if _ends_in_tag(tokens[-2:]) and len(tokens) > 2:
        return True
    start = 0
    while start < len(tokens) - 1 and tokens[start] in _LEAD_IN:
        start += 1
    clause = tokens[start:] if len(tokens) - start <= _CLAUSE_WORDS else tokens[-_CLAUSE_WORDS:]
    opening = tokens[start + 1 : start + 2] if tokens[start] == "you" else tokens[start : start + 1]
    if len(tokens) - start > 1 and opening and opening[0] in _CALLS_ON:
        return True
    embedded = tokens[start] in WH and any(t.split("'")[0] in PERSONS for t in tokens[start + 1 : start + 2])
    if (tokens[start] in WH and not embedded) or inverts(
        tokens[start : start + 2]
    ):  # "what you do is ..." asks nothing
        return len(tokens) - start <= 2 * _CLAUSE_WORDS
    return any(
        clause[i] in ("have", "do", "are", "can", "did") and clause[i + 1] == "you" for i in range(len(clause) - 1)
    )


def is_tag(words: Sequence[Word]) -> bool:
    """Whether these words can be a check on their own: "okay?", "right okay?", "now okay?"."""
    *before, last = (normal_form(word.text) for word in words)
    return last in TAG_ALONE and all(token in _LEAD_IN for token in before)


def is_check(words: Sequence[Word]) -> bool:
    """Whether these words are only "okay" or "right": they want a response, and say nothing to respond to."""
    return all(normal_form(word.text) in _CHECKS for word in words)


def is_assent(words: Sequence[Word]) -> bool:
    """Whether these words begin and end with a form of yes."""
    return all(normal_form(word.text) in _ASSENT for word in (words[0], words[-1]))


def is_full_yes(words: Sequence[Word]) -> bool:
    """Whether these words are only the "yes" of an answer; listeners also use "yeah" and "mhm"."""
    return all(normal_form(word.text) in _FULL_YES for word in words)


def receives(words: Sequence[Word]) -> bool:
    """Whether the first of these words acknowledges an answer ("right, so"): the third turn of a sequence."""
    return bool(words) and normal_form(words[0].text) in _RECEIPTS


def speaks_of_listener(words: Sequence[Word]) -> bool:
    """Whether these words are about what the listener has, sees or does: even as a statement they ask for a yes.

    Labov and Fanshel 1977: a statement about an event known to the listener is heard as a request for confirmation.
    """
    tokens = [normal_form(word.text) for word in words]
    return "see" in tokens or any(pair in _OF_LISTENER for pair in pairwise(tokens))


def _ends_in_tag(pair: Sequence[str]) -> bool:
    """ "isn't it", "don't you", "do you": an auxiliary and a pronoun at the end."""
    return inverts(pair) and pair[1] in {"i", "you", "he", "she", "it", "we", "they", "there"}
