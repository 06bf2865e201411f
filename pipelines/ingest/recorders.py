"""The files of a session -> how their clocks differ, and their clocks after a correction.

A participant's sound may come from another recorder than the picture. If the camera recorded sound too, both are
compared, and so are the recorders of two participants, who may be heard in each other's (signals/alignment.py). The
correction moves and stretches files: all that could be compared follow the clock of the first participant's `uri`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.ingest.clocks import FileClock, RowClocks
from pipelines.media.timelines import Timeline
from pipelines.signals.alignment import compare_people, compare_scene
from pipelines.signals.clock_fit import ClockFit
from pipelines.sources.row import SourceRow
from wanstreamer.clock import FRAME_MS


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The clock of a file's sound, compared with that of a reference."""

    participant: str
    of_camera: bool  # the reference is the camera of the same participant; else it is another participant's sound
    reference: str  # participant
    files: tuple[str, str]  # of the reference, of the sound
    stated_lag_ms: float  # how much later an instant is in the sound's file, as the manifest states it
    fit: ClockFit

    def begin_ms(self) -> float:
        """When the sound's file begins, on the clock of the reference's file."""
        return (self.fit.offset_ms or 0.0) - self.stated_lag_ms

    def rate(self) -> float:
        """Time of the sound's file that passes in 1 ms of the reference's."""
        return 1 + (self.fit.drift_ppm or 0.0) * 1e-6


def has_camera_sound(row: SourceRow, picture: Timeline | None) -> bool:
    """Whether a row has two recordings of its sound: the camera's own, and a recorder's."""
    return picture is not None and picture.source.audio is not None and row.audio_uri not in (None, row.uri)


def compare_recorders(
    rows: Sequence[SourceRow],
    clocks: Sequence[RowClocks],
    sounds: Sequence[np.ndarray | None],
    camera_sounds: Mapping[str, np.ndarray],
    rate_hz: int,
) -> list[Comparison]:
    """Compare each recorder with its camera (`camera_sounds`: by `uri`), and with the first participant's recorder."""
    comparisons = []
    first: int | None = None  # the first row with a sound of its own
    for place, (row, clock, sound) in enumerate(zip(rows, clocks, sounds, strict=True)):
        if sound is None:
            continue
        if row.uri in camera_sounds and row.audio_uri not in (None, row.uri):
            lag_ms = clock.picture.start_ms - clock.sound.start_ms
            fit = compare_scene(camera_sounds[row.uri], sound, rate_hz, lag_ms / 1000)
            comparisons.append(
                Comparison(
                    participant=row.participant,
                    of_camera=True,
                    reference=row.participant,
                    files=(row.uri, sound_file(row)),
                    stated_lag_ms=lag_ms,
                    fit=fit,
                )
            )
        if row.audio_kind != "own":
            continue
        if first is None:
            first = place
        reference = sounds[first]
        if sound_file(row) != sound_file(rows[first]) and reference is not None:
            lag_ms = clocks[first].sound.start_ms - clock.sound.start_ms
            comparisons.append(
                Comparison(
                    participant=row.participant,
                    of_camera=False,
                    reference=rows[first].participant,
                    files=(sound_file(rows[first]), sound_file(row)),
                    stated_lag_ms=lag_ms,
                    fit=compare_people(reference, sound, rate_hz, lag_ms / 1000),
                )
            )
    return comparisons


def sound_file(row: SourceRow) -> str:
    return row.audio_uri or row.uri


def corrected_clocks(
    rows: Sequence[SourceRow], clocks: Sequence[RowClocks], comparisons: Sequence[Comparison]
) -> list[RowClocks]:
    """The clocks of all rows, with every file that could be measured on the clock of the first `uri` it is tied to."""
    placed: dict[str, FileClock] = {}
    ties = sorted((each for each in comparisons if each.fit.finding == "measured"), key=lambda each: not each.of_camera)
    for row, clock in zip(rows, clocks, strict=True):
        for name, stated in ((row.uri, clock.picture), (sound_file(row), clock.sound)):
            if name in placed:
                continue
            placed[name] = stated
            while tie := next((each for each in ties if len(placed.keys() & set(each.files)) == 1), None):
                reference, sound = tie.files
                if sound in placed:
                    begin = placed[sound].time_ms(-tie.begin_ms() * tie.rate())
                    placed[reference] = FileClock(start_ms=begin, rate=placed[sound].rate * tie.rate())
                else:
                    begin = placed[reference].time_ms(tie.begin_ms())
                    placed[sound] = FileClock(start_ms=begin, rate=placed[reference].rate / tie.rate())
    return [RowClocks(picture=placed[row.uri], sound=placed[sound_file(row)]) for row in rows]


def clock_facts(
    rows: Sequence[SourceRow],
    stated: Sequence[RowClocks],
    clocks: Sequence[RowClocks],
    comparisons: Sequence[Comparison],
) -> dict[str, dict[str, dict[str, Any] | None]]:
    """Participant -> `tracks.camera_clock` and `tracks.partner_clock`. `clocks`: those the tracks are made with."""
    facts: dict[str, dict[str, dict[str, Any] | None]]
    facts = {row.participant: {"camera_clock": None, "partner_clock": None} for row in rows}
    before, after = _by_file(rows, stated), _by_file(rows, clocks)
    for each in comparisons:
        fit = each.fit
        reference, sound = each.files
        moved = (before[reference], before[sound]) != (after[reference], after[sound])
        facts[each.participant]["camera_clock" if each.of_camera else "partner_clock"] = {
            "reference": each.reference,
            "finding": fit.finding,
            "offset_ms": fit.offset_ms,
            "drift_ppm": fit.drift_ppm,
            "drift_error_ppm": fit.drift_error_ppm,
            "confidence": fit.confidence,
            "num_jumps": len(fit.jumps),
            "apart_ms": _apart_ms(each, after[reference], after[sound]),
            "corrected": fit.finding == "measured" and moved,
        }
    return facts


def _by_file(rows: Sequence[SourceRow], clocks: Sequence[RowClocks]) -> dict[str, FileClock]:
    sounds = {sound_file(row): clock.sound for row, clock in zip(rows, clocks, strict=True)}
    return sounds | {row.uri: clock.picture for row, clock in zip(rows, clocks, strict=True)}


def _apart_ms(comparison: Comparison, reference: FileClock, sound: FileClock) -> float | None:
    """The farthest that the sound lies from the reference in the tracks; positive: it is later."""
    fit = comparison.fit
    if fit.offset_ms is None:
        return None
    steps = [(0.0, 0.0), *fit.jumps]
    jumped, worst = 0.0, fit.residual_ms or 0.0
    for number, (_, step_ms) in enumerate(steps):
        jumped += step_ms
        begin = steps[number][0] if number else fit.span_ms[0]
        end = steps[number + 1][0] if number + 1 < len(steps) else fit.span_ms[1]
        for at_ms in (begin, end):
            media_ms = (at_ms - comparison.begin_ms()) * comparison.rate() + jumped
            worst = max(worst, sound.time_ms(media_ms) - reference.time_ms(at_ms), key=abs)
    return round(worst, 1)


def clock_rejections(
    session_id: str, comparisons: Sequence[Comparison], align_recorders: bool
) -> list[tuple[str, str, str]]:
    """Clocks that cannot be corrected: those that jump; and, if asked for, recorders that do not fit their camera."""
    rejections = []
    for each in comparisons:
        key = f"{session_id}/{each.participant}"
        where = "the camera's sound" if each.of_camera else f"the sound of {each.reference}"
        if each.fit.finding == "clock_jumps":
            rejections.append((key, "clock_jumps", f"compared with {where}: {_jump_detail(each.fit)}"))
        elif align_recorders and each.of_camera and each.fit.finding != "measured":
            detail = f"compared with {where}: {each.fit.finding}; it is placed as the manifest states"
            rejections.append((key, "clock_not_measured", detail))
    return rejections


def _jump_detail(fit: ClockFit) -> str:
    first_ms, step_ms = fit.jumps[0]
    return f"{len(fit.jumps)} times, first by {step_ms:.0f} ms near {first_ms / 1000:.0f} s"


def clock_warning(tracks: Iterable[pa.Table]) -> str:
    """What to do if the sound of some tracks lies a frame or more from what it was compared with; empty: nothing.

    `tracks`: the table, with the columns `camera_clock` and `partner_clock`.
    """
    count, worst_ms = 0, 0.0
    for rows in tracks:
        apart = np.zeros(rows.num_rows)
        for name in ("camera_clock", "partner_clock"):
            clock = rows[name].combine_chunks()
            values = pc.fill_null(pc.struct_field(clock, "apart_ms"), 0.0).to_numpy(zero_copy_only=False)
            apart = np.maximum(apart, np.abs(values))
        count += int((apart >= FRAME_MS).sum())
        worst_ms = max(worst_ms, float(apart.max(initial=0)))
    if not count:
        return ""
    return (
        f"the sound of {count} tracks lies up to {worst_ms:.0f} ms from that of their camera or of the other person; "
        "ingest.align_recorders=true corrects clocks that do not jump, and the view recorder_clocks lists them"
    )
