"""The dataset card of an export, README.md: YAML that the Hub reads, and what a person wants to know first."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from datasets import Features

from schemas.windows import WINDOW_FIELDS, WINDOW_LABELS
from tools.export.hf.figures import Figures
from tools.export.hf.sentences import (
    LICENCES,
    LIMITS,
    counted,
    gate_text,
    hours,
    languages,
    licence_ids,
    not_here,
    people_text,
    size_category,
    sources,
    summary,
    versions,
)
from tools.export.hf.what import (
    COLUMNS_LEFT_OUT,
    DEFAULT_CONFIG,
    TABLES_LEFT_OUT,
    WINDOWS_CONFIG,
    meaning_of,
    schema_out,
)

# Dimensions as in schemas/windows.py, whose numbers are in windows/manifest.json.
WINDOW_TYPES = {"float16": pa.float16(), "bool": pa.bool_(), "int32": pa.int32()}
WINDOWS_MEANING = "Training windows: K units of 160 ms in one role view; latents, text slots, masks and labels."


def card(out: Path, figures: Figures, facts: Mapping[str, Any], damaged: int, *, has_picture: bool) -> str:
    front = yaml.safe_dump(_metadata(out, figures), sort_keys=False, allow_unicode=True, width=100)
    return f"---\n{front}---\n\n" + "\n".join(_page(out, figures, facts, damaged, has_picture)) + "\n"


def windows_card(figures: Figures) -> str:
    """The card of the folder `windows`: `datasets` reads one kind of files per folder, and these are tars."""
    splits = figures.configs[WINDOWS_CONFIG]
    about = {
        "configs": [
            {
                "config_name": WINDOWS_CONFIG,
                "default": True,
                "data_files": [{"split": split, "path": f"{split}/*.tar"} for split in splits],
            }
        ],
        "dataset_info": [_info(WINDOWS_CONFIG, splits)],
    }
    front = yaml.safe_dump(about, sort_keys=False, width=100)
    return f"---\n{front}---\n\n# Windows\n\n{WINDOWS_MEANING} The card of the dataset is in the folder above.\n"


def name_of(out: Path) -> str:
    return out.resolve().name


def windows_schema() -> pa.Schema:
    """What `load_dataset` makes of a window: an array per member, as nested lists, and its key."""
    fields = []
    for name, (dtype, dimensions) in WINDOW_FIELDS.items():
        kind = WINDOW_TYPES[dtype]
        for _ in dimensions:
            kind = pa.list_(kind)
        fields.append(pa.field(f"{name}.npy", kind))
    return pa.schema([*fields, pa.field("__key__", pa.string()), pa.field("__url__", pa.string())])


def _metadata(out: Path, figures: Figures) -> dict[str, Any]:
    ids = licence_ids(figures)
    known = {"license": ids[0] if len(ids) == 1 else ids}
    other = {"license": "other", "license_name": "as-stated-per-track", "license_link": "README.md#licences"}
    codes = languages(figures)
    num_rows = sum(counts["num_rows"] for splits in figures.configs.values() for counts in splits.values())
    tables = {config: splits for config, splits in figures.configs.items() if config != WINDOWS_CONFIG}
    default = DEFAULT_CONFIG if DEFAULT_CONFIG in figures.configs else next(iter(figures.configs))
    return {
        "pretty_name": name_of(out),
        **({"language": codes} if codes else {}),
        **(known if ids else other),
        "size_categories": [size_category(num_rows)],
        "annotations_creators": ["machine-generated"],
        "source_datasets": ["original"],
        "task_categories": _tasks(figures),
        "tags": ["dialogue", "full-duplex", "turn-taking", "backchannels", "interruptions", "wanstreamer"],
        "configs": [
            {
                "config_name": config,
                **({"default": True} if config == default else {}),
                "data_files": [{"split": split, "path": f"tables/{config}/{split}-*.parquet"} for split in splits],
            }
            for config, splits in tables.items()
        ],
        "dataset_info": [_info(config, splits) for config, splits in tables.items()],
        "extra_gated_prompt": gate_text(figures),
        "extra_gated_fields": {
            "Name": "text",
            "Affiliation": "text",
            "What you will use it for": "text",
            "I agree not to identify anyone and not to imitate anyone's voice or face": "checkbox",
            "I will delete my copy when a version without a person is published": "checkbox",
        },
    }


def _tasks(figures: Figures) -> list[str]:
    """From the Hub's list of tasks, by what is here."""
    configs = figures.configs
    tasks = {
        "audio-to-audio": WINDOWS_CONFIG in configs,
        "voice-activity-detection": "speech" in configs,
        "automatic-speech-recognition": "words" in configs,
        "video-classification": any(row["width"] for row in figures.rows["media"]),
    }
    return [task for task, fits in tasks.items() if fits] or ["other"]


def _info(config: str, splits: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    schema = windows_schema() if config == WINDOWS_CONFIG else schema_out(config)
    return {
        "config_name": config,
        "features": Features.from_arrow_schema(schema.remove_metadata())._to_yaml_list(),
        "splits": [
            {"name": split, "num_bytes": counts["raw_bytes"], "num_examples": counts["num_rows"]}
            for split, counts in splits.items()
        ],
        "download_size": sum(counts["num_bytes"] for counts in splits.values()),
        "dataset_size": sum(counts["raw_bytes"] for counts in splits.values()),
    }


def _page(out: Path, figures: Figures, facts: Mapping[str, Any], damaged: int, has_picture: bool) -> Iterator[str]:
    yield f"# {name_of(out)}\n\n{summary(figures)}\n"
    if has_picture:
        yield "![Half a minute of one conversation](picture.svg)\n"
    yield from _how_to_load(out, figures)
    yield from _contents(figures)
    yield from _figures(figures)
    yield f"## People and consent\n\n{people_text(figures)}\n"
    yield "## Licences\n"
    yield from _rows("licence | tracks", ([_licence(row["licence"]), f"{row['tracks']:,}"]
                                          for row in figures.rows["licences"]))  # fmt: skip
    yield "## What is not here\n"
    yield "Of the data folder from which this dataset was written, when it was written:\n"
    yield from (f"- {line}" for line in not_here(facts, damaged) or ["nothing was left out or rejected"])
    yield from (f"- table `{table}`: {reason}" for table, reason in TABLES_LEFT_OUT.items())
    for config, columns in COLUMNS_LEFT_OUT.items():
        yield from (f"- column `{config}.{column}`: {reason}" for column, reason in columns.items())
    yield from (f"- table `{table}`: not made" for table in facts["tables_missing"])
    for key, value in facts["choices"].items():
        if value:
            yield f"- conversations that were not chosen: `--{key} {value}`"
    yield "\n## Known limits\n"
    yield from (f"- {line}" for line in LIMITS)
    yield from _how_made(figures)
    yield from _columns(figures)


def _licence(name: str | None) -> str:
    link = LICENCES.get((name or "").strip().lower())
    return f"[{name}]({link})" if link else name or "not known"


def _rows(header: str, rows: Any) -> Iterator[str]:
    names = header.split(" | ")
    yield f"| {header} |\n|{'|'.join(' --- ' for _ in names)}|"
    for row in rows:
        yield f"| {' | '.join(str(cell).replace('|', '/') for cell in row)} |"
    yield ""


def _how_to_load(out: Path, figures: Figures) -> Iterator[str]:
    shown = "events" if "events" in figures.configs else next(iter(figures.configs))
    split = next(iter(figures.configs[shown]))
    lines = [
        "## Load it\n", "```python", "from datasets import load_dataset\n",
        f'{shown} = load_dataset("{name_of(out)}", "{shown}", split="{split}")  # this folder, or its name on the Hub',
    ]  # fmt: skip
    if WINDOWS_CONFIG in figures.configs:
        split = next(iter(figures.configs[WINDOWS_CONFIG]))
        lines += [
            f'windows = load_dataset("{name_of(out)}/windows", split="{split}", streaming=True)  # from a local copy',
            "# from the Hub, with its address:",
            f'tars = "hf://datasets/OWNER/{name_of(out)}/windows/{split}/*.tar"',
            f'windows = load_dataset("webdataset", data_files={{"{split}": tars}}, split="{split}", streaming=True)',
        ]
    yield "\n".join([*lines, "```\n"])
    if WINDOWS_CONFIG in figures.configs:
        yield (
            "`windows` is a dataset of its own, as `datasets` reads one kind of files per folder; "
            "`wanstreamer.windows` opens the folder too.\n"
        )


def _contents(figures: Figures) -> Iterator[str]:
    splits = [split for split in ("train", "valid", "test") if any(split in own for own in figures.configs.values())]
    yield "## What is in it\n"
    yield from _rows(
        " | ".join(["config", *(f"rows of {split}" for split in splits), "meaning"]),
        (
            [
                f"`{config}`",
                *(f"{own[split]['num_rows']:,}" if split in own else "-" for split in splits),
                WINDOWS_MEANING if config == WINDOWS_CONFIG else meaning_of(config),
            ]
            for config, own in figures.configs.items()
        ),
    )
    yield "Times are milliseconds on the clock of the conversation; `unit` counts steps of 160 ms.\n"


def _figures(figures: Figures) -> Iterator[str]:
    total, talk, turns, offsets = (figures.first(name) for name in ("total", "talk", "turns", "offsets"))
    by_split = {row["split"]: row for row in figures.rows["by_split"]}
    windows = {row["split"]: row for row in figures.rows["windows"]}
    yield "## Figures\n"
    yield from _rows(
        "split | conversations | hours | people | windows | hours of windows",
        (
            [split, f"{row['sessions']:,}", hours(row["hours"]), f"{row['people'] or 0:,}",
             f"{windows[split]['windows']:,}" if split in windows else "-",
             hours(windows[split]["hours"]) if split in windows else "-"]
            for split, row in ((split, by_split[split]) for split in ("train", "valid", "test") if split in by_split)
        ),
    )  # fmt: skip
    yield "No person is in two splits. Windows overlap, and each conversation is seen from each role.\n"
    named = [(row["language"] or "not known", hours(row["track_hours"])) for row in figures.rows["languages"]]
    yield f"- People: {total['people']:,} in {counted(total['sessions'], 'conversation')}, {hours(total['hours'])}"
    yield f"- Languages, as hours of tracks: {', '.join(f'{name} {length}' for name, length in named)}"
    yield f"- Talk time: {hours(talk['hours'])} of speech in {counted(talk['intervals'], 'interval')}"
    if turns.get("turns"):
        yield f"- Turns: {turns['turns']:,}, of {turns['median_ms']:,.0f} ms in the median"
    if offsets.get("median_ms") is not None:
        yield f"- Floor transfer offset: {offsets['median_ms']:,.0f} ms in the median"
    layouts = [f"{row['layout']} ({row['sessions']:,})" for row in figures.rows["layouts"]]
    yield f"- Layouts: {', '.join(layouts)}"
    media = [
        f"{row['width']} x {row['height']} pixels" if row["width"] else "no picture" for row in figures.rows["media"]
    ]
    rates = sorted({row["rate_hz"] for row in figures.rows["media"] if row["rate_hz"]})
    yield f"- Tracks: {', '.join(dict.fromkeys(media))}; {', '.join(f'{rate} Hz' for rate in rates) or 'no sound'}"
    quality = figures.first("quality")
    if quality.get("tracks"):
        snr = f", {quality['snr_db']:.0f} dB SNR in the median" if quality["snr_db"] is not None else ""
        yield f"- Quality: {quality['usable']:,} of {quality['tracks']:,} tracks are within all thresholds{snr}"
    if figures.rows["events"]:
        per_hour = max(total["hours"] or 0, 1e-9)
        yield "\n### Events\n"
        yield from _rows(
            "kind | label | events | per hour | median length | median confidence",
            ([row["kind"], row["label"], f"{row['events']:,}", f"{row['events'] / per_hour:,.1f}",
              f"{row['median_ms']:,.0f} ms", f"{row['median_confidence']:.2f}"] for row in figures.rows["events"]),
        )  # fmt: skip
    if figures.rows["outcomes"]:
        yield from _rows(
            "label | outcome | events",
            ([row["label"], row["outcome"], f"{row['events']:,}"] for row in figures.rows["outcomes"]),
        )


def _how_made(figures: Figures) -> Iterator[str]:
    yield "\n## How it was made\n"
    yield (
        "Recordings became tracks of constant frame rate, one per person, on one clock (WanStreamer's stage `ingest`; "
        "`people` where several people share a camera). `quality` measured each track. `annotate` found speech, words, "
        "turns and events by published rules; `encode` and `pack` made the windows. Rejections are counted above. "
        "Written with `python -m tools.export hf`.\n"
    )
    yield f"- Speech: {sources(figures.rows['detectors'], 'intervals')}"
    yield f"- Words: {sources(figures.rows['words'], 'words')}"
    yield f"- Versions of the turn rules: {versions(figures)}"
    yield "- `sessions.source_sha256` is the hash of each conversation's source files."
    yield "- `croissant.json` has the SHA-256 of every file, and the fields on responsible use.\n"


def _columns(figures: Figures) -> Iterator[str]:
    yield "## Columns\n"
    for config in figures.configs:
        yield f"<details><summary><code>{config}</code></summary>\n"
        if config == WINDOWS_CONFIG:
            yield (
                "K units, N audio latents per unit, C channels, H x W latent rows and columns, S text slots, L labels "
                f"({', '.join(WINDOW_LABELS)}). Where `known` is false, the value is masked.\n"
            )
            yield from _rows("member | type | dimensions",
                             ([f"`{name}.npy`", *about] for name, about in WINDOW_FIELDS.items()))  # fmt: skip
        else:
            yield from _rows("column | type | unit | meaning", (_column(field) for field in schema_out(config)))
        yield "</details>\n"


def _column(field: pa.Field) -> list[str]:
    about = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    kind = str(field.type)
    return [f"`{field.name}`", kind if len(kind) < 40 else "list or struct", about.get("unit", ""), about["meaning"]]
