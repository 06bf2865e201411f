"""The kinds of scenes, and what is right for each. Imports no numpy, so that checking a parameter file is fast."""

from dataclasses import dataclass

MIN_SECONDS = 20  # less holds no exchange in which each speaks for some seconds
MIN_TWO_WORDS_SECONDS = 40  # in less, two words are more than 2 % of the speech


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a scene of this kind shows."""

    about: str
    voices: int  # who speak; a third who says two words is one of them
    rejection: str = ""  # the right one; empty: a conversation of two
    is_broken: bool = False  # no conversation that anyone would keep: any rejection that says why is right
    has_picture: bool = True
    has_sound: bool = True
    min_seconds: int = MIN_SECONDS


KINDS = {
    "two_shot": Kind(about="two people at a table, one camera", voices=2),
    "cuts": Kind(about="cuts between close-ups and both", voices=2),
    "side_by_side": Kind(about="a call, each in one half of the picture", voices=2),
    "gallery": Kind(about="a call in which the large tile or the order of tiles changes", voices=2),
    "thumbnails": Kind(about="a call in which the speaker is seen twice: in the large tile, and among all", voices=2),
    "off_screen": Kind(about="one person in the picture, and an interviewer behind the camera", voices=2),
    "two_words": Kind(
        about="two people at a table, and a third who says two words", voices=3, min_seconds=MIN_TWO_WORDS_SECONDS
    ),
    "poster": Kind(about="two people, and a poster with a face on the wall", voices=2),
    "music": Kind(about="cuts, with music in the background", voices=2),
    "captions": Kind(about="burned-in captions, at times across the mouths", voices=2),
    "echo": Kind(about="two people at some distance in a room with echo", voices=2),
    "sound": Kind(about="a sound file of one microphone", voices=2, has_picture=False),
    "still": Kind(about="a sound with one still picture, of no one", voices=2),
    "one_person": Kind(about="one person, alone", voices=1, rejection="one_person"),
    "one_person_poster": Kind(about="one person, and a poster with a face", voices=1, rejection="one_person"),
    "listener": Kind(about="two people, of whom one listens, nods and chews", voices=1, rejection="one_person"),
    "three": Kind(about="three people at a table, who all talk", voices=3, rejection="more_than_two"),
    "ten": Kind(about="a call of ten people", voices=10, rejection="more_than_two", is_broken=True),
    "crowd": Kind(about="ten people who all talk at once", voices=10, rejection="more_than_two", is_broken=True),
    "mute": Kind(about="two people, without sound", voices=2, rejection="no_audio", is_broken=True, has_sound=False),
    "slideshow": Kind(about="slides and one voice", voices=1, rejection="one_person", is_broken=True),
    "black": Kind(about="a black picture and one voice", voices=1, rejection="one_person", is_broken=True),
}
DYADS = tuple(name for name, kind in KINDS.items() if not kind.rejection)
NON_DYADS = tuple(name for name, kind in KINDS.items() if kind.rejection and not kind.is_broken)
# In the corpus of the sample, the first ones first: each is unlike those before it.
IN_CORPUS = ("two_shot", "gallery", "one_person", "cuts", "off_screen", "three", "side_by_side", "poster", "captions")
BROKEN = tuple(name for name, kind in KINDS.items() if kind.is_broken)
