"""Parts of the docs that mkdocs takes from the code: `<!-- generated: NAME -->` in a page -> Markdown.

tables       every table: columns with type, unit and meaning, from schemas/
views        every SQL view: what it shows, its columns, its SQL, from schemas/views/
parameters   every section of params.yaml: parameters with default and meaning, from the dataclasses
queries      every query of tools.report: what it answers and its SQL, from tools/report/sql/
changelog    CHANGELOG.md

Nothing of it is committed. On GitHub these parts are missing, and a line of the page (NOTE) says so. The site leaves
this line out. `python docs/hooks.py NAME` prints one part.
"""

import json
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # mkdocs loads this file by its path
    sys.path.insert(0, str(ROOT))

MARKER = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
NOTE = re.compile(r"^\*This page is filled when the site is built: `make docs`\.\*\n+", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for each page. Raises KeyError for a part that does not exist."""
    return MARKER.sub(lambda match: PARTS[match[1]](), NOTE.sub("", markdown))


@cache
def tables() -> str:
    from schemas import TABLES

    blocks: list[str] = []
    for table in TABLES.values():
        stage = "written by all stages" if table.stage == "all" else f"written by `{table.stage}`"
        key = ", ".join(f"`{column}`" for column in table.key)
        rows = []
        for column in table.schema:
            about = {name.decode(): value.decode() for name, value in (column.metadata or {}).items()}
            empty = "yes" if column.nullable else ""
            rows.append((f"`{column.name}`", _type(column.type), about.get("unit", ""), empty, about["meaning"]))
        blocks += [
            f"### {table.name} {{ #table-{table.name} }}",
            f"{table.meaning} Table {stage}; unique key: {key}.",
            _table(("column", "type", "unit", "may be null", "meaning"), rows),
        ]
    return "\n\n".join(blocks)


@cache
def views() -> str:
    import duckdb

    from schemas import TABLES
    from tools.query import VIEWS

    blocks: list[str] = []
    with duckdb.connect() as connection:
        for name, table in TABLES.items():
            connection.register(f"empty_{name}", table.schema.empty_table())
            connection.execute(f"CREATE TABLE {name} AS FROM empty_{name}")
        for path in sorted(VIEWS.glob("*.sql")):
            sql = path.read_text(encoding="utf-8").strip()
            meaning = re.match(r"(?:--[^\n]*\n)+", sql)
            connection.execute(f"CREATE VIEW {path.stem} AS {sql}")
            columns = connection.execute(f"DESCRIBE {path.stem}").fetchall()
            shown = ", ".join(f"`{column}`" for column, *_ in columns)
            said = " ".join(line.lstrip("- ") for line in meaning[0].splitlines()) if meaning else ""
            indented = "\n".join(f"    {line}".rstrip() for line in sql.splitlines())
            blocks += [
                f"### {path.stem} {{ #view-{path.stem} }}",
                said,
                f"Columns: {shown}.",
                f'??? note "SQL"\n\n    ```sql\n{indented}\n    ```',
            ]
    return "\n\n".join(blocks)


@cache
def parameters() -> str:
    from pipelines.engine.param_help import parameters as parameters_of
    from pipelines.params import section_classes

    blocks: list[str] = []
    for section, cls in section_classes().items():
        doc = (cls.__doc__ or "").strip().splitlines()
        rows = [
            (f"`{section}.{one.name}`", f"`{_default(one.default)}`", one.limits, one.comment)
            for one in parameters_of(cls())
        ]
        blocks.append(f"## {section} {{ #{section} }}")
        if doc and not doc[0].startswith(f"{cls.__name__}("):  # dataclass writes its signature where there is none
            blocks.append(doc[0])
        blocks.append(_table(("parameter", "default", "allowed", "meaning"), rows) if rows else "No parameters.")
    return "\n\n".join(blocks)


def queries() -> str:
    from tools.report.answers import queries as queries_of_report

    blocks: list[str] = []
    for query in queries_of_report().values():
        sql = "\nUNION ALL\n".join(query.parts)
        indented = "\n".join(f"    {line}".rstrip() for line in sql.splitlines())
        blocks += [
            f"### {query.name} {{ #query-{query.name} }}",
            query.meaning,
            f'??? note "SQL"\n\n    ```sql\n{indented}\n    ```',
        ]
    return "\n\n".join(blocks)


def changelog() -> str:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    return text.partition("\n")[2].strip()  # the page has the title


def _default(value: object) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)


def _type(kind: Any) -> str:
    """An Arrow type in words: `list<element: string>` would be read as markup."""
    from pyarrow import types

    if types.is_list(kind):
        return f"list of {_type(kind.value_type)}"
    if types.is_struct(kind):
        return f"({', '.join(field.name for field in kind)})"
    return str(kind)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    def line(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"

    return "\n".join([line(head), "|" + " --- |" * len(head), *map(line, rows)])


PARTS: dict[str, Callable[[], str]] = {
    "tables": tables, "views": views, "parameters": parameters, "queries": queries,
    "changelog": changelog,
}  # fmt: skip

if __name__ == "__main__":
    print(PARTS[sys.argv[1]]())
