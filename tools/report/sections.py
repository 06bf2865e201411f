"""What the report has: its sections, their figures in order, and how each figure is drawn."""

from typing import NamedTuple


class Figure(NamedTuple):
    """A figure: the answer to a query, as a table, and as a chart where one helps.

    chart: bars, histogram or nothing. value: the column that a chart shows. labels: the columns that name a row.
    """

    query: str
    title: str
    chart: str = ""
    value: str = ""
    labels: tuple[str, ...] = ()
    row: bool = False  # the answer is one row: shown as a list of names and values


class Section(NamedTuple):
    name: str  # of its anchor
    title: str
    about: str
    figures: tuple[Figure, ...]


SECTIONS = (
    Section(
        "hours",
        "Hours kept and lost",
        "What each stage has done and what it could not use. Nothing is left out without a reason.",
        (
            Figure("hours_kept", "Kept by stage", "bars", "hours", ("stage",)),
            Figure("hours_lost", "Rejected, by stage and reason"),
            Figure("masked_hours", "Masked in windows", "bars", "share", ("reason",)),
        ),
    ),
    Section(
        "splits",
        "Splits, people and languages",
        "People are assigned to splits, so that no one is in two of them. The report names no one.",
        (
            Figure("splits", "Splits", "bars", "hours", ("split",)),
            Figure("windows", "Training windows"),
            Figure("people", "People", row=True),
            Figure("languages", "Languages", "bars", "track_hours", ("language",)),
            Figure("layouts", "Recordings"),
        ),
    ),
    Section(
        "talk",
        "Talk time",
        "How much of the time is speech, and how evenly people share it.",
        (
            Figure("speaking", "Silence, speech and overlap", row=True),
            Figure("talk_balance", "Participants by their share of the speech", "histogram", "share"),
            Figure("turns", "Turns", row=True),
            Figure("words", "Words"),
        ),
    ),
    Section(
        "turns",
        "Taking turns",
        "The terms are explained on the page about events of the docs. Backchannels take no turn and have no offset.",
        (
            Figure("floor_transfers", "Floor transfer offsets", row=True),
            Figure("floor_transfer_histogram", "Distribution of floor transfer offsets", "histogram", "share"),
            Figure("human_measures", "Compared with published figures"),
            Figure("offsets_by_language", "Floor transfer offsets by language"),
            Figure("transitions", "How turns begin", "bars", "share", ("label",)),
            Figure("silences_and_overlaps", "Pauses, gaps and overlaps"),
            Figure("silence_histogram", "Lengths of pauses, gaps and overlaps", "histogram", "share", ("label",)),
            Figure("interruptions", "Interruptions"),
            Figure("backchannels", "Backchannels"),
            Figure("evidence", "What the rules decided on"),
        ),
    ),
    Section(
        "quality",
        "Quality of the recordings",
        "Measured facts. Shares are of the time of a track, or of its frames.",
        (
            Figure("usable_tracks", "Usable tracks", "bars", "share", ("verdict",)),
            Figure("quality", "Measures"),
            Figure("bleed", "Voices in the tracks of others", "bars", "share", ("verdict",)),
            Figure("repairs", "Repairs", row=True),
            Figure("recorder_clocks", "Clocks of recorders"),
            Figure("pictures", "Pictures"),
        ),
    ),
    Section(
        "consent",
        "Consent and licences",
        "Data of people who have not agreed to `share` must not be handed on.",
        (
            Figure("consent", "What people agreed to", "bars", "track_hours", ("agreed_to",)),
            Figure("licences", "Licences"),
        ),
    ),
    Section(
        "cost",
        "Sizes, time and cost",
        "Time is that of the last run of each stage with work, for the sessions that it did then.",
        (
            Figure("sizes", "On disk", "bars", "num_bytes", ("part",)),
            Figure("time", "Time for an hour of conversation", "bars", "cpu_s_per_hour", ("stage",)),
        ),
    ),
)
OVERVIEW = Figure("overview", "Overview", row=True)


class Axis(NamedTuple):
    """How a histogram is drawn. `begin`: the column with the beginning of a bin."""

    begin: str
    span: tuple[float, float]
    bin_width: float
    unit: str
    ticks: tuple[float, ...]


AXES = {
    "talk_balance": Axis("from_percent", (0, 100), 10, "percent of the session's speech", (0, 20, 40, 60, 80, 100)),
    "floor_transfer_histogram": Axis("from_ms", (-2000, 3000), 100, "ms", (-2000, -1000, 0, 1000, 2000, 3000)),
    "silence_histogram": Axis("from_ms", (0, 3000), 100, "ms", (0, 500, 1000, 1500, 2000, 2500, 3000)),
}
