"""All formats of `python -m tools.export`, by name."""

from tools.export.form import Format
from tools.export.moshi import MOSHI

FORMATS: dict[str, Format] = {form.name: form for form in (MOSHI,)}
