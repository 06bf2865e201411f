"""The words of a turn, without punctuation -> whether its last clause can end there. English.

Some words show that a clause goes on: "the", "and", "it's". Other function words show it only in some kinds of clause.
A preposition may end a question or a relative clause ("what are you looking for"), an auxiliary may end an answer or an
embedded question ("yes I am", "where it is"), "this" is a pronoun after a verb ("to do this"). So the kind of the
clause decides (Huddleston and Pullum 2002: chapter 12 on stranded prepositions, chapter 17 on ellipsis). In doubt a
clause can end: that it goes on is a claim, and needs evidence.

Words are in their normal form (`wanstreamer.turns.lexical.normal_form`).
"""

import re
from collections.abc import Sequence
from itertools import pairwise


def words_of(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BE = words_of("is are was were am")
_MODAL = words_of("can could will would shall should may might must")
AUXILIARY = (
    _BE
    | _MODAL
    | words_of(
        "do does did have has had isn't aren't wasn't weren't don't doesn't didn't haven't hasn't hadn't can't "
        "couldn't won't wouldn't shan't shouldn't mustn't"
    )
)
PERSONS = words_of("i you he she it we they")
SUBJECT = PERSONS | words_of("there that this these those the your my anyone anything")
WH = words_of("what what's where where's which who who's whose whom when why how how's")
BEFORE_A_SIDE = words_of("the my your our their his her its to on hand far bottom top up")  # "to the right"
PREPOSITIONS = words_of("of to in on at for from with by as than about into onto like towards toward until till upon")

# No clause ends with these. A short verb is never last: "I know where it is", but not "I know where it's".
_NEVER_LAST = words_of("a an the my your our their its every and but if whether although whereas gonna wanna let's")
_SHORT_VERB = re.compile(r"(i|you|he|she|it|we|they|that|there|here|who|what|where|how)'(m|re|s|ve|ll|d)")
_REACH = 16  # words; a clause of talk is hardly longer
_CLAUSE_ENDS = words_of("okay ok right alright well yeah yes yep no nope aye oh but because then so")
_REPLIES = words_of("yes yeah yep yup aye no nope oh")
_DETERMINERS = words_of("a an the this that these those my your our their his her its every any some")
_INDEFINITE = words_of("everything anything something nothing everyone someone anyone somebody lots")
_HEADS = _INDEFINITE | words_of("all one ones best most least")  # "all I can think of"
_REPORTS = words_of("think thought know hope sure believe suppose bet guess reckon said say wish")
_CONDITIONS = words_of("if unless than as whenever wherever whatever")
_NEGATIONS = words_of("not never neither nor") | {word for word in AUXILIARY if word.endswith("n't")}
_WILL = words_of("will that'll it'll this'll")
_BEFORE_SO = _REPORTS | words_of(
    "do does did be not if or quite even why how is afraid much maybe"
)  # "I think so", "or so"
_BEFORE_THAT_CLAUSE = words_of("think thought hope so such except now given provided suppose wish and but or")
_BEFORE_WH_CLAUSE = words_of("know sure tell see say says ask wonder remember matter matters mind with for to of")
_FILLED_BY = words_of("do did does have to want need see say get")  # "what you do is ...": the clause goes on
# Before a "to" whose verb may be left out, if it was said before: "if you want to", "I don't have to".
_BEFORE_TO = words_of(
    "want wants wanted have has had need needs like going supposed used able try mean meant allowed ought hate prefer "
    "happy ready glad got intend plan wish expect decide forgot"
)
# Adverbs that look like prepositions: "come on", "from now on", "kind of"; and after an object: "turn it on".
_ADVERB_AFTER = {
    "on": words_of(
        "go goes going gone went come comes coming carry carries carrying hold hang move moves moving keep kept turn "
        "switch put try get read drive press now so later early further straight"
    ),
    "in": words_of(
        "go goes going come comes coming get put join fill log sign check plug zoom move moving let bring drop give "
        "hand take settle all"
    ),
    "by": words_of("go goes going pass passes passing come drop get stand"),
    "about": words_of("out up walk walking run running lying turn"),
    "of": words_of("kind sort"),
    "to": words_of("love"),  # "I'd love to"
}
_OPENERS = WH | words_of("wherever whatever whichever whoever whenever however")  # of questions and embedded clauses
_NO_OBJECTS = words_of("when whenever while why how how's however")  # words that open a clause and are no object in it
_PLACES = PREPOSITIONS | words_of("past above below under over round after before behind")
_OBJECTS = words_of("it them him her me us that this these those")
# Verbs with a preposition that stay together in the passive: "it's been dealt with" (Quirk et al. 1985, 16.14).
_PASSIVES = words_of(
    "dealt-with looked-at looked-for looked-after cared-for heard-of thought-of talked-about spoken-to spoken-about "
    "listened-to paid-for asked-for called-for relied-on accounted-for"
)


def inverts(pair: Sequence[str]) -> bool:
    """Auxiliary before subject: "have you", "is it", "do I"."""
    return len(pair) == 2 and pair[0] in AUXILIARY and pair[1] in SUBJECT


def can_end(tokens: Sequence[str]) -> bool:
    """Whether a clause can end with the last of these words; False where its form shows that it goes on.

    Args:
        tokens: The words of a turn in normal form, at least one; only the last ones matter.

    Examples:
        >>> [can_end(text.split()) for text in ("what are you looking for", "look for", "yes i am", "and then i am")]
        [True, False, True, False]
    """
    last = tokens[-1]
    if last in _NEVER_LAST or _SHORT_VERB.fullmatch(last):
        return False
    start = _start_of_clause(tokens)
    clause = tokens[start:]
    before = clause[-2] if len(clause) > 1 else ""
    replies = start > 0 and tokens[start - 1] in _REPLIES
    if last in PREPOSITIONS:
        return _ends_with_preposition(clause, before, replies)
    if last in _NEGATIONS:
        return True
    if last in AUXILIARY or last in ("be", "been"):
        return _ends_with_auxiliary(clause, before, answers=replies or start == 0)  # or all that is said
    if last in ("i", "we", "they", "he", "she"):  # "so do I", "aren't they", "than we"; not "where do I"
        return before in ("than", "as") or (before in AUXILIARY and not WH.intersection(clause[-3:-2]))
    match last:
        case "or":  # what follows is left to the other: "is it left or" (Drake 2015, on "or" at the end of a turn)
            return bool(WH.intersection(clause)) or any(inverts(clause[i : i + 2]) for i in range(len(clause)))
        case "so":  # after a clause, "so" leaves its consequence to the other (Walker 2012 on trail-off conjunctions)
            return before in _BEFORE_SO or len(clause) > 3
        case "because":
            return before == "just"
        case "that":
            is_relative = len(clause) > 2 and clause[-3] in _DETERMINERS  # "the one that"
            return bool(before) and before not in _BEFORE_THAT_CLAUSE and not is_relative
        case "this" | "these" | "her":
            return bool(before) and before not in ("and", "or")
        case "his":  # "it was his", "is it his"
            return before in AUXILIARY or inverts(clause[-3:-1])
        case "which" | "who" | "whose":
            return not before or before in _BEFORE_WH_CLAUSE
        case "just" | "very":
            return last == "very" and "not" in clause[-3:]
    return True


def _start_of_clause(tokens: Sequence[str]) -> int:
    """Where the last clause begins: after the last "okay", "so" or "but", or after an "and" with a new subject."""
    end = len(tokens) - 1
    first = max(0, end - _REACH)
    for i in range(end - 1, first - 1, -1):
        token, following = tokens[i], tokens[i + 1]
        is_side = token == "right" and i > 0 and tokens[i - 1] in BEFORE_A_SIDE
        if token in _CLAUSE_ENDS and not is_side:
            return i + 1
        if token == "and" and (_is_person(following) or following in WH or following in AUXILIARY):
            return i + 1
    return first


def _is_person(token: str) -> bool:
    return token.split("'")[0] in PERSONS


def _ends_with_preposition(clause: Sequence[str], before: str, replies: bool) -> bool:
    last, rest = clause[-1], clause[:-1]
    if before in _ADVERB_AFTER.get(last, ()) or (last in ("on", "in") and before in _OBJECTS):
        return True
    if f"{before}-{last}" in _PASSIVES:
        return bool(words_of("be been being get got").union(_BE).intersection(rest)) or _strands(clause)
    if last == "to" and before in _BEFORE_TO and not (before == "going" and "where" in clause):
        return not WH.intersection(clause) and (replies or _is_elliptical(rest))
    if last == "like" and _is_elliptical(rest[:1]):  # "if you like", "as you like"
        return True
    if before in WH and "'" not in before:  # "what for", "where from"
        return last in ("for", "to", "from", "with", "by", "at", "in")
    return _strands(clause)


def _is_elliptical(words: Sequence[str]) -> bool:
    return bool(_CONDITIONS.intersection(words) or _NEGATIONS.intersection(words))


def _strands(clause: Sequence[str]) -> bool:
    """Whether the object of the preposition at the end stands further ahead.

    In a question ("where are you from"), in a relative clause with or without its pronoun ("the one which we came
    from", "the road you're on"), or as an indefinite pronoun ("nothing to worry about").
    """
    for i in range(len(clause) - 2, -1, -1):
        token, between = clause[i], clause[i + 1 : -1]
        if token in _NO_OBJECTS:
            return False
        if token in _OPENERS:
            return any(word not in AUXILIARY for word in between) and not _is_filled(between)
        if token in _INDEFINITE and between[:1] == ["to"]:
            return True
        if between and _opens_relative(clause, i):
            return True
    return False


def _is_filled(between: Sequence[str]) -> bool:
    """Whether a "what" clause is over and its verb follows: "what you do is ..."."""
    return any(word in ("is", "was") and left in _FILLED_BY for left, word in pairwise(between))


def _opens_relative(clause: Sequence[str], i: int) -> bool:
    """Whether a relative clause without pronoun follows word `i`: "all I ...", "the road you're ...".

    The word is a noun behind a determiner. At the front of a clause it is a place: "at the top we ...".
    """
    subject = clause[i + 1]
    if clause[i] in _HEADS:
        return _is_person(subject) or subject == "there"
    in_front = i == 2 and clause[0] in _PLACES
    noun = i > 0 and clause[i - 1] in _DETERMINERS and clause[i] not in _DETERMINERS
    return _is_person(subject) and noun and not in_front


def _ends_with_auxiliary(clause: Sequence[str], before: str, answers: bool) -> bool:
    last, rest = clause[-1], clause[:-1]
    opener = next((i for i in range(len(rest) - 1, -1, -1) if rest[i] in _OPENERS), None)
    if opener is not None:  # "where it is", "what do you do"; not "what is", "where do you want", "what you do is"
        between = rest[opener + 1 :]
        needs_verb = last in ("do", "have", "be", "been") or not AUXILIARY.intersection(between[:1])
        return needs_verb and any(word not in AUXILIARY for word in between) and not _is_filled([*between, last])
    if (last == "do" and before in _WILL) or (last == "be" and before in _MODAL):  # "will do", "it could be"
        return answers and len(clause) <= 3
    if {"than", "as"}.intersection(clause[-5:-1]):  # "higher than it was", "as far as you can"
        return True
    if any(_opens_relative(rest, i) for i in range(len(rest) - 1)):  # "all I have", "the way it is"
        return True
    if last in ("does", "did") and before:  # "the other one does"
        return True
    if not (before in SUBJECT or _is_person(before)) or inverts(clause[-3:-1]):  # "the mill is", "do you have"
        return False
    behind = clause[-3] if len(clause) > 2 else ""
    embedded = behind in _REPORTS or behind in ("here", "there") or (behind in _CONDITIONS and last in _MODAL)
    return last == "do" or embedded or (answers and len(clause) == 2)
