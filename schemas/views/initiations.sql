-- Each onset after a long silence of all, or the first of a session: who began, after how long a silence (null: first).
SELECT
    e.session_id,
    e.start_ms,
    e.participant,
    e.start_ms - max(i.end_ms) AS silence_ms,
    e.confidence
FROM events e
LEFT JOIN ipus i ON i.session_id = e.session_id AND i.start_ms < e.start_ms
WHERE e.kind = 'transition' AND e.label = 'initiation'
GROUP BY e.session_id, e.start_ms, e.participant, e.confidence
ORDER BY e.session_id, e.start_ms
