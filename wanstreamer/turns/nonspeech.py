"""How transcripts write sounds that are not words -> one small vocabulary.

A tag is a whole token in brackets: `[laughter]`, `{breath}`, `(coughs)`, `<noise>`, `*laughs*`, `++cough++`,
`&=laughs`. It counts only if every word in it is known below: `<unk>`, `(uh)`, `%hesitation`, `((laugh about it))` are
words, or stand for words. Tags are English. What corpora and programs write, and the label it gets:

    Switchboard  [laughter] laughter; [vocalized-noise] vocal_noise; [noise] noise; [silence] nothing;
                 [laughter-yeah], spoken while laughing, the word `yeah`
    Fisher       [laugh] laughter; [breath] [sigh] breath; [cough] [lipsmack] [mn] vocal_noise; [noise] noise
    CALLHOME     {laugh} laughter; {breath} breath; {cough} {lipsmack} vocal_noise; <noise> [static] noise; %um a word
    AMI (NXT)    <vocalsound type="laugh"> laughter, other types vocal_noise; <nonvocalsound> noise
    ICSI (NXT)   <vocalsound description="breath-laugh"> laughter; <nonvocalsound description="mike noise"> noise
    CHAT         &=laughs laughter; &=coughs vocal_noise
    Whisper      (laughs) [LAUGHTER] laughter; [Music] noise; [BLANK_AUDIO] nothing
    CANDOR, Seamless Interaction    no tags known to us

This follows their documentation; it has not been run on the corpora themselves.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Protocol, TypeVar

LAUGHTER, BREATH, VOCAL_NOISE, NOISE, BLEED = LABELS = ("laughter", "breath", "vocal_noise", "noise", "bleed")
VOCAL = frozenset({LAUGHTER, BREATH, VOCAL_NOISE})  # a person who makes these sounds cannot speak meanwhile
SILENCE = "silence"  # a mark of silence: neither word nor sound

# In this order: a breath-laugh is laughter, vocalized noise is vocal.
_MEANINGS = {
    LAUGHTER: "laugh laughs laughing laughed laughter lg chuckle chuckles chuckling giggle giggles giggling",
    BREATH: "breath breaths breathe breathes breathing br inhale inhales exhale exhales inbreath outbreath sigh sighs "
    "sighing gasp gasps",
    VOCAL_NOISE: "vocal vocalized vocalised mouth mn throat tongue lip lips lipsmack lipsmacks smack smacks cough "
    "coughs coughing cg sneeze sneezes sniff sniffs sniffing sniffle sniffles snort snorts swallow swallows yawn yawns "
    "yawning hiccup hiccups burp burps",
    NOISE: "noise noises ns click clicks static distortion music beep beeps ring rings ringing rustle rustling knock "
    "knocks knocking slam slams applause",
    BLEED: "bleed crosstalk",
    SILENCE: "silence sil pause blank",
    # Words that may accompany these and change nothing.
    "": "background quick loud soft deep heavy long short clear clears clearing door phone paper papers chair mike mic "
    "microphone audio audience channel line other playing",
}
_MEANING = {word: label for label, words in _MEANINGS.items() for word in words.split()}
_PAIRS = (("[", "]"), ("{", "}"), ("(", ")"), ("<", ">"))
_TAG = re.compile("|".join(rf"\{a}([^\{a}\{b}]*)\{b}" for a, b in _PAIRS) + r"|\*([^*]+)\*|\+\+([^+]+)\+\+|&=([\w:-]+)")
_LAUGHED = re.compile(r"\[laughter-(.+)\]([.,;:!?]*)", re.IGNORECASE)
_POINTS = " \t.,;:!?"
_OPENS = ("[", "{", "(", "<", "*")
_MOST_TOKENS = 4  # of one tag that was split into words: "[clears", "throat]"


class Token(Protocol):
    """A dataclass with a text and its time: a word, or a token in the place of a word."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def text(self) -> str: ...

    @property
    def end_ms(self) -> int: ...


AnyToken = TypeVar("AnyToken", bound=Token)


def sound_of(text: str) -> str | None:
    """The label of a text that consists of tags only; SILENCE for marks of silence, None for words.

    >>> sound_of("[laughter]"), sound_of("{lip smack},"), sound_of("[BLANK_AUDIO]"), sound_of("<unk>")
    ('laughter', 'vocal_noise', 'silence', None)
    """
    inner = [match[match.lastindex or 0] for match in _TAG.finditer(text)]
    if not inner or _TAG.sub("", text).strip(_POINTS) or _LAUGHED.fullmatch(text):
        return None
    labels = [described_as(part) for part in inner]
    if None in labels:
        return None
    return next((label for label in labels if label != SILENCE), SILENCE)


def described_as(description: str) -> str | None:
    """The label of a sound that is described in words; None if one of the words is unknown."""
    known = {_MEANING.get(word) for word in re.findall(r"[^\W\d_]+", description.lower())}
    return None if None in known else next((label for label in _MEANINGS if label and label in known), None)


def without_laughter_mark(text: str) -> str:
    """A word without the mark that it was spoken while laughing: `[laughter-yeah]` -> `yeah`. Other words stay."""
    laughed = _LAUGHED.fullmatch(text)
    return laughed[1] + laughed[2] if laughed else text


def tag(label: str) -> str:
    """How our word files write a sound: `[laughter]`; `sound_of` reads it."""
    return f"[{label}]"


def part_words(tokens: Sequence[AnyToken]) -> tuple[list[AnyToken], list[tuple[AnyToken, str]]]:
    """The words among timed tokens, and the tokens that are tags of sounds, each with its label.

    A tag that was split at its blanks is joined again. Marks of silence are neither words nor tags; a word that was
    spoken while laughing stays a word.
    """
    words: list[AnyToken] = []
    sounds: list[tuple[AnyToken, str]] = []
    at = 0
    while at < len(tokens):
        token, size = tokens[at], 1
        label = sound_of(token.text)
        if label is None and token.text.startswith(_OPENS):
            for more in range(2, _MOST_TOKENS + 1):
                joined = " ".join(part.text for part in tokens[at : at + more])
                if (label := sound_of(joined)) is not None:
                    size = min(more, len(tokens) - at)
                    token = replace(token, end_ms=tokens[at + size - 1].end_ms, text=joined)
                    break
        if label is None:
            words.append(replace(token, text=without_laughter_mark(token.text)))
        elif label != SILENCE:
            sounds.append((token, label))
        at += size
    return words, sounds
