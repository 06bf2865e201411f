"""Two voices and a seed -> one conversation: who says what, from which millisecond to which, and what happened there.

A conversation is built forwards on the session clock. Every phrase is spoken first (voice.py) and trimmed by its own
energy, so that all times are those of real sound; only the silences and overlaps between phrases are drawn:

- gaps: log-normal, median 380 ms; terminal overlaps: log-normal, median 410 ms: the medians of the CANDOR corpus
  (Reece et al. 2023, Science Advances 9). About a third of the floor changes overlap, interruptions included. That is
  less than the 40 % of Heldner & Edlund (2010, Journal of Phonetics 38), because short turns leave no room. Answers
  overlap less often and mostly follow the question (Stivers et al. 2009, PNAS 106).
- a thing held up to the camera gets an unasked comment, as from a system that speaks of what it sees (Wan-Streamer v0.1
  shows it); how often, and after how long, is our choice.
- overlap is mostly over within a few syllables (Schegloff 2000, Language in Society 29): an interrupted speaker gives
  way after 200 to 900 ms, median 400. A challenger who does not get the floor does not claim it: the challenger begins
  hesitantly and softly, and breaks off as soon. A listener can therefore tell early which of the two it will be.
- the end of a turn can be heard before it comes: only its last phrase has a final melody, and grows softer (Gravano &
  Hirschberg 2011, Computer Speech & Language 25). Before a pause, the melody signals that more will come, and so does
  an "um" in most cases (Clark & Fox Tree 2002, Cognition 84). Both are clearer than in people, so that an hour's
  training can learn them.
- pauses inside a turn, median 550 ms, and how often each thing happens: our choice.

Speech that is broken off is really cut, inside a word; a trailing "-" marks that word.
"""

from collections.abc import Collection, Sequence

import numpy as np

from pipelines.conversation import grammar
from pipelines.conversation.dialogue import Answer, Dialogue, Showing, Transition, Utterance, other
from pipelines.conversation.phrases import Clip, cut, cut_points_ms, speak, trail_off
from pipelines.conversation.voice import Voice, VoiceSpec

END_MARGIN_MS = 250  # the recording continues for a moment after the last word
GAP_MEDIAN_MS = 380
PAUSE_MEDIAN_MS = 550
OVERLAP_MEDIAN_MS = 410
FILLED_SHARE = 0.9  # of the pauses inside a turn begin with a filled pause
OVERLAP_SHARE = 0.7  # if both turns are long enough, as in one shift of two
ANSWER_OVERLAP_SHARE = 0.3
SIMULTANEOUS_MS = 150
LAPSE_MS = (3100, 4200)  # mutual silence before an initiation (3000 and more in the turn rules)
SHOWN_AFTER_MS = (2500, 5200)  # silence before a thing is held up; it does not reveal whether one will come
YIELD_MEDIAN_MS, YIELD_SIGMA, YIELD_MS = 400, 0.3, (200, 900)  # from the onset in overlap to the end of who gives way
NOTICE_MEDIAN_MS = 800  # from the start of the rise to the first sound about the thing
OWN_PAUSE_MS = (1600, 2400)  # silence before the same speaker's next turn (1500 and more)
BEFORE_COLLISION_MS = (1560, 2400)  # with a shorter silence, the one who spoke last would merely go on
INSIDE_MS = (500, 700)  # a backchannel well inside a phrase: this long after its beginning, and before its end
OWN_REST_MS = 1000  # between two utterances of a participant that are not one turn


class Writer:
    """The dialogue so far, and its place on the clock."""

    def __init__(
        self, voice: Voice, specs: dict[str, VoiceSpec], rng: np.random.Generator, *, first_ms: int, duration_ms: int
    ) -> None:
        self.voice, self.specs, self.rng = voice, specs, rng
        self.last_ms = duration_ms - END_MARGIN_MS
        self.dialogue = Dialogue(duration_ms=duration_ms)
        self.holder = ""  # no one has spoken yet
        self.end_ms = first_ms  # of the holder's last turn
        self.last_clip: Clip  # the last phrase of that turn
        self.topic = grammar.thing(rng)

    def draw_ms(self, median: float, sigma: float, low: int, high: int) -> int:
        """Log-normal, drawn again outside [low, high] so that no mass piles up at the limits."""
        while True:
            value = round(float(median * np.exp(sigma * self.rng.standard_normal())))
            if low <= value <= high:
                return value

    def between_ms(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def chance(self, share: float) -> bool:
        return float(self.rng.random()) < share

    def say(self, participant: str, text: str, ending: str | None = None, spoken: str = "") -> Clip:
        ending = ending or (text[-1] if text[-1] in ".?" else ",")
        factor = float(self.rng.uniform(0.93, 1.07))
        return speak(self.voice, self.specs[participant], text, ending=ending, rate_factor=factor, spoken=spoken)

    def say_turn(self, participant: str, phrases: Sequence[str]) -> list[Clip]:
        """The phrases of a whole turn: the melody of all but the last signals that more will come."""
        *before, last = phrases
        return [*(self.say_more_comes(participant, p) for p in before), trail_off(self.say(participant, last))]

    def say_more_comes(self, participant: str, phrase: str) -> Clip:
        phrase = phrase.rstrip(".?")
        if not self.chance(FILLED_SHARE):
            return self.say(participant, phrase, ",")
        filled, spoken = (f"{phrase} {um}" for um in (grammar.FILLED_PAUSE, grammar.SPOKEN_FILLED_PAUSE))
        return self.say(participant, filled, ",", spoken)

    def say_backchannel(self, participant: str) -> Clip:
        text = grammar.backchannel(self.rng)
        ending = "?" if text.endswith("really") else "."
        return speak(
            self.voice, self.specs[participant], text + ending, ending=ending, rate_factor=1.0,
            spoken=grammar.BACKCHANNELS[text],
        )  # fmt: skip

    def last_end_ms(self, participant: str) -> int:
        """When the participant last fell silent."""
        return max((u.end_ms for u in self.dialogue.of(participant)), default=-(10**6))

    def offset_ms(self, speaker: str, end_ms: int, before: Clip, after: Clip, overlap_share: float) -> int:
        """Floor transfer offset of a turn of `speaker` whose first phrase is `after`; negative: they overlap.

        The previous turn ends at `end_ms` with the phrase `before`. Both phrases must be longer than the overlap, or it
        would lie inside one of them. And a speaker who has only just spoken would not begin a turn, but continue the
        last one.
        """
        room_ms = min(
            before.duration_ms - 250, after.duration_ms - 250, end_ms - self.last_end_ms(speaker) - OWN_REST_MS
        )
        if room_ms >= 1.7 * OVERLAP_MEDIAN_MS and self.chance(overlap_share):
            return -self.draw_ms(OVERLAP_MEDIAN_MS, 0.5, 60, min(room_ms, 950))
        return self.draw_ms(GAP_MEDIAN_MS, 0.7, 30, 2000)

    def topic_next(self) -> grammar.Thing:
        if self.chance(0.45):
            self.topic = grammar.thing(self.rng)
        return self.topic

    def lay_out(self, clips: Sequence[Clip], pauses_ms: Sequence[int], start_ms: int) -> tuple[tuple[int, Clip], ...]:
        laid = []
        for clip, pause_ms in zip(clips, [*pauses_ms, 0], strict=True):
            laid.append((start_ms, clip))
            start_ms += clip.duration_ms + pause_ms
        return tuple(laid)

    def commit(self, *utterances: Utterance) -> bool:
        """Add the utterances, unless one does not fit into the session."""
        if max(u.end_ms for u in utterances) > self.last_ms:
            return False
        self.dialogue.utterances += utterances
        return True

    def hold_floor(self, turn: Utterance) -> None:
        self.holder, self.end_ms, self.last_clip = turn.participant, turn.end_ms, turn.clips[-1][1]

    def onset(self, speaker: str, start_ms: int, label: str, **facts: object) -> None:
        """Record a transition, unless it is the session's first onset: that follows nothing."""
        if self.holder:
            self.dialogue.transitions.append(
                Transition(participant=speaker, start_ms=start_ms, label=label, **({"holder": speaker} | facts))  # type: ignore[arg-type]
            )

    def begin(
        self, speaker: str, first: Clip, label: str = "", *, overlap_share: float = OVERLAP_SHARE
    ) -> tuple[int, str, int | None]:
        """(start, label, offset) of a turn that begins now; by default a shift, drawn from the distributions."""
        if not self.holder:
            return self.end_ms, "first", None
        if label == "initiation":
            return self.end_ms + self.between_ms(*LAPSE_MS), label, None  # no one had the floor
        if label == "hold":
            start_ms = self.end_ms + self.between_ms(*OWN_PAUSE_MS)
        else:
            start_ms = self.end_ms + self.offset_ms(speaker, self.end_ms, self.last_clip, first, overlap_share)
            label = "smooth_shift" if start_ms >= self.end_ms else "terminal_overlap"
        return start_ms, label, None if speaker == self.holder else start_ms - self.end_ms

    def tell(self, speaker: str, *, label: str = "", num_sentences: int | None = None) -> bool:
        """A turn of one or more sentences, with pauses and the listener's backchannels."""
        about = self.topic_next()
        sentences = num_sentences or int(self.rng.choice([1, 2, 3], p=[0.25, 0.45, 0.3]))
        phrases: list[str] = []
        for _ in range(sentences):
            sentence = grammar.statement(self.rng, about)
            if self.chance(0.25):
                phrases.append(grammar.long_statement(self.rng, about))
            else:
                phrases += sentence if self.chance(0.6) else [" ".join(sentence)]
        clips = self.say_turn(speaker, phrases)
        start_ms, label, offset_ms = self.begin(speaker, clips[0], label)
        pauses_ms = [self.draw_ms(PAUSE_MEDIAN_MS, 0.45, 230, 1300) for _ in clips[1:]]
        backchannels, pauses_ms = self.plan_backchannels(other(speaker), clips, pauses_ms, start_ms)
        turn = Utterance(
            participant=speaker, kind="turn", clips=self.lay_out(clips, pauses_ms, start_ms), about=about.name
        )
        if not self.commit(turn, *backchannels):
            return False
        self.onset(speaker, start_ms, label, fto_ms=offset_ms)
        self.hold_floor(turn)
        return True

    def plan_backchannels(
        self, listener: str, clips: list[Clip], pauses_ms: list[int], start_ms: int
    ) -> tuple[list[Utterance], list[int]]:
        """Backchannels of the listener during a turn; a pause that contains one is made long enough for it.

        About every other phrase gets one, never within a second of the listener's own speech. A third of all lie in the
        speaker's pauses; the rest are spoken over the phrases (Heldner & Edlund 2010 find most of them in overlap):
        well inside long phrases, towards the ends of others.
        """
        own_ms = self.last_end_ms(listener)
        turn_ms = sum(clip.duration_ms for clip in clips) + sum(pauses_ms)
        last_ms = start_ms + turn_ms - 700  # then the listener prepares to speak
        pauses_ms, backchannels, at_ms = list(pauses_ms), [], start_ms
        for i, clip in enumerate(clips):
            clip_end_ms = at_ms + clip.duration_ms
            is_pause = i < len(pauses_ms) and self.chance(0.24)
            if self.chance(0.85 if is_pause else 0.95):
                sound = self.say_backchannel(listener)
                if is_pause:
                    before_ms, after_ms = self.between_ms(60, 240), self.between_ms(80, 280)
                    onset_ms = clip_end_ms + before_ms
                    fits = sound.duration_ms <= 850
                else:
                    earliest_ms, latest_ms = at_ms + INSIDE_MS[0], clip_end_ms - INSIDE_MS[1]
                    if latest_ms - earliest_ms >= 200:
                        onset_ms = self.between_ms(earliest_ms, latest_ms)
                    else:
                        onset_ms = clip_end_ms - sound.duration_ms - self.between_ms(40, 450)
                    fits = onset_ms >= at_ms + 300
                if fits and onset_ms >= own_ms + OWN_REST_MS and onset_ms + sound.duration_ms <= last_ms:
                    backchannels.append(Utterance(participant=listener, kind="backchannel", clips=((onset_ms, sound),)))
                    own_ms = onset_ms + sound.duration_ms
                    if is_pause:
                        longer_ms = before_ms + sound.duration_ms + after_ms - pauses_ms[i]
                        pauses_ms[i] += longer_ms
                        last_ms += longer_ms
            at_ms = clip_end_ms + (pauses_ms[i] if i < len(pauses_ms) else 0)
        return backchannels, pauses_ms

    def ask(self, speaker: str, *, label: str = "") -> bool:
        """A question and its answer; the one who answers may continue."""
        about, replier = self.topic_next(), other(speaker)
        question = grammar.question(self.rng, about)
        (asked,) = self.say_turn(speaker, [question.text])
        start_ms, label, offset_ms = self.begin(speaker, asked, label)
        turn = Utterance(
            participant=speaker, kind="turn", clips=((start_ms, asked),), about=about.name, asks=True
        )  # fmt: skip
        is_short = self.chance(0.7)
        options = question.short_answers if is_short else question.long_answers
        text = options[int(self.rng.integers(len(options)))]
        more = grammar.statement(self.rng, about) if self.chance(0.35) else []
        clips = self.say_turn(replier, [text, *more])
        reply_ms = turn.end_ms + self.offset_ms(replier, turn.end_ms, asked, clips[0], ANSWER_OVERLAP_SHARE)
        pauses_ms = [self.draw_ms(PAUSE_MEDIAN_MS, 0.45, 230, 1300) for _ in clips[1:]]
        reply = Utterance(
            participant=replier, kind="turn", clips=self.lay_out(clips, pauses_ms, reply_ms), about=about.name
        )
        if not self.commit(turn, reply):
            return False
        self.onset(speaker, start_ms, label, fto_ms=offset_ms)
        self.holder = speaker  # an answer follows something, even if the question was the first onset of all
        shift = "smooth_shift" if reply_ms >= turn.end_ms else "terminal_overlap"
        self.onset(replier, reply_ms, shift, fto_ms=reply_ms - turn.end_ms)
        self.hold_floor(reply)
        self.dialogue.answers.append(
            Answer(
                participant=replier, start_ms=reply_ms, end_ms=reply_ms + clips[0].duration_ms, text=text,
                fact=question.fact, question=question.text, question_end_ms=turn.end_ms,
                is_short=len(text.split()) <= 3,
            )
        )  # fmt: skip
        return True

    def interrupted(self, speaker: str, *, taken: bool) -> bool:
        """A long turn that the other interrupts. If `taken`, the speaker gives way; otherwise the other does."""
        about, challenger = self.topic_next(), other(speaker)
        spoken = self.say(speaker, grammar.long_statement(self.rng, about))
        spoken = spoken if taken else trail_off(spoken)
        start_ms, label, offset_ms = self.begin(speaker, spoken)
        opening = grammar.challenge if taken else grammar.hesitation
        words = self.say(challenger, opening(self.rng, grammar.thing(self.rng)))
        words = trail_off(words) if taken else words
        yield_ms = self.draw_ms(YIELD_MEDIAN_MS, YIELD_SIGMA, *YIELD_MS)
        # Onsets lie well inside the speaker's sound, so that they cannot be mistaken for the end of a pause.
        first_ms = max(900, self.last_end_ms(challenger) + OWN_REST_MS - start_ms)
        onsets = {t for span in spoken.speech for t in range(max(first_ms, span.start_ms + 100), span.end_ms - 100)}
        if taken:
            # The cut decides the onset: it must fall inside a word of the speaker.
            cuts = [t for t in cut_points_ms(spoken) if t - yield_ms in onsets and t <= spoken.duration_ms - 500]
            if not cuts:
                return False
            cut_ms = cuts[int(self.rng.integers(len(cuts)))]
            onset_ms = start_ms + cut_ms - yield_ms
            turn = Utterance(
                participant=speaker, kind="turn", clips=((start_ms, cut(spoken, cut_ms)),), about=about.name
            )  # fmt: skip
            after = Utterance(participant=challenger, kind="turn", clips=((onset_ms, words),), about=about.name)
            yield_ms = turn.end_ms - onset_ms
            if after.end_ms < turn.end_ms + 500 or not self.commit(turn, after):
                return False
            outcome, holder, yielder = "floor_taking", challenger, speaker
        else:
            cuts = [t for t in cut_points_ms(words) if YIELD_MS[0] <= t <= YIELD_MS[1]]
            if not cuts:
                return False
            broken = cut(words, min(cuts, key=lambda t: abs(t - yield_ms)))
            yield_ms = broken.duration_ms
            room = sorted(t for t in onsets if t <= spoken.duration_ms - yield_ms - 1000)
            if not room:
                return False
            onset_ms = start_ms + room[int(self.rng.integers(len(room)))]
            turn = Utterance(participant=speaker, kind="turn", clips=((start_ms, spoken),), about=about.name)
            after = Utterance(
                participant=challenger, kind="attempt", clips=((onset_ms, broken),), about=about.name, hesitant=True
            )
            if not self.commit(turn, after):
                return False
            outcome, holder, yielder = "failed", speaker, challenger
        self.onset(speaker, start_ms, label, fto_ms=offset_ms)
        self.holder = speaker
        self.onset(
            challenger, onset_ms, "interruption", holder=holder, outcome=outcome, yield_ms=yield_ms, yielder=yielder,
            fto_ms=onset_ms - turn.end_ms if taken else None,
        )  # fmt: skip
        self.hold_floor(after if taken else turn)
        return True

    def show(self, holder: str) -> bool:
        """In a silence, `holder` holds a thing up, and the other comments on it unasked."""
        about, commenter = grammar.thing(self.rng), other(holder)
        clips = self.say_turn(commenter, grammar.comment(self.rng, about))
        shown_ms = self.end_ms + self.between_ms(*SHOWN_AFTER_MS)
        start_ms = shown_ms + self.draw_ms(NOTICE_MEDIAN_MS, 0.25, LAPSE_MS[0] - SHOWN_AFTER_MS[0], 1600)
        pauses_ms = [self.draw_ms(PAUSE_MEDIAN_MS, 0.45, 230, 1300) for _ in clips[1:]]
        turn = Utterance(
            participant=commenter, kind="turn", clips=self.lay_out(clips, pauses_ms, start_ms), about=about.name
        )
        gone_ms = turn.end_ms + self.between_ms(200, 900)
        if gone_ms > self.last_ms or not self.commit(turn):
            return False
        self.onset(commenter, start_ms, "initiation")
        self.dialogue.showings.append(
            Showing(
                participant=holder, start_ms=shown_ms, end_ms=gone_ms, thing=about.name, colour=about.colour,
                comment_start_ms=start_ms,
            )
        )  # fmt: skip
        self.topic = about
        self.hold_floor(turn)
        return True

    def collide(self) -> bool:
        """Both begin at once after a silence; one stops, or both stop and one begins again."""
        about = self.topic_next()
        early = "a" if self.chance(0.5) else "b"
        late = other(early)
        start_ms = {early: self.end_ms + self.between_ms(*BEFORE_COLLISION_MS)}
        start_ms[late] = start_ms[early] + self.between_ms(0, SIMULTANEOUS_MS)
        clips = {p: self.say(p, grammar.long_statement(self.rng, about)) for p in (early, late)}
        both_stop = self.chance(0.3)
        winner = early if self.chance(0.6) else late
        stopping = (early, late) if both_stop else (other(winner),)
        utterances = []
        for participant in (early, late):
            clip, kind = trail_off(clips[participant]), "turn"
            if participant in stopping:
                cuts = cut_points_ms(clips[participant])
                if not cuts:
                    return False
                wanted_ms = self.draw_ms(450, 0.3, 250, 900)
                clip, kind = cut(clips[participant], min(cuts, key=lambda t: abs(t - wanted_ms))), "attempt"
            utterances.append(
                Utterance(participant=participant, kind=kind, clips=((start_ms[participant], clip),), about=about.name)
            )
        if both_stop:
            (again,) = self.say_turn(winner, [" ".join(grammar.statement(self.rng, about))])
            again_ms = max(u.end_ms for u in utterances) + self.between_ms(*BEFORE_COLLISION_MS)
            utterances.append(
                Utterance(participant=winner, kind="turn", clips=((again_ms, again),), about=about.name)
            )  # fmt: skip
        if not self.commit(*utterances):
            return False
        before, before_ms = self.holder, self.end_ms
        for participant in (early, late):
            takes_over = participant == winner != before and not both_stop
            self.onset(
                participant, start_ms[participant], "simultaneous_start", holder="none" if both_stop else winner,
                fto_ms=start_ms[participant] - before_ms if takes_over else None,
            )  # fmt: skip
        self.hold_floor(max((u for u in utterances if u.kind == "turn"), key=lambda u: u.start_ms))
        return True


def write_dialogue(
    voice: Voice,
    specs: dict[str, VoiceSpec],
    rng: np.random.Generator,
    *,
    first_ms: int,
    duration_ms: int,
    seen: Collection[str] = (),
) -> Dialogue:
    """A conversation of participants a and b that begins at about `first_ms` and is over by `duration_ms`.

    Participants in `seen` have a camera, and may hold things up to it.
    """
    writer = Writer(voice, specs, rng, first_ms=first_ms, duration_ms=duration_ms)
    speaker = "a" if writer.chance(0.5) else "b"
    moves = ("tell", "ask", "taken", "failed", "collide", "initiation", "hold", "show")
    weights = np.array([0.31, 0.28, 0.19, 0.06, 0.045, 0.04, 0.05, 0.06 * len(seen)])
    if duration_ms < 20_000:  # a long silence would take most of a short session
        weights[5:] = 0
    weights /= weights.sum()
    misses = 0
    while misses < 12:
        nxt = other(writer.holder) if writer.holder else speaker
        # A question comes first, so that both speak even in the shortest session; near the end, only short turns fit.
        move = str(rng.choice(moves, p=weights)) if writer.holder and misses < 6 else ("ask", "tell")[misses % 2]
        if move == "tell":
            done = writer.tell(nxt, num_sentences=1 if misses >= 6 else None)
        elif move == "ask":
            done = writer.ask(nxt)
        elif move in ("taken", "failed"):
            done = writer.interrupted(nxt, taken=move == "taken")
        elif move == "collide":
            done = writer.collide()
        elif move == "initiation":
            done = writer.tell(nxt if writer.chance(0.5) else writer.holder, label="initiation")
        elif move == "show":
            done = writer.show(nxt if nxt in seen and (other(nxt) not in seen or writer.chance(0.5)) else other(nxt))
        else:
            done = writer.tell(writer.holder, label="hold")
        misses = 0 if done else misses + 1
    return writer.dialogue
