-- Each silence of all participants after which the same participant continues.
SELECT session_id, participant, start_ms, end_ms, end_ms - start_ms AS duration_ms, confidence
FROM events
WHERE kind = 'state' AND label = 'pause'
ORDER BY session_id, start_ms
