"""Which IPUs may be backchannels, judged by form and surroundings alone: step 3 of the rules. The floor comes later.

Wording decides if there are words of a language with known cue words; otherwise length and isolation decide. An answer
looks like a backchannel, so questions, checks and tags are detected. For "yeah", the speaker's part in the talk counts:
a listener uses it as a backchannel, but the one who leads the talk uses it to confirm.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from wanstreamer.clock import Span
from wanstreamer.turns.lexical import (
    LISTENER_WORDS,
    Word,
    asks,
    has_punctuation,
    is_assent,
    is_backchannel_wording,
    is_check,
    is_full_yes,
    is_tag,
    receives,
    speaks_of_listener,
)
from wanstreamer.turns.rules import Ipu, Ipus, TurnParams, all_speech


def mark_candidates(ipus: Ipus, params: TurnParams, *, lexical: bool) -> dict[str, list[Ipu]]:
    """Which IPUs have the form of a backchannel: by wording if there are words, otherwise by length and isolation.

    If question marks are not written, a wording counts only from a listener: others must have
    `backchannel_min_listening` of the speech around it. Words of assent ("yeah", "uh-huh") need a larger share: the one
    who leads the talk uses them to confirm what was checked. `lexical` says whether the cue words are of the session's
    language; if not, timing decides even if there are words.
    """
    punctuated = {p: has_punctuation([w for ipu in own for w in ipu.words or ()]) for p, own in ipus.items()}
    questions = {p: _question_ends(p, ipus, punctuated[p], params) for p in ipus} if lexical else {}
    marked: dict[str, list[Ipu]] = {}
    for participant, own in ipus.items():
        others = all_speech(ipus, without=participant)
        isolated = _acoustic(own, others, params)
        asked = sorted(end for p, ends in questions.items() if p != participant for end in ends)
        talk = sorted(
            (w for p, them in ipus.items() if p != participant for i in them for w in i.words or ()),
            key=lambda word: (word.start_ms, word.end_ms),
        )
        surroundings = _Surroundings(own, others, talk)
        written = all(punctuated[p] for p in ipus if p != participant)  # if "?" is written, statements need no guess
        marked[participant] = []
        heard_until = None  # onset of the last own IPU that was no candidate: it answered all questions before it
        for ipu, alone in zip(own, isolated, strict=True):
            if _is_answer(ipu, asked, surroundings.word_ends, heard_until, params):
                kind = "none"
            elif lexical and ipu.words:
                wording = is_backchannel_wording(
                    ipu.words, max_words=params.backchannel_max_words, min_cue_share=params.backchannel_min_cue_share
                )
                kind = "lexical" if wording and (written or _listens(ipu, surroundings, params)) else "none"
            else:
                kind = "acoustic" if alone else "none"
            if kind == "none":
                heard_until = ipu.start_ms + params.answer_lead_ms
            marked[participant].append(replace(ipu, candidate=kind))
    return marked


class _Surroundings:
    """Own speech, the others' speech and words, prepared for queries about any span."""

    def __init__(self, own: Sequence[Ipu], others: Sequence[Span], talk: Sequence[Word]) -> None:
        self.own, self.others = _SpeechTime([Span(i.start_ms, i.end_ms) for i in own]), _SpeechTime(others)
        self.talk, self.word_starts = talk, [word.start_ms for word in talk]
        self.word_ends = sorted(word.end_ms for word in talk)


class _SpeechTime:
    """How much of any span is covered by a list of ordered, disjoint spans."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self.starts = [span.start_ms for span in spans]
        self.ends = [span.end_ms for span in spans]
        self.before = [0, *accumulate(span.end_ms - span.start_ms for span in spans)]

    def until(self, ms: int) -> int:
        at = bisect_left(self.starts, ms)
        return self.before[at] - (max(0, self.ends[at - 1] - ms) if at else 0)

    def within(self, start_ms: int, end_ms: int) -> int:
        return self.until(end_ms) - self.until(start_ms)


def _listens(ipu: Ipu, around: _Surroundings, params: TurnParams) -> bool:
    """Whether the others do most of the talking around the IPU, and do not speak of what only its speaker knows."""
    reach_ms = params.listening_window_ms
    before, after = (ipu.start_ms - reach_ms, ipu.start_ms), (ipu.end_ms, ipu.end_ms + reach_ms)
    theirs = around.others.within(*before) + around.others.within(*after)
    mine = around.own.within(*before) + around.own.within(*after)
    assents = is_assent(ipu.words or ())
    share = params.assent_min_listening if assents else params.backchannel_min_listening
    if theirs < share * (theirs + mine):
        return False
    if not assents:
        return True
    if is_full_yes(ipu.words or ()) and around.others.within(ipu.start_ms, ipu.end_ms) < ipu.end_ms - ipu.start_ms:
        return False
    at = bisect_right(around.word_starts, ipu.start_ms + params.answer_lead_ms)
    if receives(around.talk[at : at + 1]) and around.talk[at].start_ms - ipu.end_ms < params.answer_window_ms:
        return False
    return not speaks_of_listener(around.talk[max(0, at - LISTENER_WORDS) : at])


def _acoustic(own: Sequence[Ipu], others: Sequence[Span], params: TurnParams) -> list[bool]:
    """VAP's rule: a short cluster of IPUs, own silence around it, another active or last active."""
    starts = [span.start_ms for span in others]
    flags: list[bool] = []
    cluster: list[Ipu] = []
    before_end: int | None = None
    for i, ipu in enumerate(own):
        cluster.append(ipu)
        if i + 1 < len(own) and own[i + 1].start_ms - ipu.end_ms < params.backchannel_cluster_gap_ms:
            continue
        at = bisect_left(starts, ipu.end_ms) - 1  # the last of the others' spans that began before the cluster's end
        heard = at >= 0 and (before_end is None or others[at].end_ms > before_end)
        short = ipu.end_ms - cluster[0].start_ms <= params.backchannel_max_ms
        flags += [heard and short] * len(cluster)
        before_end, cluster = ipu.end_ms, []
    return flags


def _question_ends(participant: str, ipus: Ipus, punctuated: bool, params: TurnParams) -> list[int]:
    """When this participant's questions end: at a question mark, or at the end of a breath group of question form.

    Without punctuation, "okay" or "right" on its own is a check: there is nothing else in it to respond to. So is
    "yeah" after one's own words, if no one else has spoken in between; elsewhere "yeah" is itself a response.
    """
    own = ipus[participant]
    if punctuated:
        return [w.end_ms for ipu in own for w in ipu.words or () if asks((w,), punctuated=True)]
    others = all_speech(ipus, without=participant)
    others_ends = [span.end_ms for span in others]
    ends: list[int] = []
    for before, ipu in zip([None, *own], own, strict=False):
        if not ipu.words:
            continue
        check = is_check(ipu.words)
        if before is not None and ipu.start_ms - before.end_ms < params.turn_pause_ms and is_tag(ipu.words):
            at = bisect_right(others_ends, before.end_ms)
            check = check or at == len(others) or others[at].start_ms >= ipu.start_ms
        elif not check:
            check = asks(ipu.words, punctuated=False)
        if check:
            ends.append(ipu.end_ms)
    return ends


def _is_answer(
    ipu: Ipu, asked: Sequence[int], others_words: Sequence[int], heard_until: int | None, params: TurnParams
) -> bool:
    """Whether another's question still waits for this participant when the IPU begins."""
    latest_ms = ipu.start_ms + params.answer_lead_ms
    at = bisect_right(asked, latest_ms) - 1
    if at < 0 or (heard_until is not None and asked[at] <= heard_until):
        return False
    went_on = bisect_right(others_words, latest_ms) > bisect_right(others_words, asked[at])
    return not went_on or ipu.start_ms - asked[at] <= params.answer_window_ms
