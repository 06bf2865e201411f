"""The Croissant 1.1 description of an export, with its responsible-AI fields (mlcommons.org/croissant).

Every file is listed with its SHA-256. The files of a config are a file set; each table is a record set with its
columns, their types and meanings from schemas/. Columns that are structs or lists of structs are only named.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from schemas import TABLES
from tools.export.hf.card import WINDOWS_MEANING, name_of
from tools.export.hf.figures import SPLITS, Figures
from tools.export.hf.sentences import (
    LICENCES,
    LIMITS,
    languages,
    licence_ids,
    licence_names,
    not_here,
    people_text,
    sources,
    summary,
    versions,
)
from tools.export.hf.what import TABLES_OUT, WINDOWS_CONFIG, meaning_of, schema_out

CONFORMS_TO = ("http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0")
VERSION = "1.0.0"
# Appendix 1 of the specification.
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{name: f"cr:{name}" for name in (
        "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "excludes", "extract", "field",
        "fileObject", "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key",
        "md5", "parentField", "path", "readLines", "recordSet", "references", "regex", "repeated", "replace",
        "samplingRate", "sdVersion", "separator", "source", "subField", "transform", "unArchive", "value",
    )},
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
}  # fmt: skip
FORMATS = {
    ".parquet": "application/x-parquet", ".tar": "application/x-tar", ".json": "application/json",
    ".arrow": "application/vnd.apache.arrow.file", ".md": "text/markdown",
}  # fmt: skip


def croissant(
    out: Path, figures: Figures, facts: Mapping[str, Any], files: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """`files`: path below the export -> sha256 and num_bytes."""
    ids = licence_ids(figures)
    name = name_of(out)
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": list(CONFORMS_TO),
        "name": name,
        "description": summary(figures),
        "license": [LICENCES[each] for each in ids] if ids else licence_names(figures),
        "url": f"https://huggingface.co/datasets/{name}",
        "creator": {"@type": "sc:Organization", "name": f"the publisher of {name}"},
        "datePublished": facts["date"],
        "version": VERSION,
        "citeAs": f"{name}, {facts['date'][:4]}, version {VERSION}",
        "keywords": ["dialogue", "full-duplex", "turn-taking", "backchannels", "interruptions"],
        **({"inLanguage": codes} if (codes := languages(figures)) else {}),
        "isLiveDataset": False,
        **_responsible(figures, facts),
        "distribution": [*_file_sets(figures), *(_file(name, about) for name, about in sorted(files.items()))],
        "recordSet": [
            _splits(),
            *(_record_set(config) for config in figures.configs if config != WINDOWS_CONFIG),
        ],
    }


def _responsible(figures: Figures, facts: Mapping[str, Any]) -> dict[str, Any]:
    layouts = ", ".join(f"{row['layout']} ({row['sessions']})" for row in figures.rows["layouts"])
    left_out = "; ".join(not_here(facts, 0)) or "nothing was left out or rejected"
    return {
        "rai:dataCollection": f"Recorded conversations. Layouts of the recordings: {layouts}.",
        "rai:dataCollectionType": ["Direct measurement"],
        "rai:dataCollectionMissingData": f"Not in the dataset: {left_out}.",
        "rai:dataPreprocessingProtocol": [
            "Each person's sound and picture became a track of constant rate; all tracks of a conversation have one "
            "clock (columns clock_joins, camera_clock, partner_clock, audio_filled_ms of the table tracks say what was "
            "repaired).",
            *(f"{table.name}: {table.meaning}" for table in TABLES.values() if table.stage in ("quality", "encode")),
        ],
        "rai:dataAnnotationProtocol": [
            f"{table.name}: {table.meaning}" for table in TABLES.values() if table.stage == "annotate"
        ],
        "rai:dataAnnotationPlatform": ["WanStreamer, stage annotate"],
        "rai:machineAnnotationTools": [
            f"speech: {sources(figures.rows['detectors'], 'intervals')}",
            f"words: {sources(figures.rows['words'], 'words')}",
            f"turn rules: {versions(figures)}",
        ],
        "rai:dataLimitations": list(LIMITS),
        "rai:dataBiases": [
            f"Languages: {', '.join(languages(figures)) or 'not known'}; "
            f"{figures.first('total')['people']} people, who chose to be recorded and to share. Age, gender and origin "
            "of the people are not recorded, so balance over them is not known.",
        ],
        "rai:dataUseCases": [
            "training and evaluation of models that listen and speak at the same time",
            "research on turn-taking, backchannels, overlaps and interruptions",
            "not for: identifying people, imitating their voice or face, or judging them",
        ],
        "rai:personalSensitiveInformation": [people_text(figures), "Voices, faces (as latents) and words of people."],
        "rai:dataSocialImpact": "Models trained on conversations can imitate how people talk: tell users that a "
        "machine talks.",
        "rai:dataReleaseMaintenancePlan": "When a person withdraws, `tools.forget` removes all conversations with this "
        "person, and the dataset is published again; the hashes in this file are then those of the new version.",
    }  # fmt: skip


def _file(name: str, about: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{about['num_bytes']} B",
        "encodingFormat": FORMATS[Path(name).suffix],
        "sha256": about["sha256"],
    }


def _file_sets(figures: Figures) -> list[dict[str, Any]]:
    return [
        {
            "@type": "cr:FileSet",
            "@id": f"files-of-{config}",
            "name": f"files-of-{config}",
            "description": WINDOWS_MEANING if config == WINDOWS_CONFIG else meaning_of(config),
            "encodingFormat": FORMATS[".tar" if config == WINDOWS_CONFIG else ".parquet"],
            "includes": "windows/*/*.tar" if config == WINDOWS_CONFIG else f"tables/{config}/*.parquet",
        }
        for config in figures.configs
    ]


def _splits() -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [_plain("splits/name", "name", "sc:Text", "name of the split; no person is in two")],
        "data": [{"splits/name": split} for split in SPLITS],
    }


def _plain(identity: str, name: str, kind: str, meaning: str) -> dict[str, Any]:
    return {"@type": "cr:Field", "@id": identity, "name": name, "description": meaning, "dataType": kind}


def _record_set(config: str) -> dict[str, Any]:
    schema, table = schema_out(config), TABLES[TABLES_OUT[config]]
    plain = [field for field in schema if _kind(field.type)]
    nested = [field.name for field in schema if not _kind(field.type)]
    more = f" Columns with nested values are in the Parquet files only: {', '.join(nested)}." if nested else ""
    fields = [_field(config, field) for field in plain]
    if "split" not in schema.names:
        source = {
            "fileSet": {"@id": f"files-of-{config}"},
            "extract": {"fileProperty": "fullpath"},
            "transform": {"regex": f"tables/{config}/({'|'.join(SPLITS)})-.*parquet$"},
        }
        about = _plain(f"{config}/split", "split", "sc:Text", "split of the conversation, from the name of the file")
        fields.append({**about, "source": source})
    return {
        "@type": "cr:RecordSet",
        "@id": config,
        "name": config,
        "description": f"{meaning_of(config)}{more}",
        "key": [{"@id": f"{config}/{name}"} for name in table.key],
        "field": fields,
    }


def _field(config: str, field: pa.Field) -> dict[str, Any]:
    about = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    unit = f" (unit: {about['unit']})" if "unit" in about else ""
    described = _plain(f"{config}/{field.name}", field.name, _kind(field.type), about["meaning"] + unit)
    if pa.types.is_list(field.type):
        described |= {"isArray": True, "arrayShape": "-1"}
    described["source"] = {"fileSet": {"@id": f"files-of-{config}"}, "extract": {"column": field.name}}
    return described


def _kind(kind: pa.DataType) -> str:
    """The type of a value, or of the values of a list; empty for what Croissant cannot read from a column."""
    if pa.types.is_list(kind):
        return "" if pa.types.is_list(kind.value_type) else _kind(kind.value_type)
    for fits, name in (
        (pa.types.is_boolean, "sc:Boolean"), (pa.types.is_integer, "sc:Integer"), (pa.types.is_floating, "sc:Float"),
        (pa.types.is_string, "sc:Text"),
    ):  # fmt: skip
        if fits(kind):
            return name
    return ""
