"""The figures of the list of sessions, and the "find me" queries, in SQL over the views of a data folder."""

from typing import NamedTuple

from pipelines.pack.params import ViewParams
from wanstreamer.clock import UNIT_MS


class Figure(NamedTuple):
    name: str
    label: str
    unit: str
    digits: int


class Find(NamedTuple):
    """A query: rows of session_id, start_ms, end_ms, participant, label, detail, confidence."""

    id: str
    label: str
    tables: tuple[str, ...]  # that it needs
    sql: str


# Columns of the list, from `session_summary`; with `sessions` alone, only those that it has.
FIGURES = (
    Figure("duration_s", "length", "s", 0),
    Figure("speech_share", "speech", "share", 2),
    Figure("overlap_share", "overlap", "share", 3),
    Figure("turns", "turns", "", 0),
    Figure("backchannels", "backchannels", "", 0),
    Figure("interruptions", "interruptions", "", 0),
    Figure("floor_taking", "floor taken", "", 0),
    Figure("failed", "failed interruptions", "", 0),
    Figure("simultaneous_starts", "simultaneous starts", "", 0),
    Figure("median_fto_ms", "floor transfer offset", "ms", 0),
    Figure("median_gap_ms", "gap", "ms", 0),
    Figure("median_pause_ms", "pause", "ms", 0),
    Figure("mean_confidence", "confidence", "", 2),
    Figure("min_confidence", "lowest confidence", "", 2),
    Figure("snr_db", "lowest signal to noise", "dB", 0),
    Figure("dnsmos_ovrl", "lowest quality of sound", "1 to 5", 1),
    Figure("face_share", "lowest share with a face", "share", 2),
    Figure("av_offset_ms", "largest offset of sound and picture", "ms", 0),
    Figure("usable", "usable tracks", "", 0),
    Figure("windows", "windows", "", 0),
    Figure("masked_units", "masked units", "", 0),
)

# Table -> an SQL of one row per session, joined to the list where the table is there.
JOINED = {
    "events": """SELECT session_id, avg(confidence)::DOUBLE AS mean_confidence,
        min(confidence)::DOUBLE AS min_confidence,
        count(*) FILTER (label = 'interruption' AND outcome = 'failed') AS failed FROM events GROUP BY session_id""",
    "quality": """SELECT session_id, min(snr_db)::DOUBLE AS snr_db, min(dnsmos_ovrl)::DOUBLE AS dnsmos_ovrl,
        min(face_share)::DOUBLE AS face_share, max(abs(av_offset_ms)) AS av_offset_ms,
        count(*) FILTER (usable) AS usable
        FROM quality GROUP BY session_id""",
    "windows": "SELECT session_id, count(*) AS windows FROM windows GROUP BY session_id",
    "masks": "SELECT session_id, sum(num_units)::BIGINT AS masked_units FROM masks GROUP BY session_id",
}

EXAMPLES = (
    ("many interruptions", "interruptions >= 3"),
    ("much overlap", "overlap_share > 0.1"),
    ("low confidence", "min_confidence < 0.5"),
    ("held out", "split <> 'train'"),
    ("someone laughs", "session_id IN (SELECT session_id FROM events WHERE label = 'laughter')"),
    ("long turns", "session_id IN (SELECT session_id FROM turns WHERE end_ms - start_ms > 20000)"),
)

FINDS = (
    Find("failed_interruptions", "interruptions that failed", ("events",), """
SELECT session_id, start_ms, end_ms, participant, label, 'gives way to ' || other || ' after '
    || (end_ms - start_ms)::VARCHAR || ' ms' AS detail, confidence
FROM events WHERE kind = 'transition' AND label = 'interruption' AND outcome = 'failed'"""),
    Find("uncertain_backchannels", "backchannels with confidence under 0.5", ("events",), """
SELECT session_id, start_ms, end_ms, participant, label, 'during the turn of ' || coalesce(other, '?') AS detail,
    confidence
FROM events WHERE kind = 'backchannel' AND confidence < 0.5"""),
    Find("pauses_with_other", "pauses over 1 s in which the other came in", ("events", "ipus", "turns"), """
SELECT session_id, start_ms - fto_ms AS start_ms, start_ms AS end_ms, participant, label,
    'takes the floor after ' || fto_ms::VARCHAR || ' ms of silence of ' || coalesce(other, '?') AS detail, confidence
FROM events WHERE kind = 'transition' AND label = 'pause_interruption' AND fto_ms > 1000
UNION ALL
SELECT DISTINCT g.session_id, g.start_ms, g.end_ms, o.participant, 'pause' AS label,
    'speaks in a pause of ' || (g.end_ms - g.start_ms)::VARCHAR || ' ms of ' || g.participant AS detail,
    NULL AS confidence
FROM (
    SELECT session_id, participant, end_ms AS start_ms,
        lead(start_ms) OVER (PARTITION BY session_id, participant ORDER BY start_ms) AS end_ms
    FROM ipus
) g
JOIN turns t ON t.session_id = g.session_id AND t.participant = g.participant
    AND t.start_ms < g.start_ms AND t.end_ms > g.end_ms
JOIN ipus o ON o.session_id = g.session_id AND o.participant <> g.participant
    AND o.start_ms >= g.start_ms AND o.start_ms < g.end_ms
WHERE g.end_ms - g.start_ms > 1000"""),
    Find("masked_sound", "units that are masked, and why: sound and picture", ("units",), f"""
SELECT session_id, min(unit) * {UNIT_MS} AS start_ms, (max(unit) + 1) * {UNIT_MS} AS end_ms, participant,
    'masked' AS label, why || ' (' || count(*)::VARCHAR || ' units)' AS detail, NULL AS confidence
FROM (
    SELECT *, unit - row_number() OVER (PARTITION BY session_id, participant, why ORDER BY unit) AS island
    FROM (
        SELECT session_id, participant, unit, concat_ws(', ',
            CASE WHEN audio_mixed AND speech_ms IS NULL THEN 'whose voice it is, is not known'
                 WHEN audio_mixed THEN 'the sound has several people' END,
            CASE WHEN bleed_heard AND bleed_db > {ViewParams().max_bleed_db} THEN 'another voice bleeds in' END,
            CASE WHEN NOT video_visible THEN 'the picture does not show the person' END) AS why
        FROM units
        WHERE audio_mixed OR (bleed_heard AND bleed_db > {ViewParams().max_bleed_db}) OR NOT video_visible
    )
)
GROUP BY session_id, participant, why, island"""),
    Find("masked_streams", "streams that are masked in training, by reason", ("masks", "sessions"), """
SELECT m.session_id, 0 AS start_ms, s.duration_ms AS end_ms,
    CASE WHEN starts_with(m.reason, 'user') THEN m.user ELSE m.agent END AS participant, m.reason AS label,
    m.num_units::VARCHAR || ' of ' || s.num_units::VARCHAR || ' units, with ' || m.agent || ' as the agent' AS detail,
    NULL AS confidence
FROM masks m JOIN sessions s USING (session_id) WHERE m.num_units > 0"""),
)  # fmt: skip
