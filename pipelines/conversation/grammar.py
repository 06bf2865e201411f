"""A random generator -> sentences about a small fixed world, and questions whose answers follow from it.

Eight things, each with a colour, a number and an owner that are the same in every session. A model that has heard
"the boat is red" can therefore answer "what colour is the boat?", and a wrong answer is wrong. Sentences come in
phrases: a speaker may pause between two phrases. Words are lower case; a sentence ends with "." or "?".
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Thing:
    name: str
    colour: str
    number: str
    owner: str
    pronoun: str  # of the owner


WORLD = tuple(
    Thing(name=name, colour=colour, number=number, owner=owner, pronoun=pronoun)
    for name, colour, number, owner, pronoun in (
        ("boat", "red", "three", "anna", "she"),
        ("car", "blue", "five", "ben", "he"),
        ("house", "white", "two", "clara", "she"),
        ("dog", "brown", "four", "david", "he"),
        ("hat", "green", "six", "emma", "she"),
        ("cup", "yellow", "seven", "finn", "he"),
        ("bird", "black", "eight", "george", "he"),
        ("book", "grey", "nine", "hannah", "she"),
    )
)

# {t} thing, {c} its colour, {n} its number, {o} its owner, {p} the owner's pronoun; "|" where a pause is possible
STATEMENTS = (
    "the {t} is {c}",
    "the {t} of {o} | is {c}",
    "i think | that the {t} is {c}",
    "you know the {t} is {c} | and {o} really likes it",
    "{o} has {n} {t}s",
    "{o} told me | that {p} has {n} {t}s",
    "yesterday we looked at the {n} {t}s of {o}",
    "i saw the {c} {t} | when i was with {o}",
    "{o} has the {t} | because {p} likes {c}",
    "for a long time {o} had one {t} | but now {p} has {n}",
    "the {c} {t} | was the best one of all",
    "my friend {o} | keeps {n} {t}s at home",
    "all of the {n} {t}s are {c} | and they belong to {o}",
)

# One breath, long enough for an interruption.
LONG_STATEMENTS = (
    "you know the {t} of {o} is {c} and {p} really likes it that way",
    "yesterday we looked at the {n} {t}s of {o} and all of them were {c}",
    "for a long time {o} only had one {t} but now {p} has {n} of them at home",
    "my friend {o} told me that {p} has {n} {t}s and every one of them is {c}",
    "i saw the {c} {t} when i was with {o} and {p} told me about the other ones",
)

CHALLENGES = (
    "but wait the {t} of {o} is {c}",
    "sorry but i think {o} has {n} {t}s",
    "wait you have to see the {c} {t} of {o}",
    "but listen {o} told me about the {n} {t}s",
)

# Openings of someone who does not insist.
HESITATIONS = (
    "well maybe the {t} of {o} is {c}",
    "well i thought the {t} was {c}",
    "so maybe {o} has {n} {t}s",
    "i was going to say the {t} is {c}",
)

# Unasked comments on a thing that the other holds up.
COMMENTS = (
    "oh that is the {c} {t} of {o}",
    "look you have the {c} {t}",
    "i see the {t} | {o} has {n} of them",
    "that {t} is {c} | and it belongs to {o}",
    "oh you found the {t} of {o}",
)

FILLED_PAUSE, SPOKEN_FILLED_PAUSE = "um", "[['V:m:]]"  # transcript, espeak phonemes: half a second

# transcript: text for espeak, which would spell out "mhm"
BACKCHANNELS = {
    "mhm": "[[m@hm'Vm]]",
    "hmm": "[[h@m'm]]",
    "uh-huh": "uh huh",
    "yeah": "yeah",
    "right": "right",
    "okay": "okay",
    "i see": "i see",
    "really": "really",
    "sure": "sure",
    "wow": "wow",
    "oh really": "oh really",
    "yeah okay": "yeah okay",
}
BACKCHANNEL_WEIGHTS = (6, 2, 4, 6, 4, 4, 3, 2, 2, 1, 1, 1)


@dataclass(frozen=True, kw_only=True)
class Question:
    text: str  # with its question mark
    fact: str  # colour, number, owner, yes_no or check
    short_answers: tuple[str, ...]  # at most three words
    long_answers: tuple[str, ...]


def thing(rng: np.random.Generator) -> Thing:
    return WORLD[int(rng.integers(len(WORLD)))]


def fill(template: str, about: Thing) -> str:
    return template.format(t=about.name, c=about.colour, n=about.number, o=about.owner, p=about.pronoun)


def statement(rng: np.random.Generator, about: Thing) -> list[str]:
    """Phrases of one sentence; the last ends with a full stop.

    >>> statement(np.random.default_rng(0), WORLD[0])
    ['my friend anna', 'keeps three boats at home.']
    """
    return [part.strip() for part in f"{fill(_pick(rng, STATEMENTS), about)}.".split("|")]


def long_statement(rng: np.random.Generator, about: Thing) -> str:
    return f"{fill(_pick(rng, LONG_STATEMENTS), about)}."


def comment(rng: np.random.Generator, about: Thing) -> list[str]:
    """Phrases of a comment at the sight of `about`."""
    return [part.strip() for part in f"{fill(_pick(rng, COMMENTS), about)}.".split("|")]


def challenge(rng: np.random.Generator, about: Thing) -> str:
    return f"{fill(_pick(rng, CHALLENGES), about)}."


def hesitation(rng: np.random.Generator, about: Thing) -> str:
    return f"{fill(_pick(rng, HESITATIONS), about)}."


def question(rng: np.random.Generator, about: Thing) -> Question:
    """A question about `about`, with the answers that are true of the world."""
    fact = _pick(rng, ("colour", "colour", "number", "number", "owner", "owner", "yes_no", "check"))
    if fact == "colour":
        return Question(
            text=fill(_pick(rng, ("what colour is the {t}?", "and what colour is the {t} of {o}?")), about), fact=fact,
            short_answers=(fill("{c}.", about), fill("it is {c}.", about)),
            long_answers=(fill("the {t} is {c}.", about), fill("the {t} of {o} is {c}.", about)),
        )  # fmt: skip
    if fact == "number":
        return Question(
            text=fill(_pick(rng, ("how many {t}s does {o} have?", "how many {t}s are there?")), about), fact=fact,
            short_answers=(fill("{n}.", about), fill("{n} {t}s.", about)),
            long_answers=(fill("{o} has {n} {t}s.", about),),
        )  # fmt: skip
    if fact == "owner":
        return Question(
            text=fill(_pick(rng, ("who has the {t}?", "who has {n} {t}s?", "and who has the {c} {t}?")), about),
            fact=fact,
            short_answers=(fill("{o}.", about), fill("{o} does.", about)),
            long_answers=(fill("{o} has the {c} {t}.", about), fill("i think that {o} has it.", about)),
        )
    if fact == "check":
        return Question(
            text=fill(_pick(rng, ("the {t} is {c} right?", "{o} has {n} {t}s right?")), about), fact=fact,
            short_answers=("yes.", "yeah.", "right.", "exactly."),
            long_answers=(fill("yes the {t} of {o} is {c}.", about),),
        )  # fmt: skip
    asked = _pick(rng, (about.colour, WORLD[(WORLD.index(about) + 1) % len(WORLD)].colour))
    if asked == about.colour:
        short, long = ("yes.", "yes it is."), (fill("yes the {t} is {c}.", about),)
    else:
        short, long = ("no.", fill("no {c}.", about)), (fill("no the {t} is {c}.", about),)
    return Question(text=f"is the {about.name} {asked}?", fact=fact, short_answers=short, long_answers=long)


def backchannel(rng: np.random.Generator) -> str:
    """What a listener says, one of BACKCHANNELS."""
    weights = np.array(BACKCHANNEL_WEIGHTS, dtype=float)
    return list(BACKCHANNELS)[int(rng.choice(len(weights), p=weights / weights.sum()))]


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]
