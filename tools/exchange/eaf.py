"""ELAN's EAF, through pympi-ling: a tier per participant and kind, and links to the media, so that ELAN plays them."""

import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tools.exchange.intervals import (
    Interval,
    Losses,
    Read,
    Written,
    in_order,
    not_held,
    on_one_line,
    possible,
    safe_names,
)
from tools.exchange.tiers import is_instant, lanes, tier_meaning, tier_name
from wanstreamer.errors import InputError

_NO_XML = re.compile("[^\t\n -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
EPOCH = "1970-01-01T00:00:00+00:00"  # a fixed date: equal intervals give equal bytes, at any time


def write_eaf(intervals: Sequence[Interval], media: Sequence[Path] = (), folder: Path | None = None) -> Written:
    """`media` are linked by absolute path and by the path relative to `folder`, the folder of the EAF."""
    elan = _pympi()
    losses = not_held(intervals, confidence=False)
    losses["instants, written 1 ms long"] = sum(map(is_instant, intervals))
    losses["control characters, written as spaces"] = sum(bool(_NO_XML.search(interval.text)) for interval in intervals)
    names = safe_names(
        (interval.participant for interval in intervals),
        lambda name: _NO_XML.sub(" ", on_one_line(name)),
        losses,
        "line breaks and control characters in names",
    )
    eaf = elan.Eaf(author="WanStreamer")
    eaf.adocument["DATE"] = EPOCH
    eaf.remove_tier("default")
    for path in media:
        near = os.path.relpath(path.resolve(), (folder or Path()).resolve())
        eaf.add_linked_file(path.resolve().as_uri(), relpath=Path(near).as_posix(), mimetype=_mime(path))
    lasting = [_lasting(interval) for interval in intervals]
    for (kind, participant, lane), own in lanes(lasting).items():
        tier = tier_name(kind, names[participant], lane)
        eaf.add_tier(tier, part=names[participant])
        for interval in own:
            eaf.add_annotation(tier, interval.start_ms, interval.end_ms, _NO_XML.sub(" ", interval.text))
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + elan.to_string(eaf) + "\n", +losses


def _lasting(interval: Interval) -> Interval:
    return replace(interval, end_ms=interval.start_ms + 1) if is_instant(interval) else interval


def read_eaf(path: Path, session_id: str) -> Read:
    """Annotations of dependent tiers get the times of the annotations they depend on."""
    elan = _pympi()
    losses, intervals = Losses(), []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # for versions that pympi does not know: the parts read here have not changed
            eaf = elan.Eaf(str(path))
    except Exception as error:  # pympi raises Exception itself, and KeyError for XML that is not an EAF
        raise InputError(f"{path}: not an EAF that pympi-ling can read; open and save it with ELAN") from error
    for name in eaf.get_tier_names():
        kind, participant = tier_meaning(name)
        speaker = eaf.get_parameters_for_tier(name).get("PARTICIPANT")
        if speaker and "@" not in name:
            kind, participant = name, speaker
        for start_ms, end_ms, text, *_ in _annotations(eaf, name):
            if start_ms is None or end_ms is None:
                losses["annotations without times, left out"] += 1
                continue
            intervals.append(
                Interval(
                    session_id=session_id,
                    participant=participant,
                    kind=kind,
                    start_ms=start_ms,
                    end_ms=end_ms,
                    text=text or "",
                )
            )
    return possible(in_order(intervals), losses), +losses


def _annotations(eaf: Any, name: str) -> list[tuple[Any, ...]]:
    aligned, dependent, *_ = eaf.tiers[name]
    if dependent:
        return eaf.get_ref_annotation_data_for_tier(name)
    return [(eaf.timeslots[start], eaf.timeslots[end], text) for start, end, text, _ in aligned.values()]


def _mime(path: Path) -> str:
    return {".mp4": "video/mp4", ".wav": "audio/x-wav"}.get(path.suffix, "unknown")


def _pympi() -> Any:
    try:
        import pympi.Elan
    except ImportError as error:
        raise InputError(
            "EAF needs pympi-ling; install the extra: uv pip install -e '.[exchange]' -c constraints.txt"
        ) from error
    return pympi.Elan
