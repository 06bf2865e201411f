"""All formats of `python -m tools.export`, by name."""

from tools.export.form import Format
from tools.export.hf.export import HF
from tools.export.lhotse import LHOTSE
from tools.export.moshi import MOSHI
from tools.export.nemo import NEMO

FORMATS: dict[str, Format] = {form.name: form for form in (MOSHI, LHOTSE, NEMO, HF)}
