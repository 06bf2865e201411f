"""Annotated items, and which of them are true -> the precision behind each confidence, and a better confidence.

A confidence is calibrated if eight of ten items with 0.8 are right. Better values are computed on one half of the
sessions; on the other half they are compared with the values that annotate wrote.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from tools.bench.agreement import Item

Cell = tuple[str, str, float]  # kind, label or outcome, confidence


def calibration(judged: Sequence[tuple[Item, bool]]) -> dict[str, Any]:
    """Precision of every kind and confidence, and the expected calibration error before and after correction.

    Args:
        judged: Items with a confidence, and whether the truth has them.

    Returns:
        `cells`: for every kind, label and confidence: `found`, the number of items; `precision`, the share that is
        true; `proposed`, this share among the even sessions, with one right and one wrong item added. `error` and
        `proposed_error`: mean distance between confidence and precision over the items of the odd sessions, for the
        written and for the proposed confidences.
    """
    halves: tuple[dict[Cell, list[bool]], dict[Cell, list[bool]]] = (defaultdict(list), defaultdict(list))
    order = {name: place for place, name in enumerate(sorted({item.session_id for item, _ in judged}))}
    for item, right in judged:
        if item.confidence is not None:
            cell = (item.kind, item.about, round(item.confidence, 3))
            halves[order[item.session_id] % 2][cell].append(right)
    even, odd = halves
    cells: list[dict[str, Any]] = []
    proposed: dict[Cell, float] = {}
    for cell in sorted(even.keys() | odd.keys()):
        both, fitted = even[cell] + odd[cell], even[cell]
        kind, about, confidence = cell
        proposed[cell] = round((sum(fitted) + 1) / (len(fitted) + 2), 3)
        cells.append(
            {
                "kind": kind, "label": about, "confidence": confidence, "found": len(both),
                "precision": round(sum(both) / len(both), 3),
                "proposed": proposed[cell],
            }
        )  # fmt: skip
    return {
        "cells": cells,
        "error": _error({cell: (cell[2], rights) for cell, rights in odd.items()}),
        "proposed_error": _error({cell: (proposed[cell], rights) for cell, rights in odd.items()}),
    }


def _error(cells: dict[Cell, tuple[float, list[bool]]]) -> float | None:
    """Mean of |confidence - precision| over items; both are those of the item's cell. None without items."""
    total = sum(len(rights) for _, rights in cells.values())
    away = sum(abs(confidence * len(rights) - sum(rights)) for confidence, rights in cells.values())
    return round(away / total, 4) if total else None
