"""One session's latents and annotations + who is the agent -> every field of a training window, over the whole session.

Roles begin here: each participant is the agent once and the user once. Text ids are assigned to units. The user's audio
is masked where it would contain the agent's own voice (shared sound, bleed); the agent's audio and text get no loss
where they are not certainly its own voice alone; video is masked where it does not show the person. `pack` cuts the
result into windows.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipelines.formats.tokenizer import BLANK_ID, MISSING_ID, TextTokenizer
from pipelines.pack.params import ViewParams
from schemas.windows import WINDOW_FIELDS
from wanstreamer.clock import Span, unit_of_ms, units_touched
from wanstreamer.windows.manifest import INTERRUPTION_ROLES


class UnitRow(NamedTuple):
    """What a role view takes from a row of the table `units`; a job carries it as a list."""

    unit: int
    speech_ms: int | None  # None: no speech can be attributed with certainty
    backchannel: bool
    interruption_role: str | None
    audio_mixed: bool
    non_speech: bool
    bleed_db: float | None = None  # level at which another voice reaches this track; None: none does
    bleed_heard: bool = False  # such a voice is heard in this unit
    video_visible: bool | None = None  # False: the video does not show the participant in all of it; None: no video

    @property
    def may_speak(self) -> bool:
        return self.speech_ms is None or self.speech_ms > 0


class WordRow(NamedTuple):
    """What a role view takes from a row of the table `words`."""

    word: str
    start_ms: int
    end_ms: int
    times_fit: bool = True  # false for all words of a transcript that does not fit the speech


def _units(spec: Mapping[str, Any], who: str) -> list[UnitRow]:
    return sorted((UnitRow(*row) for row in spec["units"][who]), key=lambda row: row.unit)


def role_pairs(spec: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(agent, user) of all role views: both views of a dyad, or of every pair that the manifest names in a group."""
    tracks = spec["tracks"]
    if len(tracks) == 2:
        pairs = {tuple(tracks)}
    else:
        pairs = {(who, partner) for who, track in tracks.items() for partner in track["partners"] or ()}
    return sorted({pair for first, second in pairs for pair in ((first, second), (second, first))})


def others_speak(spec: Mapping[str, Any], agent: str, user: str) -> np.ndarray:
    """bool (num_units,): someone else speaks in the unit, or may speak (speech that cannot be attributed)."""
    speak = np.zeros(spec["num_units"], dtype=bool)
    for who in spec["units"]:
        if who not in (agent, user):
            speak |= np.array([row.may_speak for row in _units(spec, who)], dtype=bool)
    return speak


def allot_text(words: Iterable[tuple[int, Sequence[int]]], num_units: int, text_slots: int) -> tuple[np.ndarray, int]:
    """Assign the text ids of words to units.

    Args:
        words: (earliest unit, ids) in speaking order.

    Returns:
        int32 (num_units, text_slots): at most `text_slots` ids per unit, first slots first; ids that do not fit are
        queued into the next units, BLANK elsewhere; and the number of ids that fell past the session's end.
    """
    slots = np.full(num_units * text_slots, BLANK_ID, dtype=np.int32)
    place = lost = 0
    for earliest_unit, ids in words:
        place = max(place, earliest_unit * text_slots)
        for text_id in ids:
            if place < len(slots):
                slots[place] = text_id
            else:
                lost += 1
            place += 1
    return slots.reshape(num_units, text_slots), lost


def agent_words(words: Iterable[WordRow], tokenizer: TextTokenizer, lead_units: int) -> list[tuple[int, list[int]]]:
    """-> (earliest unit, ids): the unit of the word's start minus the lead."""
    ordered = sorted(words, key=lambda word: word.start_ms)
    return [(max(0, unit_of_ms(word.start_ms) - lead_units), tokenizer.encode_word(word.word)) for word in ordered]


def user_words(words: Iterable[WordRow], tokenizer: TextTokenizer) -> list[tuple[int, list[int]]]:
    """-> (earliest unit, ids): the unit after the one in which the word ends, never sooner."""
    ordered = sorted(words, key=lambda word: (word.end_ms, word.start_ms))
    return [
        (unit_of_ms(max(word.end_ms, word.start_ms + 1) - 1) + 1, tokenizer.encode_word(word.word)) for word in ordered
    ]


def view_masks(spec: Mapping[str, Any], agent: str, user: str, params: ViewParams) -> dict[str, np.ndarray]:
    """Why a unit is masked in one role view: reason -> bool (num_units,), all False for a reason that does not occur.

    `user_*` masks the input, `agent_*` the loss. Design invariant 10.
    """
    num_units = spec["num_units"]
    tracks, latents = spec["tracks"], spec["latents"]
    mixed = {who: _mixed_units(spec, who) for who in (agent, user)}
    whole = {True: np.ones(num_units, dtype=bool), False: np.zeros(num_units, dtype=bool)}
    return {
        "user_audio_missing": whole[latents[user]["audio_member"] is None],
        "user_audio_mixed": mixed[user],
        "user_audio_bleed": _bleeding(spec, agent, user, params),
        "user_video_missing": whole[latents[user]["video_member"] is None],
        "user_video_not_visible": _not_visible(spec, user),
        "user_text_missing": whole[tracks[user]["words_sha256"] is None],
        "user_text_unattributed": _owner_unknown(spec, user),
        "user_text_misplaced": whole[_is_misplaced(spec, user)],
        "agent_audio_missing": whole[latents[agent]["audio_member"] is None],
        "agent_audio_mixed": mixed[agent],
        "agent_audio_bleed": _bleeding(spec, user, agent, params),
        "agent_video_missing": whole[latents[agent]["video_member"] is None],
        "agent_video_not_visible": _not_visible(spec, agent),
        "agent_text_missing": whole[tracks[agent]["words_sha256"] is None],
        "agent_text_unattributed": whole[not tracks[agent]["attributed"]] | _owner_unknown(spec, agent),
        "agent_text_misplaced": whole[_is_misplaced(spec, agent)],
    }


def _bleeding(spec: Mapping[str, Any], voice: str, track: str, params: ViewParams) -> np.ndarray:
    """bool (num_units,): units in which the sound of `track` may contain `voice`."""
    # Speech that cannot be attributed (null) may be theirs; laughter bleeds just as speech does.
    sounding = np.array([row.may_speak or row.non_speech for row in _units(spec, voice)], dtype=bool)
    rows = _units(spec, track)
    loud = np.array([row.bleed_db is not None and row.bleed_db > params.max_bleed_db for row in rows], dtype=bool)
    heard = np.array([row.bleed_heard for row in rows], dtype=bool)
    return _widen(loud & (heard | sounding), params.bleed_guard_units)


def _not_visible(spec: Mapping[str, Any], who: str) -> np.ndarray:
    """bool (num_units,): the video is grey in the unit or in a part of it, as the person is in no shot."""
    return np.array([row.video_visible is False for row in _units(spec, who)], dtype=bool)


def _owner_unknown(spec: Mapping[str, Any], who: str) -> np.ndarray:
    """bool (num_units,): no one can tell whose voice the track holds, and so whose words its transcript has."""
    attributed = spec["tracks"][who]["attributed"]
    return np.array([attributed and row.audio_mixed and row.speech_ms is None for row in _units(spec, who)], dtype=bool)


def _is_misplaced(spec: Mapping[str, Any], who: str) -> bool:
    """Whether the times of the transcript do not fit the speech."""
    return not all(WordRow(*row).times_fit for row in spec["words"].get(who, []))


def _mixed_units(spec: Mapping[str, Any], who: str) -> np.ndarray:
    """bool (num_units,): units that share a millisecond with a mixed span, or that annotate marked as mixed."""
    mixed = np.array([row.audio_mixed for row in _units(spec, who)], dtype=bool)
    for span in spec["tracks"][who]["mixed"]:
        touched = units_touched(Span(span["start_ms"], span["end_ms"]))
        mixed[touched.start : touched.stop] = True
    return mixed


def _widen(flags: np.ndarray, units: int) -> np.ndarray:
    """Also True up to `units` units before and after a True."""
    return np.convolve(flags, np.ones(2 * units + 1, dtype=int), mode="full")[units : units + len(flags)] > 0


def make_view(
    spec: Mapping[str, Any],
    agent: str,
    user: str,
    tokenizer: TextTokenizer,
    params: ViewParams,
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """All fields of one role view except the latents, over the whole session (`WINDOW_FIELDS`, K = num_units).

    Also returns, per role, the number of text ids past the session's end, if there are any.
    """
    num_units, slots = spec["num_units"], params.text_slots
    masks = view_masks(spec, agent, user, params)
    view: dict[str, np.ndarray] = {}
    lost: dict[str, int] = {}
    for role, who in (("agent", agent), ("user", user)):
        for kind in ("audio", "video", "text"):
            hidden = [mask for reason, mask in masks.items() if reason.startswith(f"{role}_{kind}_")]
            view[f"{role}_{kind}_known"] = ~np.logical_or.reduce(hidden)
        words = [WordRow(*row) for row in spec["words"].get(who, [])]
        timed = (
            agent_words(words, tokenizer, params.text_lead_units) if role == "agent" else user_words(words, tokenizer)
        )
        text, past_end = allot_text(timed, num_units, slots)
        view[f"{role}_text"] = np.where(view[f"{role}_text_known"][:, None], text, np.int32(MISSING_ID))
        if past_end:
            lost[role] = past_end
    view["labels"] = _labels(spec, agent, user)
    return {name: array.astype(WINDOW_FIELDS[name][0]) for name, array in view.items()}, lost


def cut_window(
    view: Mapping[str, np.ndarray],
    media: Mapping[str, np.ndarray | None],
    shapes: Mapping[str, Sequence[int]],
    start: int,
    stop: int,
) -> dict[str, np.ndarray]:
    """All fields of units [start, stop): those of the view, and the latents of `media` where they are known.

    Args:
        media: `agent_audio`, ...: latents of the whole session; None if there are none.
        shapes: Of one unit's latents, by `audio` and `video`.
    """
    window = {name: np.ascontiguousarray(array[start:stop]) for name, array in view.items()}
    for name, latents in media.items():
        known = window[f"{name}_known"]
        shape = shapes[name.partition("_")[2]]
        if latents is None or not known.any():
            window[name] = np.zeros((stop - start, *shape), dtype=np.float16)
        else:
            window[name] = latents[start:stop]
            if not known.all():
                window[name] = np.where(known.reshape(-1, *[1] * len(shape)), window[name], np.float16(0))
    return window


def _labels(spec: Mapping[str, Any], agent: str, user: str) -> np.ndarray:
    """int32 (num_units, 4), columns `WINDOW_LABELS`."""
    labels = []
    for mine, theirs in zip(_units(spec, agent), _units(spec, user), strict=True):
        speech_ms = [-1 if row.speech_ms is None else row.speech_ms for row in (mine, theirs)]
        labels.append([*speech_ms, int(mine.backchannel), INTERRUPTION_ROLES[mine.interruption_role]])
    return np.array(labels, dtype=np.int32)
