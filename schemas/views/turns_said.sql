-- Each turn with its words (null without a transcript), and how it began.
SELECT
    t.session_id,
    t.participant,
    t.start_ms,
    t.end_ms,
    t.end_ms - t.start_ms AS duration_ms,
    string_agg(i.text, ' ' ORDER BY i.start_ms) AS said,
    t.is_primary,
    t.complete,
    e.label AS began_as,
    e.outcome,
    e.other,
    e.fto_ms
FROM turns t
LEFT JOIN events e ON e.session_id = t.session_id AND e.participant = t.participant AND e.start_ms = t.start_ms
    AND e.kind = 'transition'
LEFT JOIN ipus i ON i.session_id = t.session_id AND i.participant = t.participant
    AND i.start_ms >= t.start_ms AND i.end_ms <= t.end_ms
GROUP BY ALL
ORDER BY t.session_id, t.start_ms, t.participant
