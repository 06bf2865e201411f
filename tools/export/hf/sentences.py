"""Sentences and lists that the card and the Croissant description share."""

from collections.abc import Mapping, Sequence
from typing import Any

from tools.export.hf.figures import Figures
from tools.export.hf.what import NOT_USABLE
from tools.export.people import REASONS

# Licences that the Hub knows -> where their text is.
LICENCES = {
    "apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "cc-by-3.0": "https://creativecommons.org/licenses/by/3.0/",
    "cc-by-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "cc-by-nc-4.0": "https://creativecommons.org/licenses/by-nc/4.0/",
    "cc-by-nc-nd-4.0": "https://creativecommons.org/licenses/by-nc-nd/4.0/",
    "cc-by-nc-sa-4.0": "https://creativecommons.org/licenses/by-nc-sa/4.0/",
    "cc-by-nd-4.0": "https://creativecommons.org/licenses/by-nd/4.0/",
    "cc-by-sa-3.0": "https://creativecommons.org/licenses/by-sa/3.0/",
    "cc-by-sa-4.0": "https://creativecommons.org/licenses/by-sa/4.0/",
    "cc0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "mit": "https://opensource.org/license/mit",
    "odc-by": "https://opendatacommons.org/licenses/by/1-0/",
    "pddl": "https://opendatacommons.org/licenses/pddl/1-0/",
}
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"),
         (10**8, "10M<n<100M"), (10**9, "100M<n<1B"), (10**10, "1B<n<10B"), (10**11, "10B<n<100B"),
         (10**12, "100B<n<1T"))  # fmt: skip
LIMITS = (
    "Who speaks when, turns and events are made by programs, not by people. `confidence` says how sure a row is.",
    "Where no one can tell whose voice it is, rows are missing or null, and windows are masked (config `masks`).",
    "Times of words come from a transcript or a speech recogniser; `words.source` and `words.times_fit` say which, "
    "and whether they fit.",
    "Windows hold latents. The VAEs that decode them and the tokenizer of their text are not here, as "
    "they may have been fitted on conversations that are not; windows/manifest.json has their hashes.",
    "Sound and picture of the conversations are not here.",
    "`session_id`, `participant` and `speaker_id` are as in the source: they must be pseudonyms. Words are as spoken, "
    "and may name people.",
)


def licence_ids(figures: Figures) -> list[str]:
    """The Hub's ids of all licences, sorted; [] if one is not known to it."""
    names = [row["licence"] for row in figures.rows["licences"]]
    ids = {(name or "").strip().lower() for name in names}
    return sorted(ids) if ids <= set(LICENCES) else []


def licence_names(figures: Figures) -> list[str]:
    return sorted({row["licence"] or "not known" for row in figures.rows["licences"]})


def languages(figures: Figures) -> list[str]:
    """ISO 639 codes, most hours first: the first part of each BCP 47 tag."""
    tags = [row["language"] for row in figures.rows["languages"] if row["language"]]
    return [code for code in dict.fromkeys(tag.split("-")[0].lower() for tag in tags) if code != "und"]


def size_category(num_rows: int) -> str:
    return next((name for limit, name in SIZES if num_rows < limit), "n>1T")


def hours(value: float | None) -> str:
    """`1.3 h`, or minutes below an hour."""
    value = value or 0.0
    return f"{value:,.1f} h" if value >= 1 else f"{60 * value:.1f} min"


def counted(count: int, noun: str, nouns: str = "") -> str:
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def summary(figures: Figures) -> str:
    """One sentence on what there is."""
    total = figures.first("total")
    codes = languages(figures)
    spoken = f" in {', '.join(codes)}" if codes else ""
    return (
        f"{counted(total['sessions'], 'conversation')} ({hours(total['hours'])}) of "
        f"{counted(total['people'], 'person', 'people')}{spoken}, annotated for full-duplex dialogue: who speaks when, "
        "turns, pauses, gaps, overlaps, backchannels and interruptions, on one clock per conversation"
        + (", and training windows of audio and video latents" if "windows" in figures.configs else "")
        + "."
    )


def people_text(figures: Figures) -> str:
    consents = sorted({row["consent"] for row in figures.rows["consents"]})
    return (
        f"Every person in this dataset agreed to share it (agreed to: {'; '.join(consents)}). People are named by "
        "pseudonyms. A person can withdraw at any time: the dataset is then published again without all conversations "
        "of this person, and copies of earlier versions must be deleted."
    )


def gate_text(figures: Figures) -> str:
    return (
        f"{people_text(figures)} By asking for access you agree not to identify anyone, not to imitate anyone's voice "
        "or face, to delete your copy when a new version without a person is announced, and to follow the licences: "
        f"{', '.join(licence_names(figures))}."
    )


def not_here(facts: Mapping[str, Any], damaged: int) -> list[str]:
    """What the data folder has, or had, and the dataset does not."""
    reasons = {**REASONS, NOT_USABLE: "a track is not usable, as the stage quality found"}
    lines = [
        f"{counted(count, 'conversation')}: {reasons.get(reason, reason)} (`{reason}`)"
        for reason, count in facts["left_out"].items()
    ]
    lines += [
        f"{counted(count, 'rejection')} of the stage {stage}: `{reason}`" for stage, reason, count in facts["rejected"]
    ]
    if damaged:
        lines.append(f"{counted(damaged, 'window')} with damaged bytes")
    return lines


def versions(figures: Figures) -> str:
    rules = [row["rule_version"] for row in figures.rows["rules"]]
    return ", ".join(f"`{rule}`" for rule in rules) or "none"


def sources(rows: Sequence[Mapping[str, Any]], what: str) -> str:
    return ", ".join(f"{row['source']} ({row[what]:,} {what})" for row in rows) or "none"
