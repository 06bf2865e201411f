"""Source files -> how their clocks run: where streams begin and end, what is missing, and where timestamps start again.

Everything is read from packets; nothing is decoded.
"""

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from pipelines.engine.jobs import Rejected
from pipelines.media.claims import Reached
from pipelines.media.ffmpeg import GAP_S, Source
from pipelines.media.probing import open_source
from wanstreamer.clock import Span

SEEKS_EXACTLY = frozenset({"mov", "matroska"})  # formats with an index of keyframes
HELD_MS = 500  # a longer time without a new frame is a hold; 500 ms is slower than any camera
BACK_S = 0.1  # timestamps that jump back by more have started again; interleaving and B-frames cause less
AHEAD_S = 3600.0  # timestamps that jump ahead by more have started again; no outage lasts so long
LONE_S = 60.0  # packets after a longer gap may have wrong timestamps ...
LONE_CONTENT_S = 1.0  # ... if they hold less than this, and no other stream goes on until then
_TS_DISCONT = 0x200  # libavformat's flag for formats whose timestamps may restart


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """How the clock of a source runs; 0 is the start of the file. Times are in ms; spans are sorted and disjoint."""

    source: Source  # with one clock; a copy, if timestamps started again
    video_end_ms: int | None  # end of the last frame; None without video
    audio_end_ms: int | None
    audio_gaps: tuple[Span, ...]  # without sound, counted from the start of the file; filled with silence
    audio_cut_ms: int  # sound that overlaps earlier sound; dropped
    video_holds: tuple[Span, ...]  # over HELD_MS without a new frame; the frame before stands
    video_keys_ms: tuple[int, ...]  # media times at which decoding can begin; empty if seeking is not exact
    joins: int  # how often timestamps started again; each part is put after the one before
    reached: Reached = Reached()
    video_last_ms: int = 0  # when the last frame is shown
    audio_packet_ms: float = 0.0  # the usual length of a packet of sound


@dataclass(frozen=True)
class _Clock:
    """The timestamps of one stream's packets, in seconds, in the order of the file."""

    decoded_N: np.ndarray
    shown_N: np.ndarray
    duration_N: np.ndarray  # 0 if the file does not state it

    def parts(self) -> np.ndarray:
        """Per packet: how often timestamps have started again before it."""
        steps = np.diff(self.decoded_N, prepend=self.decoded_N[:1])
        return np.cumsum((steps < -BACK_S) | (steps > AHEAD_S))

    def moved(self, by_s: "np.ndarray | float") -> "_Clock":
        return replace(self, decoded_N=self.decoded_N + by_s, shown_N=self.shown_N + by_s)


def timeline(source: Source, scratch: Path) -> Timeline:
    """Read a source's clock from its packets, without decoding.

    The duration in the container is wrong for files that were cut short; packets are right. If the timestamps of all
    chosen streams start again (recordings joined end to end), the packets are copied to `scratch` on one clock: each
    part begins where the longer stream of the part before ended, so that audio and video stay in sync within a part. If
    only one stream jumps, it keeps its timestamps: overlapping content is dropped, and later content stays in place,
    except for a few packets that are far from everything else.

    Raises Rejected `truncated` if reading fails before the end of the file.
    """
    chosen = source
    try:
        clocks, start_s, keys_ms, others_end_s = _clocks(source)
        ends_s = {index: float((clock.shown_N + clock.duration_N).max()) for index, clock in clocks.items()}
        shifts_s = _shifts_s(list(clocks.values()), start_s)
        if len(shifts_s) == 1:
            clocks = {index: clock.moved(shifts_s[0]) for index, clock in clocks.items()}
            source = replace(source, start_s=start_s)
            clocks, lost_s = _without_lone_packets(clocks)
            ends_s = {index: _end_s(clock) + start_s for index, clock in clocks.items()}
        else:
            lost_s = {}
            clocks = {index: clock.moved(np.array(shifts_s)[clock.parts()]) for index, clock in clocks.items()}
            source = _joined(source, clocks, scratch)
    except (av.error.FFmpegError, ValueError) as error:
        raise Rejected("truncated", f"{source.path.name}: {type(error).__name__} while reading packets") from error
    video, audio = (clocks.get(-1 if index is None else index) for index in (chosen.video, chosen.audio))
    audio_gaps, audio_cut_ms = _gaps(audio) if audio is not None else ((), 0)
    begin_s = start_s

    def reached_ms(*which_ends_s: float) -> int:
        return round(1000 * (max(begin_s, *which_ends_s) - begin_s)) if which_ends_s else 0

    return Timeline(
        source=source,
        video_end_ms=round(1000 * _end_s(video)) if video is not None else None,
        audio_end_ms=round(1000 * _end_s(audio)) if audio is not None else None,
        audio_gaps=audio_gaps,
        audio_cut_ms=audio_cut_ms + round(1000 * lost_s.get(-1 if chosen.audio is None else chosen.audio, 0.0)),
        reached=Reached(
            video_ms=reached_ms(*(end_s for index, end_s in ends_s.items() if index == chosen.video)),
            audio_ms=reached_ms(*(end_s for index, end_s in ends_s.items() if index == chosen.audio)),
            file_ms=reached_ms(*ends_s.values(), others_end_s),
        ),
        video_last_ms=round(1000 * float(video.shown_N.max())) if video is not None else 0,
        audio_packet_ms=1000 * _packet_s(audio) if audio is not None else 0.0,
        video_holds=_holds(video) if video is not None else (),
        video_keys_ms=keys_ms if len(shifts_s) == 1 else (),
        joins=len(shifts_s) - 1,
    )


class PacketTimes(NamedTuple):
    """When the packets of one stream are shown, in order: where `timeline` puts them, and their own timestamps."""

    media_s_N: np.ndarray  # from the start of the file, on one clock
    stamp_s_N: np.ndarray  # as in the file
    last_s: float  # how long the last one lasts


def packet_times(source: Source, stream: int) -> PacketTimes:
    """The times of the packets that `timeline` uses of a stream (an index among all of the file), without decoding.

    Raises Rejected `truncated` if reading fails before the end of the file.
    """
    clocks, start_s, _, _ = _clocks(source)
    shifts_s = _shifts_s(list(clocks.values()), start_s)
    if len(shifts_s) == 1:
        clock = _without_lone_packets(clocks)[0][stream]
        media_N = clock.moved(shifts_s[0]).shown_N
    else:
        clock = clocks[stream]
        media_N = clock.moved(np.array(shifts_s)[clock.parts()]).shown_N
    order = np.argsort(media_N, kind="stable")
    last_s = float(clock.duration_N[order[-1]]) or _packet_s(clock)
    return PacketTimes(media_N[order], clock.shown_N[order], last_s)


def _end_s(clock: _Clock) -> float:
    return float((clock.shown_N + clock.duration_N).max())


def _packet_s(clock: _Clock) -> float:
    """The usual length of a packet."""
    if stated_s := float(np.median(clock.duration_N)):
        return stated_s
    return float(np.median(np.diff(np.sort(clock.shown_N)))) if len(clock.shown_N) > 1 else 0.0


def _without_lone_packets(clocks: dict[int, _Clock]) -> tuple[dict[int, _Clock], dict[int, float]]:
    """The clocks without packets at the end of a stream whose timestamps cannot be right, and how much they hold (s).

    Such packets come after a gap in which no other stream has packets either, and hold next to nothing; or they come
    after a gap that no recording has.
    """
    kept, lost_s = dict(clocks), {}
    for index, clock in clocks.items():
        others_end_s = max((_end_s(other) for place, other in clocks.items() if place != index), default=math.inf)
        order = np.argsort(clock.shown_N, kind="stable")
        shown_N, duration_N = clock.shown_N[order], clock.duration_N[order]
        end_N = np.maximum.accumulate(shown_N + duration_N)
        gap_N = shown_N[1:] - end_N[:-1]
        count = int(np.flatnonzero(gap_N > AHEAD_S)[0]) + 1 if (gap_N > AHEAD_S).any() else len(shown_N)
        for last in np.flatnonzero(gap_N[: count - 1] > LONE_S)[::-1]:
            if end_N[count - 1] - shown_N[last + 1] >= LONE_CONTENT_S or shown_N[last + 1] <= others_end_s:
                break
            count = int(last) + 1
        if count < len(order):
            inside = np.sort(order[:count])
            kept[index] = _Clock(clock.decoded_N[inside], clock.shown_N[inside], clock.duration_N[inside])
            lost_s[index] = (len(order) - count) * _packet_s(clock)
    return kept, lost_s


def _packets(
    container: "av.container.InputContainer", chosen: Sequence[Any]
) -> "Iterator[tuple[av.Packet, int, float, float, int]]":
    """Packets of some streams that have a time, each with its stream index, the seconds per tick of the stream's
    clock, and the ticks at which it is decoded (nan: not stated) and shown."""
    ticks_s = {stream.index: float(stream.time_base or 0) for stream in chosen}
    for packet in container.demux(chosen):
        decoded, shown, index = packet.dts, packet.pts, packet.stream_index
        if shown is None:
            shown = decoded
        if shown is not None and ticks_s[index]:
            yield packet, index, ticks_s[index], math.nan if decoded is None else decoded, shown


def _clocks(source: Source) -> tuple[dict[int, _Clock], float, tuple[int, ...], float]:
    """The clock of each stream, the timestamp at the start of the file, the media times of video keyframes, and the
    timestamp at which the streams end that were not chosen."""
    stamps: dict[int, list[tuple[float, float, float]]] = {}
    keys, others_end_s = [], -math.inf
    with open_source(source.path) as container:
        for packet, index, tick_s, decoded, shown in _until_error(
            _packets(container, list(container.streams)), source, stamps
        ):
            if index not in (source.video, source.audio):
                others_end_s = max(others_end_s, (shown + (packet.duration or 0)) * tick_s)
                continue
            stamp = (decoded * tick_s, shown * tick_s, (packet.duration or 0) * tick_s)
            stamps.setdefault(index, []).append(stamp)
            if index == source.video and packet.is_keyframe:
                keys.append(round(1000 * (stamp[1] - source.start_s)))
        clocks = {index: _clock(np.array(stream_stamps)) for index, stream_stamps in stamps.items()}
        exact = bool(SEEKS_EXACTLY & set(container.format.name.split(",")))
        if clocks and _clock_may_restart(container):  # other programmes of a broadcast have other clocks
            start_s = min(float(clock.shown_N[clock.parts() == 0].min()) for clock in clocks.values())
            return clocks, start_s, (), others_end_s
        return clocks, source.start_s, tuple(keys) if exact else (), others_end_s


def _clock_may_restart(container: "av.container.InputContainer") -> bool:
    """Whether the format is made for broadcast, such as MPEG-TS."""
    return bool(container.format.flags & _TS_DISCONT)


def _until_error(
    packets: "Iterator[tuple[av.Packet, int, float, float, int]]",
    source: Source,
    stamps: Mapping[int, Sequence[tuple[float, float, float]]],
) -> "Iterator[tuple[av.Packet, int, float, float, int]]":
    """The packets. Raises Rejected `truncated` where reading fails; `stamps`: of the chosen streams until then."""
    try:
        yield from packets
    except av.error.FFmpegError as error:
        end_s = max((shown_s for stream in stamps.values() for _, shown_s, _ in stream), default=source.start_s)
        where = f"packets cannot be read after {round(1000 * (end_s - source.start_s))} ms"
        raise Rejected("truncated", f"{source.path.name}: {where}: {type(error).__name__}") from error


def _clock(stamps_N3: np.ndarray) -> _Clock:
    """Columns: decoded, shown, duration. Matroska does not state when frames before the first B-frame are decoded."""
    decoded_N, shown_N, duration_N = stamps_N3.T
    known = np.flatnonzero(~np.isnan(decoded_N))
    if not len(known):
        return _Clock(shown_N, shown_N, duration_N)
    latest = np.searchsorted(known, np.arange(len(decoded_N)), side="right") - 1
    return _Clock(decoded_N[known[np.maximum(latest, 0)]], shown_N, duration_N)


def _shifts_s(clocks: Sequence[_Clock], start_s: float) -> list[float]:
    """Seconds to add to the timestamps of each part, so that the first begins at 0 and each other after the last."""
    parts = [clock.parts() for clock in clocks]
    shifts = [-start_s]
    if len({int(part_N.max()) for part_N in parts}) != 1:  # the streams did not start again together
        return shifts
    for part in range(1, int(parts[0].max()) + 1):
        before = [(clock, part_N == part - 1) for clock, part_N in zip(clocks, parts, strict=True)]
        end_s = max(float((clock.shown_N + clock.duration_N)[inside].max()) for clock, inside in before) + shifts[-1]
        begin_s = min(float(clock.shown_N[part_N == part].min()) for clock, part_N in zip(clocks, parts, strict=True))
        shifts.append(end_s - begin_s)
    return shifts


def _joined(source: Source, clocks: dict[int, _Clock], scratch: Path) -> Source:
    """A copy of the chosen streams on one clock. NUT can hold any codec, and keeps the precision of timestamps.

    It has no negative ones, but pictures that depend on later ones are decoded before the clock begins: all are later
    in the copy, and `start_s` says by how much.
    """
    start_s = max(0.0, -min(float(clock.decoded_N.min()) for clock in clocks.values()))
    path = Path(tempfile.mkdtemp(dir=scratch)) / "joined.nut"  # files of several participants may have the same name
    counts = dict.fromkeys(clocks, 0)
    with open_source(source.path) as container, av.open(str(path), "w", format="nut") as target:
        streams = {index: target.add_stream_from_template(container.streams[index]) for index in clocks}
        for packet, index, tick_s, _, _ in _packets(container, [container.streams[index] for index in clocks]):
            clock, count = clocks[index], counts[index]
            stamps_s = (start_s + float(at_N[count]) for at_N in (clock.shown_N, clock.decoded_N))
            packet.pts, packet.dts = (round(stamp_s / tick_s) for stamp_s in stamps_s)
            packet.stream = streams[index]
            target.mux(packet)
            counts[index] += 1
    places = {index: stream.index for index, stream in streams.items()}
    video, audio = (None if index is None else places[index] for index in (source.video, source.audio))
    return replace(source, path=path, video=video, audio=audio, start_s=start_s)


def _gaps(audio: _Clock) -> tuple[tuple[Span, ...], int]:
    """Spans without sound in any packet, and how much sound (ms) overlaps earlier sound."""
    end_N = np.maximum.accumulate(np.append(0.0, audio.shown_N + audio.duration_N))[:-1]
    known_N = np.append(True, audio.duration_N[:-1] > 0)
    late_N, early_N = audio.shown_N - end_N, np.minimum(end_N - audio.shown_N, audio.duration_N)
    gaps = np.flatnonzero(known_N & (late_N > GAP_S))
    cut_s = float(early_N[(end_N - audio.shown_N > GAP_S) & (audio.shown_N >= 0)].sum())
    spans = tuple(Span(round(1000 * end_N[gap]), round(1000 * audio.shown_N[gap])) for gap in gaps)
    return spans, round(1000 * cut_s)


def _holds(video: _Clock) -> tuple[Span, ...]:
    """Spans of more than HELD_MS without a new frame."""
    shown_ms = 1000 * np.append(0.0, np.maximum(0, np.sort(video.shown_N)))
    return tuple(
        Span(round(shown_ms[index]), round(shown_ms[index + 1]))
        for index in np.flatnonzero(np.diff(shown_ms) > HELD_MS)
    )
