"""Whose voice it is, on sessions with known voices: `python -m tools.bench crosstalk`.

The clean voices of new sample sessions are mixed with crosstalk of each level, in one direction and in both, with
delays of up to 30 ms, rooms, gains, noise and overlap that differ from session to session, and with the same sound in
both tracks. The sessions are annotated, and masked as pack masks them. Levels are relative to that voice in its own
track. Intervals are 95 %, over sessions.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipelines.annotate.params import AnnotateParams
from pipelines.annotate.stage import TABLES, Annotator
from pipelines.engine.files import file_sha256
from pipelines.engine.jobs import Job, Result
from pipelines.engine.tables import to_table, write_table
from pipelines.media.tracks import write_wav
from pipelines.pack.params import ViewParams
from pipelines.pack.role_views import UnitRow, view_masks
from pipelines.pack.stage import window_starts
from pipelines.sample import truth
from pipelines.signals.voice_activity import RATE_HZ, subtract
from tools.bench.agreement import match, read_items
from tools.bench.crosstalk_corpus import Condition, Mixed, dialogues, mix, varied
from wanstreamer.clock import UNIT_MS, Span, intersect_spans, merge_spans, samples_per_unit
from wanstreamer.errors import InputError

LEVELS_DB = (0, -3, -6, -10, -15, -20, -25, -30, -40, -50)
HEARD_DB, TARGET_DB = -30.0, -20.0  # louder in the user's sound, or in the agent's target, makes a window bad
WINDOW_UNITS, STRIDE_UNITS = 32, 16
EDGE_MS = 100  # an annotated edge may be so far from the true one
SAME = {
    "the same sound": Condition(same="copy"),
    "the same sound, other gain": Condition(same="copy", gain_db=(0.0, -9.0)),
    "two cameras in a room": Condition(
        same="room", delay_ms=(3.0, 4.0), reverberation_s=0.4, direct_db=3.0, noise_db=30.0
    ),
    "the same sound in the second half": Condition(same="half"),
}
Figures = dict[str, float]  # of a session: counts and durations, which add up


def conditions() -> dict[str, Condition]:
    """Name -> level and direction; everything else is drawn per session (`varied`)."""
    named = {"none": Condition()}
    for level_db in LEVELS_DB:
        named[f"{level_db} dB"] = Condition(a_in_b_db=level_db)
        named[f"{level_db} dB, both"] = Condition(a_in_b_db=level_db, b_in_a_db=level_db)
    return named


def measure(
    seed: int, *, sessions: int, seconds: int, named: Mapping[str, Condition], on: Callable[[str], None] = print
) -> dict[str, Any]:
    """Condition -> figures with intervals, and the reasons of rejections."""
    annotator = Annotator(AnnotateParams())
    spoken = dialogues(seed, sessions, seconds)
    lines: dict[str, Any] = {}
    for name, condition in named.items():
        on(name)
        with tempfile.TemporaryDirectory(prefix="bench-crosstalk-") as folder:
            by_session, reasons = _annotate(
                (
                    mix(f"s{index:03d}", dialogue, _of_session(condition, seed, index), [seed, 7, index])
                    for index, dialogue in enumerate(spoken)
                ),
                annotator, Path(folder),
            )  # fmt: skip
        lines[name] = {"reasons": reasons, "sessions": by_session}
    return {
        name: {"reasons": line["reasons"]} | summary(line["sessions"], lines.get("none", line)["sessions"], seed)
        for name, line in lines.items()
    }


def _of_session(condition: Condition, seed: int, index: int) -> Condition:
    return condition if condition.same else varied(condition, [seed, 6, index])


def _annotate(sessions: Iterator[Mixed], annotator: Annotator, data: Path) -> tuple[list[Figures], dict[str, int]]:
    tables: dict[str, list[dict[str, Any]]] = {table.name: [] for table in TABLES}
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in truth.TABLES}
    figures: list[Figures] = []
    reasons: dict[str, int] = {}
    ids: list[str] = []
    for session in sessions:
        result = annotate(session, annotator, data)
        for _, reason, _ in result.rejections:
            reasons[reason] = reasons.get(reason, 0) + 1
        figures.append(figures_of(session, result))
        ids.append(session.name)
        if session.condition.hurried_ms:
            continue  # its turns were moved: the script's events are not true any more
        for name, some in result.tables.items():
            tables[name] += some
        rows["sessions"].append({"session_id": session.name, "origin_ms": 0, "duration_ms": 0})
        for name, some in truth.dialogue_rows(session.name, session.dialogue).items():
            rows[name] += some
    if rows["sessions"]:
        _add_events(figures, ids, tables, rows, data)
    return figures, reasons


def _add_events(
    figures: Sequence[Figures], ids: Sequence[str], tables: Mapping[str, Any], rows: truth.Rows, data: Path
) -> None:
    for row in rows["sessions"]:
        row |= dict.fromkeys(set(truth.TABLES["sessions"]) - set(row))
    truth.write_truth(data / "truth", rows)
    blank = {
        "split": "test", "layout": "audio_only", "language": "en", "licence": "", "num_participants": 2, "origin_ms": 0,
        "num_units": 0, "duration_ms": 0, "source_sha256": "",
    }  # fmt: skip
    done = [blank | {"session_id": row["session_id"]} for row in rows["sessions"]]
    write_table(data, "sessions", to_table("sessions", done))
    for name in ("turns", "events"):
        write_table(data, name, to_table(name, tables[name]))
    expected, found = read_items(data)
    pairs = match(expected, found, within_ms=200, ends=True)
    for own, session_id in zip(figures, ids, strict=True):
        for name, items in (("true_events", expected), ("found_events", found)):
            own[name] = float(sum(item.counts for item in items if item.session_id == session_id))
        right = (all(item.counts for item in pair) for pair in pairs if pair[0].session_id == session_id)
        own["right_events"] = float(sum(right))


def annotate(session: Mixed, annotator: Annotator, data: Path) -> Result:
    """annotate's result for a session; its tracks are written below `data`."""
    tracks, rows = [], []
    for who, audio_T in session.tracks.items():
        name = f"tracks/{session.name}.{who}.wav"
        (data / "tracks").mkdir(parents=True, exist_ok=True)
        write_wav(data / name, audio_T, RATE_HZ)
        words = [
            {"session_id": session.name, "participant": who, "index": index, "word": word.text,
             "start_ms": word.start_ms, "end_ms": word.end_ms}
            for index, word in enumerate(session.dialogue.words(who))
        ]  # fmt: skip
        rows += words
        tracks.append(
            {"participant": who, "num_units": len(audio_T) // samples_per_unit(RATE_HZ), "audio_path": name,
             "audio_sha256": file_sha256(data / name), "words_sha256": None, "language": "en", "attributed": True,
             "mixed": []}
        )  # fmt: skip
    return annotator(Job(key=session.name, spec={"tracks": tracks}, inputs=()), data, data)


def figures_of(session: Mixed, result: Result) -> Figures:
    """Counts and durations of one session."""
    units = {
        who: [row for row in result.tables["units"] if row["participant"] == who] for who in ("a", "b")
    }  # fmt: skip
    num_units = len(units["a"])
    spec: dict[str, Any] = {
        "num_units": num_units,
        "words": {},
        "tracks": {who: {"mixed": [], "attributed": True, "words_sha256": "w"} for who in "ab"},
        "latents": {who: {"audio_member": "x", "video_member": "x"} for who in "ab"},
        "units": {who: [[row[name] for name in UnitRow._fields] for row in units[who]] for who in "ab"},
    }
    figures = dict.fromkeys(("windows", "bad_inputs", "bad_targets", "units", "masked_units"), 0.0)
    for agent, user in ("ab", "ba"):
        masks = view_masks(spec, agent, user, ViewParams())
        hidden = {
            role: np.logical_or.reduce([mask for reason, mask in masks.items() if reason.startswith(f"{role}_audio_")])
            for role in ("agent", "user")
        }
        bad_input = (leak_db(session, agent, user, num_units) > HEARD_DB) & ~hidden["user"]
        bad_target = (leak_db(session, user, agent, num_units) > TARGET_DB) & ~hidden["agent"]
        for start in window_starts(num_units, WINDOW_UNITS, STRIDE_UNITS):
            figures["windows"] += 1
            figures["bad_inputs"] += bad_input[start : start + WINDOW_UNITS].any()
            figures["bad_targets"] += bad_target[start : start + WINDOW_UNITS].any()
        figures["units"] += num_units
        figures["masked_units"] += float(hidden["user"].sum())
    return figures | _speech_figures(session, result, units)


def leak_db(session: Mixed, voice: str, track: str, num_units: int) -> np.ndarray:
    """How loud a voice is in each unit of the other's track, relative to its speech in its own track."""
    frames = session.leak[track][: num_units * samples_per_unit(RATE_HZ)].reshape(num_units, -1)
    power = np.mean(frames**2, axis=1) / max(session.speech_power[voice], 1e-20)
    return 10 * np.log10(np.maximum(power, 1e-12))


def _speech_figures(session: Mixed, result: Result, units: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figures:
    figures = dict.fromkeys(("speech_ms", "wrong_ms", "overlap_ms", "lost_overlap_ms", "unknown_ms"), 0.0)
    own = {
        who: [Span(r["start_ms"], r["end_ms"]) for r in result.tables["speech"] if r["participant"] == who]
        for who in "ab"
    }  # fmt: skip
    true = {who: session.dialogue.speech(who) for who in "ab"}
    for who, other in ("ab", "ba"):
        near = merge_spans([Span(max(0, span.start_ms - EDGE_MS), span.end_ms + EDGE_MS) for span in true[who]])
        figures["speech_ms"] += _ms(true[other])
        figures["wrong_ms"] += _ms(intersect_spans(own[who], subtract(true[other], near, 1)))
        unknown = [Span(r["unit"] * UNIT_MS, (r["unit"] + 1) * UNIT_MS) for r in units[who] if r["speech_ms"] is None]
        figures["unknown_ms"] += _ms(intersect_spans(true[who], merge_spans(unknown)))
    both = intersect_spans(true["a"], true["b"])
    figures["overlap_ms"] = _ms(both)
    figures["lost_overlap_ms"] = _ms(both) - _ms(intersect_spans(both, intersect_spans(own["a"], own["b"])))
    return figures


def _ms(spans: Sequence[Span]) -> float:
    return float(sum(span.duration_ms for span in spans))


RATIOS = {
    "bad_inputs": ("bad_inputs", "windows"),
    "bad_targets": ("bad_targets", "windows"),
    "masked": ("masked_units", "units"),
    "wrong_speech": ("wrong_ms", "speech_ms"),
    "lost_overlap": ("lost_overlap_ms", "overlap_ms"),
    "unknown": ("unknown_ms", "speech_ms"),
}


def summary(sessions: Sequence[Figures], clean: Sequence[Figures], seed: int, rounds: int = 1000) -> dict[str, Any]:
    """Each figure as [value, low, high]: shares, and the differences from the same sessions without crosstalk."""
    rng = np.random.default_rng([seed, 8])
    draws = np.vstack([np.arange(len(sessions)), rng.integers(0, len(sessions), (rounds, len(sessions)))])

    def sums(name: str, rows: Sequence[Figures]) -> np.ndarray:
        return np.array([row.get(name, 0.0) for row in rows])[draws].sum(axis=1)

    def share(name: str, rows: Sequence[Figures]) -> np.ndarray:
        above, below = RATIOS[name]
        return sums(above, rows) / np.maximum(sums(below, rows), 1e-9)

    def f1(rows: Sequence[Figures]) -> np.ndarray:
        return 2 * sums("right_events", rows) / np.maximum(sums("true_events", rows) + sums("found_events", rows), 1e-9)

    values = {name: share(name, sessions) for name in RATIOS}
    values["more_masked"] = values["masked"] - share("masked", clean)
    values["events_f1"] = f1(sessions)
    values["f1_lost"] = f1(clean) - f1(sessions)
    return {
        name: [round(float(drawn[0]), 4), *(round(float(x), 4) for x in np.quantile(drawn[1:], [0.025, 0.975]))]
        for name, drawn in values.items()
    }


def add(commands: Any) -> None:
    command = commands.add_parser("crosstalk", help="whose voice it is, with known voices", description=__doc__)
    command.add_argument("--seed", type=int, default=301, help="seed of the corpus (default: 301)")
    command.add_argument("--sessions", type=int, default=12, help="conversations per condition (default: 12)")
    command.add_argument("--seconds", type=int, default=60, help="length of each conversation (default: 60)")
    command.set_defaults(run=run, show=show)


def run(args: argparse.Namespace) -> dict[str, Any]:
    if args.sessions < 1 or args.seconds < 10:
        raise InputError("bench crosstalk: expected --sessions of 1 or more, --seconds of 10 or more")
    console = Console(stderr=True)
    return measure(
        args.seed, sessions=args.sessions, seconds=args.seconds, named=conditions() | SAME,
        on=lambda name: console.print(name, highlight=False),
    )  # fmt: skip


def show(results: dict[str, Any]) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    table = Table(box=SIMPLE_HEAD)
    table.add_column("crosstalk")
    heads = {
        "bad_inputs": "windows with the agent's voice above -30 dB", "bad_targets": "with the user's above -20 dB",
        "wrong_speech": "speech given to the other", "lost_overlap": "overlap lost", "unknown": "no one can tell",
        "masked": "units masked", "more_masked": "more than without", "f1_lost": "F1 lost",
    }  # fmt: skip
    for head in heads.values():
        table.add_column(head, justify="right")
    for name, line in results.items():
        table.add_row(name, *(_cell(line[key], key) for key in heads))
    console.print(table)
    for name, line in results.items():
        if line["reasons"]:
            console.print(f"{name}: " + ", ".join(f"{n} {reason}" for reason, n in sorted(line["reasons"].items())))


def _cell(figure: Sequence[float], key: str) -> str:
    value, low, high = figure
    if key == "f1_lost":
        return f"{value:.3f} [{low:.3f}, {high:.3f}]"
    return f"{value:.2%} [{low:.2%}, {high:.2%}]"
