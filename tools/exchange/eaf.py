"""Intervals -> ELAN's EAF, through pympi-ling: a tier per participant and kind, and links to the media, so that ELAN
plays them. eaf_reader.py reads EAF.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tools.exchange.intervals import (
    Interval,
    Written,
    not_held,
    on_one_line,
    safe_kinds,
    safe_names,
)
from tools.exchange.tiers import is_instant, lanes, tier_name
from wanstreamer.errors import InputError

_NO_XML = re.compile("[^\t\n -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
EPOCH = "1970-01-01T00:00:00+00:00"  # a fixed date: equal intervals give equal bytes, at any time


def write_eaf(intervals: Sequence[Interval], media: Sequence[Path] = (), folder: Path | None = None) -> Written:
    """`media` are linked by absolute path and by the path relative to `folder`, the folder of the EAF."""
    elan = _pympi()
    losses = not_held(intervals, confidence=False)
    intervals = safe_kinds(intervals, losses)
    losses["instants, written 1 ms long"] = sum(map(is_instant, intervals))
    losses["control characters, written as spaces"] = sum(bool(_NO_XML.search(interval.text)) for interval in intervals)
    names = safe_names(
        (interval.participant for interval in intervals),
        lambda name: _NO_XML.sub(" ", on_one_line(name)).strip(),
        losses,
        "line breaks, blanks and control characters in names",
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
