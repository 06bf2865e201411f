"""What people say in a scene: a conversation of two, with or without a third, of three and more, or one person alone.

In the dialogue that is returned, participants are a, b, ... in the order of their first words.
"""

from collections.abc import Mapping
from dataclasses import replace
from string import ascii_lowercase
from typing import Any

import numpy as np

from pipelines.conversation import grammar
from pipelines.conversation.cast import Speaker
from pipelines.conversation.dialogue import Dialogue, Transition, Utterance, other
from pipelines.conversation.loudness import with_loudness
from pipelines.conversation.phrases import Clip, speak
from pipelines.conversation.scene_kinds import KINDS, MIN_TWO_WORDS_SECONDS
from pipelines.conversation.scenes import Scene
from pipelines.conversation.script import PAUSE_MEDIAN_MS, Writer, write_dialogue
from pipelines.conversation.voice import Voice, VoiceSpec
from wanstreamer.clock import merge_spans

TWO_WORDS = ("hi there", "excuse me", "good morning", "your tea", "hello you")
TWO_WORDS_RATE = 1.2  # in passing
TWO_WORDS_SHARE = 0.017  # of all speech, at most: under the 2 % that make a third participant
ROOM_MS = 350  # of silence before and after the two words
MAX_GAP_MS = 900  # in which they come: with them, it is still no lapse
GROUP_SHARE = 0.12  # of the speech, that each of three people has at least
TRIES = 20


def talk(scene: Scene) -> tuple[Dialogue, dict[str, Speaker]]:
    """All that is said in the scene, and who each participant is. People without a word follow those who speak.

    Its duration is that of the scene. Without two participants, it has no transitions.
    """
    num_voices = KINDS[scene.kind].voices
    specs = {name: person.voice for name, person in zip(ascii_lowercase, scene.cast, strict=False)}
    duration_ms = scene.seconds * 1000
    rng = scene.rng(1)
    with Voice(seed=1 + int(rng.integers(10**6))) as voice:
        if num_voices == 1:
            dialogue = write_monologue(voice, specs["a"], rng, duration_ms=duration_ms)
        elif scene.kind == "two_words":
            dialogue = _with_two_words(voice, specs, rng, duration_ms)
        elif num_voices == 2:
            dialogue = _of_two(voice, specs, rng, duration_ms)
        elif scene.kind == "crowd":
            each = [
                write_monologue(voice, specs[name], rng, duration_ms=duration_ms)
                for name in ascii_lowercase[:num_voices]
            ]
            dialogue = Dialogue(
                duration_ms=duration_ms,
                utterances=[
                    replace(utterance, participant=name)
                    for name, own in zip(ascii_lowercase, each, strict=False)
                    for utterance in own.utterances
                ],
            )
        else:
            names = ascii_lowercase[:num_voices]
            dialogue = write_group(voice, {name: specs[name] for name in names}, rng, duration_ms=duration_ms)
    return _by_first_words(dialogue, dict(zip(ascii_lowercase, scene.cast, strict=False)))


def _first_ms(rng: np.random.Generator) -> int:
    return 300 + int(rng.integers(0, 700))


def _of_two(
    voice: Voice, specs: Mapping[str, VoiceSpec], rng: np.random.Generator, duration_ms: int
) -> Dialogue:  # fmt: skip
    pair = {name: specs[name] for name in "ab"}
    dialogue = write_dialogue(voice, pair, rng, first_ms=_first_ms(rng), duration_ms=duration_ms)
    return with_loudness(dialogue, rng)


def write_monologue(voice: Voice, spec: VoiceSpec, rng: np.random.Generator, *, duration_ms: int) -> Dialogue:
    """Participant a, who talks alone, with pauses."""
    writer = Writer(voice, {"a": spec}, rng, first_ms=_first_ms(rng), duration_ms=duration_ms)
    misses = 0
    while misses < 4:
        about = writer.topic_next()
        phrases = [phrase for _ in range(1 if misses else 2) for phrase in grammar.statement(rng, about)]
        clips = writer.say_turn("a", phrases)
        pauses_ms = [writer.draw_ms(PAUSE_MEDIAN_MS, 0.45, 230, 1300) for _ in clips[1:]]
        start_ms = writer.end_ms + (writer.between_ms(500, 1600) if writer.holder else 0)
        turn = Utterance(
            participant="a", kind="turn", clips=writer.lay_out(clips, pauses_ms, start_ms), about=about.name
        )  # fmt: skip
        if writer.commit(turn):
            writer.hold_floor(turn)
            misses = 0
        else:
            misses += 1
    return writer.dialogue


def write_group(
    voice: Voice, specs: Mapping[str, VoiceSpec], rng: np.random.Generator, *, duration_ms: int
) -> Dialogue:  # fmt: skip
    """A conversation in which all of `specs`, three or more, take part; without transitions.

    It is written as one of two: before each move, the place of the one who listens may be taken by another person. If
    there is time for it, at least three say a good part of it.
    """
    for _ in range(TRIES):
        dialogue = _group_once(voice, specs, rng, duration_ms)
        spoken_ms = sorted(sum(span.duration_ms for span in dialogue.speech(name)) for name in specs)
        if spoken_ms[-3] >= GROUP_SHARE * sum(spoken_ms):
            break
    return dialogue


def _group_once(
    voice: Voice, specs: Mapping[str, VoiceSpec], rng: np.random.Generator, duration_ms: int
) -> Dialogue:  # fmt: skip
    names = list(specs)
    at_place = {"a": names[0], "b": names[1]}
    writer = Writer(
        voice, {place: specs[name] for place, name in at_place.items()}, rng, first_ms=_first_ms(rng),
        duration_ms=duration_ms,
    )  # fmt: skip
    speakers: dict[tuple[str, int], str] = {}
    spoken_ms = dict.fromkeys(names, 0)
    misses = 0
    while misses < 12:
        turn_of = other(writer.holder) if writer.holder else "a"
        waiting = [name for name in names if name not in at_place.values()]
        if writer.holder and waiting and writer.chance(0.75):
            at_place[turn_of] = min(waiting, key=lambda name: spoken_ms[name])
            writer.specs[turn_of] = specs[at_place[turn_of]]
        before = len(writer.dialogue.utterances)
        move = str(rng.choice(("tell", "ask", "taken"), p=(0.5, 0.35, 0.15))) if misses < 6 else "ask"
        if move == "tell":
            done = writer.tell(turn_of, num_sentences=1)
        elif move == "ask":
            done = writer.ask(turn_of)
        else:
            done = writer.interrupted(turn_of, taken=True)
        for utterance in writer.dialogue.utterances[before:]:
            name = at_place[utterance.participant]
            speakers[utterance.participant, utterance.start_ms] = name
            spoken_ms[name] += utterance.end_ms - utterance.start_ms
        misses = 0 if done else misses + 1
    spoken = with_loudness(writer.dialogue, rng).utterances
    return Dialogue(
        duration_ms=duration_ms,
        utterances=[replace(u, participant=speakers[u.participant, u.start_ms]) for u in spoken],
    )


def _with_two_words(
    voice: Voice, specs: Mapping[str, VoiceSpec], rng: np.random.Generator, duration_ms: int
) -> Dialogue:  # fmt: skip
    """A conversation of a and b in which c says two words, once, in a short silence between two turns.

    Raises ValueError if there is too little speech, so that two words would be more than a passing remark.
    """
    for _ in range(TRIES):
        clips = [
            speak(voice, specs["c"], text, ending=".", rate_factor=TWO_WORDS_RATE)
            for text in rng.permutation(TWO_WORDS).tolist()
        ]
        clip = min(clips[:2], key=lambda clip: clip.duration_ms)
        room_ms = clip.duration_ms + 2 * ROOM_MS
        dialogue = _of_two(voice, specs, rng, duration_ms - room_ms)
        speech_ms = sum(span.duration_ms for name in "ab" for span in dialogue.speech(name))
        places_ms = _silences(dialogue)
        if places_ms and clip.duration_ms <= TWO_WORDS_SHARE * speech_ms:
            at_ms = places_ms[int(rng.integers(len(places_ms)))]
            return with_remark(dialogue, "c", clip, at_ms)
    raise ValueError(f"{duration_ms} ms: too short for two words in passing; use {MIN_TWO_WORDS_SECONDS} s or more")


def _silences(dialogue: Dialogue) -> list[int]:
    """Instants in short silences between two turns, after a third of the conversation, when both have spoken."""
    earliest_ms = max(dialogue.duration_ms // 3, *(dialogue.of(name)[0].start_ms for name in "ab"))
    spans = merge_spans(span for name in "ab" for span in dialogue.speech(name))
    whole = [(u.start_ms, u.end_ms) for u in dialogue.utterances]
    return [
        before.end_ms + 1
        for before, after in zip(spans, spans[1:], strict=False)
        if before.end_ms > earliest_ms
        and 50 <= after.start_ms - before.end_ms <= MAX_GAP_MS
        and not any(start_ms <= before.end_ms < end_ms for start_ms, end_ms in whole)
    ]


def with_remark(dialogue: Dialogue, participant: str, clip: Clip, at_ms: int) -> Dialogue:
    """The dialogue with a remark of another participant at `at_ms`, where no one speaks; all that follows is later."""
    longer_ms = clip.duration_ms + 2 * ROOM_MS

    def later(ms: int) -> int:
        return ms + longer_ms if ms >= at_ms else ms

    utterances = [
        replace(u, clips=tuple((later(start_ms), own) for start_ms, own in u.clips)) for u in dialogue.utterances
    ]
    remark = Utterance(participant=participant, kind="backchannel", clips=((at_ms + ROOM_MS, clip),))
    following = min((t.start_ms for t in dialogue.transitions if t.start_ms >= at_ms), default=None)

    def moved(t: Transition) -> Transition:
        crosses = t.start_ms == following and t.fto_ms is not None and t.fto_ms >= 0
        fto_ms = t.fto_ms + longer_ms if crosses and t.fto_ms is not None else t.fto_ms
        return replace(t, start_ms=later(t.start_ms), fto_ms=fto_ms)

    return replace(
        dialogue, duration_ms=dialogue.duration_ms + longer_ms, utterances=[*utterances, remark],
        transitions=[moved(t) for t in dialogue.transitions],
        answers=[
            replace(
                a, start_ms=later(a.start_ms), end_ms=later(a.end_ms), question_end_ms=later(a.question_end_ms)
            )  # fmt: skip
            for a in dialogue.answers
        ],
    )  # fmt: skip


def _by_first_words(dialogue: Dialogue, people: Mapping[str, Speaker]) -> tuple[Dialogue, dict[str, Speaker]]:
    first_ms = {name: min((u.start_ms for u in dialogue.of(name)), default=10**9) for name in people}
    new = dict(zip(sorted(people, key=lambda name: (first_ms[name], name)), ascii_lowercase, strict=False))

    def named(some: list[Any]) -> list[Any]:
        return [replace(each, participant=new[each.participant]) for each in some]

    transitions = [
        replace(
            t, participant=new[t.participant], holder=new.get(t.holder, t.holder),
            yielder=new[t.yielder] if t.yielder else None,
        )
        for t in dialogue.transitions
    ]  # fmt: skip
    renamed = replace(
        dialogue, utterances=named(dialogue.utterances), transitions=transitions, answers=named(dialogue.answers)
    )  # fmt: skip
    return renamed, {new[name]: person for name, person in sorted(people.items(), key=lambda item: new[item[0]])}
