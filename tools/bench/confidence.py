"""Found items and which of them are true -> what each confidence is worth, and what it should have said.

A confidence means something if, of all items that carry 0.8, eight in ten are right. The right numbers are counted on
one half of the sessions and judged, beside those that were written down, on the other half.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from tools.bench.agreement import Item

Cell = tuple[str, str, float]  # kind, its label or outcome, the confidence it carries


def calibration(found: Sequence[tuple[Item, bool]]) -> dict[str, Any]:
    """Precision of every kind and confidence, and the expected calibration error before and after correction.

    Args:
        found: Items with a confidence, and whether the truth has them.

    Returns:
        `cells`: of every kind, label and confidence the number found, the share that is true, and `proposed`, that
        share among even sessions with one right and one wrong one added. `error` and `proposed_error`: mean distance
        of confidence and precision over the items of odd sessions, as carried and as proposed.
    """
    halves: tuple[dict[Cell, list[bool]], dict[Cell, list[bool]]] = (defaultdict(list), defaultdict(list))
    order = {name: place for place, name in enumerate(sorted({item.session_id for item, _ in found}))}
    for item, right in found:
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


def _error(told: dict[Cell, tuple[float, list[bool]]]) -> float | None:
    """Mean of |confidence - precision| over items, each with those of its own cell; None of none."""
    total = sum(len(rights) for _, rights in told.values())
    away = sum(abs(confidence * len(rights) - sum(rights)) for confidence, rights in told.values())
    return round(away / total, 4) if total else None
