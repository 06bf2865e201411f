"""A params dataclass -> its part of `--help`: every parameter with its default, its bounds and its comment.

The comments are read from the source code, so that there is only one list of them.
"""

import ast
import dataclasses
import inspect
import io
import json
import textwrap
import tokenize
from collections.abc import Iterator
from typing import Any, NamedTuple

from wanstreamer.bounds import limits

NAME_COLUMNS = 38  # a longer name moves its comment to the right


class Parameter(NamedTuple):
    name: str  # without the section: `audio.steps`
    default: object
    comment: str
    limits: str  # "1 or more", "sidecar or whisperx"; empty if only the type limits it


def help_text(section: str, cls: type, width: int) -> str:
    """Lines `section.key=default  comment`, written as for --set."""
    lines = [f"parameters of {section}, written as for --set, with their defaults:"]
    for parameter in parameters(cls()):
        start = f"  {section}.{parameter.name}={_shown(parameter.default)}"
        meaning = " ".join(filter(None, (parameter.comment, parameter.limits and f"[{parameter.limits}]")))
        lines.append(
            textwrap.fill(
                meaning, width, initial_indent=f"{start:<{NAME_COLUMNS}}  ", subsequent_indent=" " * (NAME_COLUMNS + 2)
            )
            if meaning
            else start
        )
    return "\n".join(lines)


def parameters(defaults: Any) -> Iterator[Parameter]:
    """Each field of a dataclass instance. The fields of a nested dataclass are listed as `a.b`."""
    comments, allowed = _comments(type(defaults)), limits(type(defaults))
    for field in dataclasses.fields(defaults):
        default = getattr(defaults, field.name)
        if dataclasses.is_dataclass(default):
            for inner in parameters(default):
                yield inner._replace(name=f"{field.name}.{inner.name}")
        else:
            yield Parameter(field.name, default, comments[field.name], allowed[field.name])


def _comments(cls: type) -> dict[str, str]:
    """Field -> its comment, in the lines just above it and at its end. The last class with the field counts."""
    comments: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            comments |= _own_comments(textwrap.dedent(inspect.getsource(base)))
    return comments


def _own_comments(source: str) -> dict[str, str]:
    above: dict[int, str] = {}
    behind: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            alone = not token.line[: token.start[1]].strip()
            (above if alone else behind)[token.start[0]] = token.string.lstrip("# ")
    comments: dict[str, str] = {}
    [declared] = ast.parse(source).body
    assert isinstance(declared, ast.ClassDef)
    for node in declared.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            first = node.lineno
            while first - 1 in above:
                first -= 1
            lines = [above[line] for line in range(first, node.lineno)]
            last = node.end_lineno or node.lineno
            lines += [behind[line] for line in range(node.lineno, last + 1) if line in behind]
            comments[node.target.id] = " ".join(lines)
    return comments


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
