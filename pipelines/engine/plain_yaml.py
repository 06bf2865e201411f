"""YAML -> plain values, and the text of each scalar as it is written.

YAML 1.1 reads 010 as eight, 1:30 as ninety, 2024-11-03 as a date and 1e-3 as text; of two equal keys it takes the last.
Here 010 is ten, 1e-3 is a number, the other two are text, and two equal keys are an error.
"""

import re
from typing import Any

import yaml

_NAMED = {
    "": None, "~": None, "null": None,
    "true": True, "yes": True, "on": True, "false": False, "no": False, "off": False,
    ".inf": float("inf"), "+.inf": float("inf"), "-.inf": -float("inf"), ".nan": float("nan"),
}  # fmt: skip
_INTEGER = re.compile(r"[-+]?[0-9][0-9_]{0,999}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]{0,999}(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def read_yaml(content: str | bytes) -> tuple[Any, dict[str, str]]:
    """The value of a document; and the text of each unquoted scalar but null, by its keys joined with points.

    >>> read_yaml("width: 032\\naudio: {day: 2024-11-03}")
    ({'width': 32, 'audio': {'day': '2024-11-03'}}, {'width': '032', 'audio.day': '2024-11-03'})

    Raises yaml.YAMLError.
    """
    texts: dict[str, str] = {}
    try:
        node = yaml.compose(content, Loader=yaml.BaseLoader)  # BaseLoader: every scalar is text
        return (None if node is None else _value(node, "", texts)), texts
    except RecursionError as error:
        raise yaml.YAMLError("a value that contains itself, or hundreds of levels") from error


def _value(node: yaml.Node, key: str, texts: dict[str, str]) -> Any:
    if isinstance(node, yaml.ScalarNode):
        if node.style is not None:
            return node.value
        value = _scalar(node.value)
        if value is not None or not node.value:  # `null` is no text
            texts[key] = node.value
        return value
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, f"{key}[{place}]", texts) for place, item in enumerate(node.value)]
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        name = key_node.value
        if not isinstance(key_node, yaml.ScalarNode) or name in values:
            problem = f"`{name}` stands here twice" if isinstance(name, str) else "a key that is not text"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
        values[name] = _value(value_node, f"{key}.{name}".lstrip("."), texts)
    return values


def _scalar(text: str) -> Any:
    if text.lower() in _NAMED:
        return _NAMED[text.lower()]
    if _INTEGER.fullmatch(text):
        return int(text.replace("_", ""))
    if _FLOAT.fullmatch(text):
        return float(text.replace("_", ""))
    return text
