"""Who may be seen and heard.

A person who agreed to `show` is shown. A person who agreed to other things but not to `show` has refused: a placeholder
is drawn, the voice is muted, the words are left out. Where nothing is known, the person is shown on this machine's
loopback only, with a banner; `--shared`, or a --host that others reach, hides these people too.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from wanstreamer.clock import Span, merge_spans

BANNER = (
    "No consent is on record for some people here. They are shown on this machine only: do not show them to others."
)
MUTED = "none"  # the verdict of a stretch of `bleed` in which the other voice is not in the track


class Person(NamedTuple):
    """Whether one participant is shown, and if not, why."""

    participant: str
    speaker_id: str | None  # None: not shown
    shown: bool
    known: bool  # whether anything is on record
    why: str | None


def person_of(track: Mapping[str, Any], *, strict: bool) -> Person:
    """The state of one row of `tracks`. `strict`: only who agreed to `show` is shown."""
    consent = track["consent"]
    shown = "show" in consent if consent is not None else not strict
    why = None
    if not shown:
        why = (
            "has not agreed to be shown" if consent is not None else "no consent is on record; shown with loopback only"
        )
    return Person(
        participant=track["participant"],
        speaker_id=track["speaker_id"] if shown else None,
        shown=shown,
        known=consent is not None,
        why=why,
    )


def people_of(tracks: Iterable[Mapping[str, Any]], *, strict: bool) -> dict[str, Person]:
    return {row["participant"]: person_of(row, strict=strict) for row in tracks}


def banner_of(people: Iterable[Person]) -> str | None:
    """The banner of a session with people who are shown although nothing is on record."""
    return BANNER if any(person.shown and not person.known for person in people) else None


def muted_spans(
    track: Mapping[str, Any], people: Mapping[str, Person], bleed: Sequence[Mapping[str, Any]], duration_ms: int
) -> list[Span]:
    """Where a person's track is muted: throughout if the person is not shown; else where another one who is not shown
    may be heard in it (sound that several share, a voice that another microphone picked up).

    `bleed`: the rows of the session; where there are none, only `tracks.mixed` is known.
    """
    own = track["participant"]
    if not people[own].shown:
        return [Span(0, duration_ms)]
    hidden = {who for who, person in people.items() if not person.shown and who != own}
    if not hidden:
        return []
    spans = [Span(span["start_ms"], span["end_ms"]) for span in track["mixed"]]
    spans += [
        Span(row["start_ms"], row["end_ms"])
        for row in bleed
        if row["participant"] == own and row["other"] in hidden and row["verdict"] != MUTED
    ]
    return merge_spans(spans)
