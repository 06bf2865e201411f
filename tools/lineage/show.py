"""What tools.lineage found, as lines for people."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Found = Mapping[str, Any]
SHORT_HASH = 12


def unit_lines(traced: Found) -> list[str]:
    """The lines of `trace_unit`: from the window down to the files, for each role."""
    return list(_unit_lines(traced))


def _unit_lines(traced: Found) -> Iterator[str]:
    window, session = traced["window"], traced["session"]
    yield f"window {window['window_id']}, unit {traced['unit']} of {window['num_units']} ({window['split']})"
    yield (
        f"  {window['shard']} bytes {_range(window['offset'], window['offset'] + window['num_bytes'])}, "
        f"crc32 {window['crc32']:08x}, shard {_hash(window['shard_sha256'])}, format {window['format']}"
    )
    yield (
        f"session {session['session_id']}, unit {session['unit']}: {_seconds(session['from_ms'], session['to_ms'])} of "
        f"its tracks, which begin {session['origin_ms'] / 1000:.3f} s after the clock of the sources"
    )
    yield f"  layout {session['layout']}, sources {_hash(session['source_sha256'])} in {session['source'] or '?'}"
    if session["corrections"]:
        yield f"  corrected by people: {session['corrections']} lines in corrections/{session['session_id']}.jsonl"
    for role, found in traced["roles"].items():
        yield ""
        yield from _role_lines(role, found)
    if traced["uncertain_masks"]:
        yield ""
        yield (
            "the reasons of these masks are not certain, as pack ran with other parameters than these: "
            f"{', '.join(traced['uncertain_masks'])}; pass --params or --set of that run"
        )
    yield ""
    yield "made by (fingerprint of code, parameters and input content)"
    for stage, made in traced["made_by"].items():
        rejected = "; ".join(f"{one['times']} x {one['reason']} ({one['key']})" for one in made["rejected"])
        yield f"  {stage:<9} {_hash(made['fingerprint'])}{f'  rejected: {rejected}' if rejected else ''}"
    versions = {name: ", ".join(names) for name, names in traced["versions"].items() if names}
    if versions:
        yield "  " + "; ".join(f"{name}: {names}" for name, names in versions.items())


def _role_lines(role: str, found: Found) -> Iterator[str]:
    consent = "not known" if found["consent"] is None else ", ".join(found["consent"]) or "nothing"
    who = f" ({found['speaker_id']})" if found["speaker_id"] else ""
    yield f"{role}: participant {found['participant']}{who}; agreed to: {consent}; licence: {found['licence'] or '?'}"
    for kind in ("video", "audio"):
        yield f"  {kind}: {_is_known(found[kind])}"
        yield from _media_lines(kind, found[kind])
    text = found["text"]
    said = (
        "withheld: no consent to show it" if text["ids"] is None else f"ids {text['ids']} {text['said'] or ''}".rstrip()
    )
    yield f"  text:  {_is_known(text)}; {said}"
    if found["repairs"]:
        repairs = ", ".join(f"{name} {value}" for name, value in found["repairs"].items())
        yield f"  repaired in the whole track: {repairs}"
    for name, clock in found["clocks"].items():
        corrected = "corrected" if clock["corrected"] else "not corrected"
        yield f"  {name.replace('_', ' ')}: {clock['finding']}, {corrected}{_drift(clock)}"


def _media_lines(kind: str, media: Found) -> Iterator[str]:
    latents, track, source = media["latents"], media["track"], media["source"]
    if latents:
        yield (
            f"    latents  {latents['shard']} {latents['member']} row {latents['row']}, {_hash(latents['sha256'])}, "
            f"VAE {_hash(latents['vae_sha256'])}"
        )
    if track:
        counted = "frames" if kind == "video" else "samples"
        size = f"{track['size'][0]}x{track['size'][1]}" if kind == "video" else f"{track['rate_hz']} Hz"
        yield f"    track    {track['file']} {counted} {_range(*track[counted])}, {size}, {_hash(track['sha256'])}"
    if source:
        yield f"    source   {source['file']} stream {source['stream']}, {_hash(source['hash'])}"
        yield f"             {_seconds(source['from_ms'], source['to_ms'])} of the file{_rate(source['rate'])}"
        yield from (f"             {line}" for line in (_picture if kind == "video" else _sound)(source))


def _picture(source: Found) -> Iterator[str]:
    yield f"picture {_size(source['picture'])}{_fit(source)}"
    if source["frames"]:
        numbers = ", ".join(str(frame["source_frame"]) for frame in source["frames"])
        stamps = ", ".join(f"{frame['timestamp_s']:.6f}" for frame in source["frames"])
        yield f"its frames {numbers} (counted from 0), timestamps {stamps} s"
        crops = [frame.get("crop") for frame in source["frames"]]
        if source["crop_moves"]:
            yield "crops " + ", ".join("none (grey)" if crop is None else _box(crop) for crop in crops)
    yield from _notes(
        source, held_ms="held, as the file has no new frame", not_visible_ms="grey, as the person is not seen"
    )


def _sound(source: Found) -> Iterator[str]:
    which = "the mix of all channels" if source["channel"] is None else f"channel {source['channel']}"
    between = "" if source["positions"] is None else ", between which its samples are interpolated"
    yield f"{which}, decoded at {source['rate_hz']} Hz: samples {_range(*source['samples'])}{between}"
    if source["source_rate_hz"]:
        stamps = " to ".join(f"{stamp:.6f}" for stamp in source["timestamps_s"])
        samples = _range(*source["source_samples"])
        yield f"at the file's own {source['source_rate_hz']} Hz: samples {samples}, timestamps {stamps} s"
    yield from _notes(
        source, filled_ms="silence, as the file has no sound", silenced_ms="silenced, as others may speak there",
        louder_channel_ms="the louder channel, as the channels cancel each other", mixed_ms="several voices at once",
    )  # fmt: skip


def _notes(source: Found, **meanings: str) -> Iterator[str]:
    for name, meaning in meanings.items():
        if source[name]:
            yield f"{', '.join(_seconds(*span) for span in source[name])} of the tracks: {meaning}"
    if source.get("cannot_tell"):
        yield f"its frames and timestamps cannot be named: {source['cannot_tell']}"


def moment_lines(traced: Found, data: Path) -> list[str]:
    """The lines of `windows_of_source` and `windows_of_session`."""
    lines = [f"{traced.get('file') or traced['session_id']} at {traced['at_s']:.3f} s"]
    for moment in traced["moments"]:
        who = f"/{moment['participant']} ({' and '.join(moment['streams'])})" if "participant" in moment else ""
        where = f"{moment['session_id']}{who}: {moment['time_ms'] / 1000:.3f} s of the tracks"
        if "outside" in moment:
            lines.append(f"  {where}: in no track; {moment['outside']}")
            continue
        count = len(moment["windows"])
        lines.append(f"  {where}, unit {moment['unit']}, frame {moment['track_frame']}; in {count} windows")
        lines += [
            f"    {window['window_id']} unit {window['unit']}: agent {window['agent']}, user {window['user']}, "
            f"{window['split']}"
            for window in moment["windows"]
        ]
    example = next((window for moment in traced["moments"] for window in moment["windows"]), None)
    if example:
        lines.append(f"next: python -m tools.lineage {example['window_id']} {example['unit']} --data {data}")
    return lines


def _is_known(media: Found) -> str:
    if media["known"]:
        return "known"
    reasons = ", ".join(reason.replace("_", " ") for reason in media["masked_because"])
    return f"masked: {reasons or 'cannot tell why'}"


def _fit(source: Found) -> str:
    crop = f", its part {_box(source['crop'])}" if source["crop"] else ""
    place = _box(source["place_in_frame"]) if source["place_in_frame"] else "all"
    if source["crop_moves"]:
        return ", a part that follows the person"
    fit = source["fit"]
    rest = f"{fit['cut_left']:g} of the rest left of it, {fit['cut_top']:g} above"
    return f"{crop}, at {place} of the frame (zoom {fit['zoom']:g}, {rest})"


def _drift(clock: Found) -> str:
    offset = "" if clock["offset_ms"] is None else f"; {clock['offset_ms']:.1f} ms later than stated"
    drift = "" if clock["drift_ppm"] is None else f", {clock['drift_ppm']:+.1f} ppm"
    return offset + drift


def _rate(rate: float) -> str:
    return "" if rate == 1 else f", whose clock was corrected by {(rate - 1) * 1e6:+.1f} ppm"


def _hash(content: str | None) -> str:
    return "?" if not content else content[:SHORT_HASH]


def _range(first: float, end: float) -> str:
    return f"[{first}, {end})"


def _seconds(from_ms: float, to_ms: float) -> str:
    return f"{from_ms / 1000:.3f} to {to_ms / 1000:.3f} s"


def _size(size: Sequence[int]) -> str:
    return f"{size[0]}x{size[1]}"


def _box(box: Sequence[float]) -> str:
    return ":".join(f"{value:g}" for value in box)
