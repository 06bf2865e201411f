"""ELAN's EAF, through pympi-ling: a tier per participant and kind; media linked, so that ELAN plays it."""

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
EPOCH = "1970-01-01T00:00:00+00:00"  # equal intervals are equal bytes, whenever they are written


def write_eaf(intervals: Sequence[Interval], media: Sequence[Path] = (), folder: Path | None = None) -> Written:
    """`media` are linked by their place and by the way to them from `folder`, where the EAF will lie."""
    elan = _pympi()
    losses = not_held(intervals, confidence=False)
    losses["instants, written 1 ms long"] = sum(map(is_instant, intervals))
    losses["control characters, written as spaces"] = sum(bool(_NO_XML.search(one.text)) for one in intervals)
    names = safe_names(
        (one.participant for one in intervals),
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
    lasting = [_lasting(one) for one in intervals]
    for (kind, participant, lane), own in lanes(lasting).items():
        tier = tier_name(kind, names[participant], lane)
        eaf.add_tier(tier, part=names[participant])
        for one in own:
            eaf.add_annotation(tier, one.start_ms, one.end_ms, _NO_XML.sub(" ", one.text))
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + elan.to_string(eaf) + "\n", +losses


def _lasting(one: Interval) -> Interval:
    return replace(one, end_ms=one.start_ms + 1) if is_instant(one) else one


def read_eaf(path: Path, session_id: str) -> Read:
    """Annotations of dependent tiers get the times of those they depend on."""
    elan = _pympi()
    losses, found = Losses(), []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions newer than pympi knows: what is read here has not changed
            eaf = elan.Eaf(str(path))
    except Exception as error:  # pympi raises that very class, and KeyError for what is XML but no EAF
        raise InputError(f"{path}: not an EAF that pympi-ling can read; open and save it with ELAN") from error
    for name in eaf.get_tier_names():
        kind, participant = tier_meaning(name)
        said = eaf.get_parameters_for_tier(name).get("PARTICIPANT")
        if said and "@" not in name:
            kind, participant = name, said
        for start_ms, end_ms, text, *_ in _annotations(eaf, name):
            if start_ms is None or end_ms is None:
                losses["annotations without times, left out"] += 1
                continue
            found.append(
                Interval(
                    session_id=session_id,
                    participant=participant,
                    kind=kind,
                    start_ms=start_ms,
                    end_ms=end_ms,
                    text=text or "",
                )
            )
    return possible(in_order(found), losses), +losses


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
