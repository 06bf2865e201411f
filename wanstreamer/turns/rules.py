"""Speech and timed words of one session -> IPUs, turns, the floor, backchannels: steps 2, 4, 5 and 6 of the rules.

The order matters and no step looks ahead: IPUs; backchannel candidates (by form alone); turns without the candidates;
the floor that those turns give. A candidate during and after which another keeps the floor is then a backchannel; the
others join turns or become turns. That last step can only add turns, so it is repeated until nothing changes.

All times are integer milliseconds on the session clock, half-open. Every result depends on the intervals alone:
moving the clock or renaming the participants moves or renames the result.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise, zip_longest

from wanstreamer.bounds import check_bounds, from_one, from_zero, share
from wanstreamer.clock import Span, merge_spans
from wanstreamer.turns.lexical import Word, asks, ends_phrase, has_punctuation


@dataclass(frozen=True, kw_only=True)
class TurnParams:
    """Thresholds of the turn rules. Published values, unless marked as ours."""

    # Detected speech next to a sound, without a word and shorter than this, is the sound's edge (ours).
    sound_edge_ms: int = from_zero(200)
    # A transcript with a larger share of its words over silence has unreliable times, and is not used (ours).
    max_words_over_silence: float = share(0.1)
    # Own silences up to this length lie inside an IPU (dGSLM, TurnBench; Heldner & Edlund: 180).
    ipu_gap_ms: int = from_zero(200)
    short_ipu_ms: int = from_zero(100)  # shorter IPUs are flagged, never dropped (ours)
    backchannel_cluster_gap_ms: int = from_zero(1000)  # own silence that ends a cluster of short utterances (VAP)
    backchannel_max_ms: int = from_zero(1000)  # longest acoustic backchannel cluster (VAP)
    backchannel_max_words: int = from_one(3)  # longest mixed wording; cue words alone may be more (NaturalTurn)
    backchannel_min_cue_share: float = share(0.5)  # least share of cue words among the words (NaturalTurn)
    listening_window_ms: int = from_zero(5000)  # before and after a backchannel: its surroundings (ours)
    backchannel_min_listening: float = share(0.4)  # least share of the others in the speech there (ours)
    # The same for "yeah", "uh-huh": the one who leads the talk confirms with them (ours).
    assent_min_listening: float = share(0.75)
    # A question still waits for its answer this long after the asker went on (ours).
    answer_window_ms: int = from_zero(1000)
    answer_lead_ms: int = from_zero(300)  # an answer may begin this much before the question's end (ours)
    turn_pause_ms: int = from_zero(1500)  # an own pause of this length or longer ends the turn (NaturalTurn)
    floor_silence_ms: int = from_zero(3000)  # after mutual silence of this length, no one has the floor (ours)
    # Onsets, or ends, this close count as simultaneous (planning time; scikit-talk's buffer).
    simultaneous_ms: int = from_zero(200)
    latch_ms: int = from_zero(40)  # a floor change with at most this much gap or overlap is a latch (one tick; ours)
    # A complete turn with no more overlap than this is not interrupted (ours).
    terminal_overlap_ms: int = from_zero(1000)
    # Without words, a turn that stops together with the one that met it counts as complete if the overlap is shorter
    # than this (ours).
    timing_complete_ms: int = from_zero(300)
    fto_min_prior_ms: int = from_zero(200)  # a transfer counts if the prior turn began this long before (scikit-talk)
    fto_window_ms: int = from_zero(10_000)  # a transfer counts if its offset is within this (scikit-talk)

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ipu:
    """Speech of one participant, joined over own short silences."""

    participant: str
    start_ms: int
    end_ms: int
    words: tuple[Word, ...] | None = None  # None: no transcript
    candidate: str = "none"  # lexical, acoustic or none


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """IPUs of one participant, joined over own pauses in which no one else takes a turn."""

    participant: str
    start_ms: int
    end_ms: int
    ipus: tuple[Ipu, ...]
    is_primary: bool = True  # False: lies wholly inside another's turn
    complete: bool | None = None  # ends a phrase; None: there are no words to decide
    asks: bool = False  # ends in a question


@dataclass(frozen=True, kw_only=True, slots=True)
class FloorChange:
    """From `start_ms` on, the floor is `owner`'s, or no one's."""

    start_ms: int
    owner: str | None


Ipus = Mapping[str, Sequence[Ipu]]  # per participant, in order, disjoint


def make_ipus(
    speech: Mapping[str, Iterable[Span]], words: Mapping[str, Sequence[Word] | None], params: TurnParams
) -> dict[str, list[Ipu]]:
    """Join own silences up to `ipu_gap_ms` and assign to each IPU the words that lie in it.

    A word belongs to the IPU with which it shares most time, else to the nearest one within `ipu_gap_ms`, else to none.
    """
    ipus: dict[str, list[Ipu]] = {}
    for participant in sorted(speech):
        spans = merge_spans((Span(*span) for span in speech[participant]), params.ipu_gap_ms)
        own_words = words.get(participant)
        shares = _share_words(spans, own_words, params.ipu_gap_ms) if own_words is not None else [None] * len(spans)
        ipus[participant] = [
            Ipu(participant=participant, start_ms=span.start_ms, end_ms=span.end_ms, words=share)
            for span, share in zip(spans, shares, strict=True)
        ]
    return ipus


def _share_words(spans: Sequence[Span], words: Sequence[Word], reach_ms: int) -> list[tuple[Word, ...] | None]:
    shares: list[list[Word]] = [[] for _ in spans]
    ends = [span.end_ms for span in spans]
    for word in sorted(words, key=lambda word: (word.start_ms, word.end_ms)):
        best, best_ms = -1, -reach_ms - 1
        for i in range(max(0, bisect_left(ends, word.start_ms) - 1), len(spans)):
            shared = min(word.end_ms, ends[i]) - max(word.start_ms, spans[i].start_ms)  # negative: the distance
            if shared > best_ms:
                best, best_ms = i, shared
            if spans[i].start_ms >= word.end_ms:
                break
        if best >= 0:
            shares[best].append(word)
    return [tuple(share) for share in shares]


def make_turns(ipus: Ipus, promoted: frozenset[Ipu], params: TurnParams, *, lexical: bool) -> list[Turn]:
    """Join IPUs over own pauses under `turn_pause_ms` in which no one else says more than a candidate.

    A candidate is left out, unless it is `promoted` or is joined in this way to a longer turn of its own participant.
    """
    turns: list[Turn] = []
    punctuated = {p: has_punctuation([w for ipu in own for w in ipu.words or ()]) for p, own in ipus.items()}
    for participant, own in ipus.items():
        blocking = merge_spans(
            Span(ipu.start_ms, ipu.end_ms)
            for other, them in ipus.items()
            if other != participant
            for ipu in them
            if ipu.candidate == "none" or ipu in promoted
        )
        ends = [span.end_ms for span in blocking]
        group: list[Ipu] = []
        for ipu, following in zip_longest(own, own[1:]):
            group.append(ipu)
            if following is not None and following.start_ms - ipu.end_ms < params.turn_pause_ms:
                at = bisect_right(ends, ipu.end_ms)
                if at == len(blocking) or blocking[at].start_ms >= following.start_ms:
                    continue
            if any(member.candidate == "none" or member in promoted for member in group):
                turns.append(_turn(group, punctuated[participant], lexical))
            group = []
    return _mark_primary(turns)


def _turn(group: Sequence[Ipu], punctuated: bool, english: bool) -> Turn:
    words = group[-1].words
    said = [word for ipu in group for word in ipu.words or ()]
    return Turn(
        participant=group[0].participant,
        start_ms=group[0].start_ms,
        end_ms=group[-1].end_ms,
        ipus=tuple(group),
        complete=ends_phrase(said, punctuated=punctuated, english=english) if words else None,
        asks=bool(words) and (punctuated or english) and asks(words or (), punctuated=punctuated),
    )


def _mark_primary(turns: Sequence[Turn]) -> list[Turn]:
    """Mark primary turns; in order of onset. Turns with the same span contain each other, and both stay primary."""
    by_participant: dict[str, list[Turn]] = {}
    for turn in sorted(turns, key=lambda turn: turn.start_ms):
        by_participant.setdefault(turn.participant, []).append(turn)
    starts = {p: [turn.start_ms for turn in own] for p, own in by_participant.items()}
    marked: list[Turn] = []
    for turn in turns:
        inside = False
        for other, theirs in by_participant.items():
            at = bisect_right(starts[other], turn.start_ms) - 1
            if other != turn.participant and at >= 0:
                longer = theirs[at].end_ms - theirs[at].start_ms > turn.end_ms - turn.start_ms
                inside = inside or (theirs[at].end_ms >= turn.end_ms and longer)
        marked.append(replace(turn, is_primary=not inside))
    return sorted(marked, key=lambda turn: (turn.start_ms, turn.end_ms, turn.participant))


def simultaneous_groups(turns: Sequence[Turn], speech: Sequence[Span], params: TurnParams) -> list[list[Turn]]:
    """Turns of different participants that begin within `simultaneous_ms` of each other, after mutual silence.

    `turns` in order of onset; `speech` is the speech of all participants, merged.
    """
    after_silence = {span.start_ms for span in speech}
    groups: list[list[Turn]] = []
    i = 0
    while i < len(turns):
        j = i + 1
        if turns[i].start_ms in after_silence:
            while j < len(turns) and turns[j].start_ms - turns[i].start_ms <= params.simultaneous_ms:
                j += 1
        if len({turn.participant for turn in turns[i:j]}) > 1:
            groups.append(list(turns[i:j]))
        i = j
    return groups


def who_goes_on(group: Sequence[Turn], params: TurnParams) -> Turn | None:
    """The turn of a simultaneous start that outlasts the others, or None if they stop together."""
    last, *rest = sorted(group, key=lambda turn: turn.end_ms, reverse=True)
    return last if last.end_ms - rest[0].end_ms > params.simultaneous_ms else None


def incumbent_of(turn: Turn, turns_by_participant: Mapping[str, Sequence[Turn]], holder: str | None) -> Turn | None:
    """The turn of another that is in progress when `turn` begins; if there are several, the floor holder's."""
    incumbents: list[Turn] = []
    for other, theirs in turns_by_participant.items():
        if other == turn.participant:
            continue
        at = bisect_left(theirs, turn.start_ms, key=lambda t: t.start_ms) - 1
        if at >= 0 and theirs[at].end_ms > turn.start_ms:
            incumbents.append(theirs[at])
    return max(incumbents, key=lambda t: (t.participant == holder, t.start_ms, t.end_ms), default=None)


def overlap_label(turn: Turn, incumbent: Turn, params: TurnParams) -> tuple[str, str | None]:
    """(label, outcome) of a turn that begins during another's turn.

    Without words no one knows whether the incumbent had finished: at the change of the floor, overlap alone is no
    evidence of an interruption. There must be more: the incumbent goes on, both stop, or the overlap lasts longer than
    turns overlap at their ends.
    """
    overlap_ms = incumbent.end_ms - turn.start_ms
    if abs(turn.end_ms - incumbent.end_ms) <= params.simultaneous_ms:
        outcome = "both_stop"
    else:
        outcome = "floor_taking" if turn.end_ms > incumbent.end_ms else "failed"
    complete = incumbent.complete
    if complete is None:
        complete = outcome == "floor_taking" or overlap_ms < params.timing_complete_ms
    if turn.is_primary and complete and overlap_ms <= params.terminal_overlap_ms:
        return "terminal_overlap", None
    return "interruption", outcome


def floor_changes(turns: Sequence[Turn], speech: Sequence[Span], params: TurnParams) -> list[FloorChange]:
    """Who owns the floor from when: the latest primary turn's owner; no one's at first and after long silence.

    An interruption that does not make the incumbent give way does not move the floor. In a simultaneous start, the one
    who goes on gets the floor; if no one goes on, no one has the floor.
    """
    by_participant = group_turns(turns)
    changes = [
        FloorChange(start_ms=span.end_ms + params.floor_silence_ms, owner=None)
        for span, following in pairwise(speech)
        if following.start_ms - span.end_ms >= params.floor_silence_ms
    ]
    if speech:
        changes.append(FloorChange(start_ms=speech[-1].end_ms + params.floor_silence_ms, owner=None))
    at_once: set[Turn] = set()
    for group in simultaneous_groups(turns, speech, params):
        at_once.update(group)
        winner = who_goes_on(group, params)
        start = winner.start_ms if winner else group[0].start_ms
        changes.append(FloorChange(start_ms=start, owner=winner.participant if winner else None))
    for turn in turns:
        if not turn.is_primary or turn in at_once:
            continue
        incumbent = incumbent_of(turn, by_participant, None)
        if incumbent and overlap_label(turn, incumbent, params)[1] == "both_stop":
            continue
        changes.append(FloorChange(start_ms=turn.start_ms, owner=turn.participant))
    # At the same instant, a turn's onset comes after the silence that it ends.
    return sorted(changes, key=lambda change: (change.start_ms, change.owner is not None, change.owner or ""))


def floor_at(changes: Sequence[FloorChange], ms: int) -> str | None:
    """The floor's owner at the instant `ms`."""
    at = bisect_right(changes, ms, key=lambda change: change.start_ms) - 1
    return changes[at].owner if at >= 0 else None


def settle(
    ipus: Ipus, params: TurnParams, *, lexical: bool
) -> tuple[list[Turn], list[FloorChange], list[tuple[Ipu, str]]]:
    """Turns, the floor, and the confirmed backchannels with the floor's holder, from IPUs with their candidates.

    `lexical` says whether the words are English: only then does the form of a clause show whether it is complete.
    """
    speech = all_speech(ipus)
    promoted: frozenset[Ipu] = frozenset()
    while True:
        turns = make_turns(ipus, promoted, params, lexical=lexical)
        changes = floor_changes(turns, speech, params)
        in_turns = {ipu for turn in turns for ipu in turn.ipus}
        open_ones = sorted(
            (ipu for own in ipus.values() for ipu in own if ipu not in in_turns),
            key=lambda ipu: (ipu.start_ms, ipu.end_ms, ipu.participant),
        )
        confirmed, refused = _confirm(open_ones, turns, changes, params)
        if not refused:
            return turns, changes, confirmed
        promoted |= frozenset(refused)


def _confirm(
    candidates: Sequence[Ipu], turns: Sequence[Turn], changes: Sequence[FloorChange], params: TurnParams
) -> tuple[list[tuple[Ipu, str]], list[Ipu]]:
    """Split candidates, in order of onset, into backchannels (with the holder) and candidates that take a turn."""
    primary = [turn for turn in turns if turn.is_primary]
    by_participant = group_turns(primary)
    confirmed: list[tuple[Ipu, str]] = []
    refused: list[Ipu] = []
    taken: list[Ipu] = []  # the latest refused candidates, of one instant: turns that are not in the floor changes yet
    for start_ms, together in groupby(candidates, key=lambda ipu: ipu.start_ms):
        at = bisect_right(changes, start_ms, key=lambda change: change.start_ms) - 1
        holder = changes[at].owner if at >= 0 else None
        if taken and (at < 0 or taken[0].start_ms > changes[at].start_ms):
            holder = taken[0].participant if len(taken) == 1 else None
        # Candidates of the same instant cannot answer each other: all are judged by the previous holder of the floor.
        now: list[Ipu] = []
        for ipu in together:
            if holder in (None, ipu.participant) or not _keeps_floor(holder, ipu, primary, by_participant, params):
                now.append(ipu)
            else:
                confirmed.append((ipu, holder))
        refused += now
        taken = now or taken
    return confirmed, refused


def _keeps_floor(
    holder: str, ipu: Ipu, primary: Sequence[Turn], by_participant: Mapping[str, Sequence[Turn]], params: TurnParams
) -> bool:
    """Whether another speaks on after the IPU, or takes the next turn after its onset. True at a session's end.

    Not if the IPU's own participant takes a turn before the cluster's silence is over and the other has said nothing
    new in between: the IPU then led up to that turn.
    """
    theirs = by_participant.get(holder, ())
    at = bisect_right(theirs, ipu.start_ms, key=lambda turn: turn.start_ms) - 1
    goes_on = at >= 0 and theirs[at].end_ms > ipu.end_ms
    own = by_participant.get(ipu.participant, ())
    after = bisect_right(own, ipu.start_ms, key=lambda turn: turn.start_ms)
    if after < len(own) and own[after].start_ms - ipu.end_ms < params.backchannel_cluster_gap_ms:
        between = Span(ipu.end_ms, own[after].start_ms)
        return goes_on and any(between.start_ms < other.start_ms < between.end_ms for other in theirs[at].ipus)
    if goes_on:
        return True
    following = bisect_right(primary, ipu.start_ms, key=lambda turn: turn.start_ms)
    if following == len(primary):
        return True
    at_once = bisect_right(primary, primary[following].start_ms, key=lambda turn: turn.start_ms)
    return any(turn.participant != ipu.participant for turn in primary[following:at_once])


def group_turns(turns: Iterable[Turn]) -> dict[str, list[Turn]]:
    """Turns per participant, in order of onset."""
    grouped: dict[str, list[Turn]] = {}
    for turn in sorted(turns, key=lambda turn: turn.start_ms):
        grouped.setdefault(turn.participant, []).append(turn)
    return grouped


def all_speech(ipus: Ipus, without: str | None = None) -> list[Span]:
    """Speech of all participants, or of all except `without`, merged."""
    return merge_spans(Span(i.start_ms, i.end_ms) for p, own in ipus.items() if p != without for i in own)
