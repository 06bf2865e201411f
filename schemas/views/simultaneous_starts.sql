-- Each participant in a simultaneous start: with whom, how much earlier than the other, and who continued.
SELECT
    e.session_id,
    e.start_ms,
    e.participant,
    e.other,
    min_by(t.start_ms - e.start_ms, abs(t.start_ms - e.start_ms)) AS ahead_ms,
    e.outcome,
    e.confidence
FROM events e
JOIN turns t ON t.session_id = e.session_id AND t.participant = e.other
WHERE e.kind = 'transition' AND e.label = 'simultaneous_start'
GROUP BY e.session_id, e.start_ms, e.participant, e.other, e.outcome, e.confidence
ORDER BY e.session_id, e.start_ms, e.participant
