-- Of the time of all conversations: no one speaks, one speaks, two speak. Overlaps are those of the table events.
WITH
    said AS (SELECT coalesce(sum(end_ms - start_ms), 0) / 3.6e6 AS hours FROM speech),
    together AS (
        SELECT coalesce(sum(end_ms - start_ms), 0) / 3.6e6 AS hours
        FROM events
        WHERE kind = 'state' AND label IN ('overlap_within', 'overlap_between')
    ),
    whole AS (SELECT nullif(sum(duration_ms), 0) / 3.6e6 AS hours FROM sessions)
SELECT
    said.hours AS speech_hours,
    1 - (said.hours - together.hours) / whole.hours AS silent_share,
    (said.hours - 2 * together.hours) / whole.hours AS one_speaks_share,
    together.hours / whole.hours AS two_speak_share
FROM said, together, whole
