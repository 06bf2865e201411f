"""Bounds of parameters: declared next to the default, and checked when the dataclass is made.

    @dataclass(frozen=True, kw_only=True)
    class PackParams:
        window_units: int = bounded(32, at_least=2)  # 5.12 s

        def __post_init__(self) -> None:
            check_bounds(self)

    PackParams(window_units=1)  # BadValue: window_units: 1; expected 2 or more; the default is 32

`check_bounds` also compares every value with the annotation of its field: true is not an integer, a quoted number is
text, NaN and infinity are not numbers. A number without an upper limit of its own is at most MOST. Checks that compare
several fields come after it in the same `__post_init__`. Checks that need the file system are not made here.
"""

import dataclasses
import json
import math
import types
from collections.abc import Sequence
from dataclasses import MISSING, dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from wanstreamer.errors import InputError

MOST = 10**9  # a larger number is a typing error: it is 11 days in ms, and more than any size or weight


class BadValue(InputError):
    """A parameter has a value that is not allowed: `key: value; expected ...`.

    `others` are the keys of fields that `expected` depends on.
    """

    def __init__(self, key: str, value: object, expected: str, *others: str) -> None:
        super().__init__(key, value, expected, *others)
        self.key, self.value, self.expected, self.others = key, value, expected, others

    def __str__(self) -> str:
        return f"{self.key}: {shown(self.value)}; expected {self.expected}"


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Limits of a number, or of each number of a tuple; or the allowed choices. None: no such limit."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    multiple_of: int | None = None
    one_of: tuple[Any, ...] | None = None
    not_empty: bool = False  # for a tuple
    why: str = ""  # the reason for a limit that is not obvious

    @property
    def is_open(self) -> bool:
        """Whether there is no upper limit."""
        return self.one_of is None and self.at_most is None and self.below is None

    def hold(self, value: Any) -> bool:
        """Whether a value of the right type is within these limits."""
        if isinstance(value, tuple):
            return bool(value or not self.not_empty) and all(self.hold(item) for item in value)
        if self.one_of is not None:
            return value in self.one_of
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
            and (self.multiple_of is None or value % self.multiple_of == 0)
        )

    def words(self, kind: Any) -> str:
        """The limits in English, for a field with this annotation; empty without limits."""
        is_tuple = get_origin(kind) is tuple
        if self.one_of is not None:
            return f"some of {_listed(self.one_of)}" if is_tuple else _choice(self.one_of)
        parts = []
        if self.multiple_of is not None:
            parts.append(f"a multiple of {self.multiple_of}")
        if kind is float and (self.at_least, self.at_most) == (0, 1):
            parts.append("a share between 0 and 1")
        elif self.at_least is not None and self.at_most is not None:
            parts.append(f"{self.at_least} to {self.at_most}")
        else:
            parts += [f"{self.at_least} or more"] if self.at_least is not None else []
            parts += [f"more than {self.above}"] if self.above is not None else []
            parts += [f"at most {self.at_most}"] if self.at_most is not None else []
            parts += [f"less than {self.below}"] if self.below is not None else []
        listed = ", ".join(parts)
        if is_tuple:
            listed = f"{'one or more values' if self.not_empty else 'values'}, each {listed}"
        return f"{listed} ({self.why})" if self.why else listed


def bounded(
    default: Any = MISSING,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    multiple_of: int | None = None,
    one_of: Sequence[Any] | None = None,
    not_empty: bool = False,
    why: str = "",
) -> Any:
    """A dataclass field with limits for `check_bounds`, see `Bounds`. Without a default, the value must be set."""
    bounds = Bounds(
        at_least=at_least, above=above, at_most=at_most, below=below, multiple_of=multiple_of,
        one_of=None if one_of is None else tuple(one_of), not_empty=not_empty, why=why,
    )  # fmt: skip
    return dataclasses.field(default=default, metadata={"bounds": bounds})


def from_zero(default: Any = MISSING) -> Any:
    """A field of 0 or more: a duration, a weight, or a count that may be 0."""
    return bounded(default, at_least=0)


def from_one(default: Any = MISSING) -> Any:
    """A field of 1 or more: a size or a count."""
    return bounded(default, at_least=1)


def share(default: Any = MISSING, **more: Any) -> Any:
    """A field from 0 to 1."""
    return bounded(default, at_least=0, at_most=1, **more)


def random_seed(default: int = 0) -> Any:
    """A seed for random numbers."""
    return bounded(default, at_least=0, at_most=2**32 - 1)


def check_bounds(params: Any) -> None:
    """Raises BadValue for the first value that the annotation or the bounds of its field do not allow."""
    kinds = field_types(params.__class__)
    for field in dataclasses.fields(params):
        kind, value = kinds[field.name], getattr(params, field.name)
        bounds: Bounds | None = field.metadata.get("bounds")
        if not _is_a(kind, value):
            limits = bounds.words(_without_none(kind)) if bounds else ""
            expected = _type_words(kind) + (f", {limits}" if limits else "")
        elif value is not None and bounds is not None and not bounds.hold(value):
            expected = bounds.words(_without_none(kind))
        elif (bounds is None or bounds.is_open) and not _is_moderate(value):
            expected = ", ".join(filter(None, (bounds.words(_without_none(kind)) if bounds else "", f"at most {MOST}")))
        else:
            continue
        default = "" if field.default is MISSING else f"; the default is {shown(field.default)}"
        raise BadValue(field.name, value, expected + default)


def limits(cls: type) -> dict[str, str]:
    """Field -> its allowed values, in English; empty if only the type limits it."""
    limits_by_field = {}
    for field in dataclasses.fields(cls):
        kind = _without_none(field_types(cls)[field.name])
        bounds: Bounds | None = field.metadata.get("bounds")
        choices = _choice(get_args(kind)) if get_origin(kind) is Literal else ""
        if get_origin(kind) is tuple and dataclasses.is_dataclass(get_args(kind)[0]):
            choices = _type_words(kind)
        limits_by_field[field.name] = bounds.words(kind) if bounds else choices
    return limits_by_field


@cache
def field_types(cls: type) -> dict[str, Any]:
    """The annotation of each field; strings are resolved."""
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def shown(value: object) -> str:
    """A value as it is written in a parameter file.

    >>> shown((0.5, 1.0)), shown("wide"), shown(True), shown(None)
    ('[0.5, 1.0]', "'wide'", 'true', 'null')
    """
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(shown, value))}]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return repr(value)


def _is_a(kind: Any, value: Any) -> bool:
    """Whether a value is of an annotated type."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return any(_is_a(argument, value) for argument in get_args(kind))
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in get_args(kind))
    if origin is tuple:
        return isinstance(value, tuple) and all(_is_a(get_args(kind)[0], item) for item in value)
    if kind in (int, float) and isinstance(value, bool):
        return False
    if kind is float:
        return isinstance(value, (int, float)) and _is_finite(value)
    return isinstance(value, kind)


def _is_moderate(value: Any) -> bool:
    """Whether no number in it is larger than MOST."""
    if isinstance(value, tuple):
        return all(map(_is_moderate, value))
    return not isinstance(value, (int, float)) or abs(value) <= MOST


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float can hold
        return False


def _without_none(kind: Any) -> Any:
    if get_origin(kind) in (Union, types.UnionType):
        return next(argument for argument in get_args(kind) if argument is not type(None))
    return kind


def _type_words(kind: Any) -> str:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return f"{_type_words(_without_none(kind))} or null"
    if origin is Literal:
        return _choice(get_args(kind))
    if origin is tuple:
        return f"a list, each {_type_words(get_args(kind)[0])}"
    if dataclasses.is_dataclass(kind):
        return f"`key: value` lines with the keys {', '.join(field_types(kind))}"  # type: ignore[arg-type]
    return {bool: "true or false", int: "an integer", float: "a finite number", str: "text"}[kind]


def _choice(choices: Sequence[Any]) -> str:
    return " or ".join(map(_plain, choices)) if len(choices) == 2 else f"one of {_listed(choices)}"


def _listed(choices: Sequence[Any]) -> str:
    return ", ".join(map(_plain, choices))


def _plain(choice: Any) -> str:
    return str(choice) if choice != "" else "''"
