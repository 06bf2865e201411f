-- Each turn of a participant who also had the turn before, and the pause since that turn.
SELECT
    e.session_id,
    e.start_ms,
    e.participant,
    e.start_ms - max(t.end_ms) AS pause_ms,
    e.confidence
FROM events e
LEFT JOIN turns t ON t.session_id = e.session_id AND t.participant = e.participant AND t.start_ms < e.start_ms
WHERE e.kind = 'transition' AND e.label = 'hold'
GROUP BY e.session_id, e.start_ms, e.participant, e.confidence
ORDER BY e.session_id, e.start_ms
