"""The pictures of docs/events.md: invented speech and words -> the turn rules -> `docs/images/event-*.svg`.

`python -m docs.draw_events` writes them. Only the speech, its words and the sounds are invented here. Turns,
backchannels and events, with all their figures, are what `annotate_session` returns, drawn by `tools.picture`. A test
checks that the files are what the rules give today.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tools.picture.drawing import strip
from tools.picture.session import TO_LANES, Lane, Picture
from wanstreamer.clock import Span
from wanstreamer.turns import Annotation, Event, Sound, Turn, TurnParams, Word, annotate_session

FOLDER = Path(__file__).parent / "images"
DURATION_MS = 5200  # of all pictures, so that they have one scale

Said = Sequence[tuple[int, int, str]]  # start_ms, end_ms, the words


@dataclass(frozen=True, kw_only=True)
class Example:
    """One picture: what is said, and the events (or turns) that get a mark."""

    title: str
    a: Said
    b: Said
    sounds: Mapping[str, Sequence[Sound]] = field(default_factory=dict)
    events: tuple[str, ...] = ()  # labels to mark
    turns: bool = False  # whether turns get a mark


EXAMPLES = {
    "turn": Example(
        title="Two turns. The first has a pause, and the listener's backchannel does not end it.",
        a=[(300, 1050, "so we took"), (1200, 1900, "the early train"), (2600, 3700, "to the coast.")],
        b=[(2050, 2400, "mhm."), (4100, 4900, "how was it?")],
        turns=True,
    ),
    "pause": Example(
        title="A pause: the same person speaks before and after the silence.",
        a=[(300, 1400, "i think it was"), (2000, 3300, "on a monday.")],
        b=[],
        events=("pause",),
    ),
    "gap": Example(
        title="A gap: another person speaks after the silence.",
        a=[(300, 1500, "did you see it?")],
        b=[(1900, 3400, "i saw it twice.")],
        events=("gap", "smooth_shift"),
    ),
    "overlap": Example(
        title="An overlap at a change of speaker.",
        a=[(300, 2300, "and that was all of it.")],
        b=[(2000, 4800, "then you have to tell me the rest.")],
        events=("overlap_between", "terminal_overlap"),
    ),
    "overlap-within": Example(
        title="An overlap within one person's speech.",
        a=[(300, 3600, "we went down to the sea and looked at the boats.")],
        b=[(1800, 2200, "mhm.")],
        events=("overlap_within",),
    ),
    "latch": Example(
        title="A latch: the change of speaker has almost no silence.",
        a=[(300, 1700, "is it the red one?")],
        b=[(1720, 3300, "it is the blue one.")],
        events=("latch",),
    ),
    "backchannel": Example(
        title="Backchannels: the listener responds and takes no turn.",
        a=[(300, 2300, "first we went to the harbour."), (3000, 4900, "and then the rain came.")],
        b=[(1400, 1750, "mhm."), (2450, 2850, "yeah.")],
        events=("lexical",),
    ),
    "interruption-floor-taking": Example(
        title="An interruption that takes the floor: the person who is interrupted stops first.",
        a=[(300, 2400, "and then we all went to the")],
        b=[(1800, 4600, "wait, that was last year.")],
        events=("interruption",),
    ),
    "interruption-failed": Example(
        title="An interruption that fails: the person who interrupts stops first.",
        a=[(300, 4700, "and then we all went to the sea and looked at the boats.")],
        b=[(1800, 2500, "but was it")],
        events=("interruption",),
    ),
    "interruption-both-stop": Example(
        title="An interruption after which both stop.",
        a=[(300, 2500, "and then we all went to the")],
        b=[(1800, 2450, "but was it")],
        events=("interruption",),
    ),
    "pause-interruption": Example(
        title="Speech that begins in another person's pause, before their phrase is complete.",
        a=[(300, 1700, "and then we went to the")],
        b=[(2200, 4200, "sorry, who is we?")],
        events=("pause_interruption",),
    ),
    "simultaneous-start": Example(
        title="Both start at the same time; one goes on.",
        a=[(300, 900, "is it far?"), (2300, 2900, "so what")],
        b=[(1200, 1800, "not at all."), (2400, 4800, "anyway, we came home late.")],
        events=("simultaneous_start",),
    ),
    "simultaneous-stop": Example(
        title="Both start at the same time, and both stop.",
        a=[(300, 900, "is it far?"), (2300, 3000, "so what"), (4000, 4900, "you first.")],
        b=[(1200, 1800, "not at all."), (2400, 3100, "anyway we")],
        events=("simultaneous_start",),
    ),
    "initiation": Example(
        title="Two initiations: no one holds the floor when the turn begins.",
        a=[(200, 900, "good morning.")],
        b=[(4000, 5000, "shall we begin?")],
        events=("initiation",),
    ),
    "hold": Example(
        title="A hold: the same person begins a new turn after a long pause.",
        a=[(300, 1300, "we could go."), (3000, 4500, "or we stay here.")],
        b=[],
        events=("hold",),
    ),
    "non-speech": Example(
        title="Laughter is no speech: it takes no turn.",
        a=[(300, 1700, "so he fell in."), (3000, 3900, "really.")],
        b=[(1900, 2800, "")],
        sounds={"b": [Sound(start_ms=1900, end_ms=2800, label="laughter")]},
        events=("laughter",),
    ),
}


def spread_words(said: Said) -> list[Word]:
    """The words of each stretch of speech, each as long as its share of the letters."""
    words = []
    for start_ms, end_ms, text in said:
        letters, before = max(1, sum(map(len, text.split()))), 0
        for word in text.split():
            ends = [start_ms + (end_ms - start_ms) * count // letters for count in (before, before + len(word))]
            words.append(Word(start_ms=ends[0], end_ms=ends[1], text=word))
            before += len(word)
    return words


def annotate(example: Example) -> Annotation:
    said = {"a": example.a, "b": example.b}
    return annotate_session(
        {who: [Span(start, end) for start, end, _ in own] for who, own in said.items()},
        {who: spread_words(own) for who, own in said.items()},
        TurnParams(),
        sounds=example.sounds,
    )


def picture_of(example: Example, annotation: Annotation) -> Picture:
    """What `tools.picture` makes of the tables, made of the rules' own result."""
    events = [asdict(event) for event in annotation.events]
    lanes = []
    for who, said in (("a", example.a), ("b", example.b)):
        own = [event for event in events if event["participant"] == who]
        of_kind = {kind: [event for event in own if event["kind"] == kind] for kind in TO_LANES}
        lanes.append(
            Lane(
                participant=who,
                speaker_id=None,
                speech=annotation.speech[who],
                words=[{"start_ms": word.start_ms, "word": word.text} for word in spread_words(said)],
                turns=[asdict(turn) for turn in annotation.turns if turn.participant == who],
                backchannels=of_kind["backchannel"],
                transitions=of_kind["transition"],
                sounds=of_kind["non_speech"],
                mixed=[],
                floor=list(floor_of(who, annotation)),
            )
        )
    return Picture(
        session_id="example",
        language="en",
        duration_ms=DURATION_MS,
        lanes=lanes,
        states=[event for event in events if event["kind"] == "state"],
        withheld=[],
    )


def floor_of(who: str, annotation: Annotation) -> Iterator[Span]:
    ends_ms = [change.start_ms for change in annotation.floor[1:]] + [DURATION_MS]
    for change, end_ms in zip(annotation.floor, ends_ms, strict=True):
        if change.owner == who:
            yield Span(change.start_ms, min(end_ms, DURATION_MS))


def marks_of(example: Example, annotation: Annotation) -> list[tuple[Span, str]]:
    """The intervals to mark, each with its row in words."""
    turns = annotation.turns if example.turns else []
    events = [event for event in annotation.events if event.label in example.events]
    return [
        *((Span(turn.start_ms, turn.end_ms), describe_turn(turn)) for turn in turns),
        *((Span(event.start_ms, event.end_ms), describe(event)) for event in events),
    ]


def describe_turn(turn: Turn) -> str:
    ipus = "1 IPU" if len(turn.ipus) == 1 else f"{len(turn.ipus)} IPUs"
    return f"turn of {turn.participant}: {turn.end_ms - turn.start_ms} ms, {ipus}"


def describe(event: Event) -> str:
    """An event as its columns have it, without those that are null."""
    label = f"backchannel ({event.label})" if event.kind == "backchannel" else event.label
    columns = [f"participant {event.participant}"]
    columns += [f"{name} {value}" for name in ("other", "outcome") if (value := getattr(event, name)) is not None]
    columns += [f"{name} {value:+d}" for name in ("yield_ms", "fto_ms") if (value := getattr(event, name)) is not None]
    if event.kind != "transition":
        columns.append(f"{event.end_ms - event.start_ms} ms")
    return f"{label}: {', '.join(columns)}".replace("-", "\N{MINUS SIGN}")


def draw(example: Example) -> str:
    annotation = annotate(example)
    marks = marks_of(example, annotation)
    return strip(picture_of(example, annotation), Span(0, DURATION_MS), example.title, marks)


def drawings() -> dict[Path, str]:
    """File -> SVG document."""
    return {FOLDER / f"event-{name}.svg": draw(example) for name, example in EXAMPLES.items()}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for path, svg in drawings().items():
        path.write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
