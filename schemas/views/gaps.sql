-- Each silence at a floor change: who spoke before, who after, how long. Those of at most 40 ms are latches.
SELECT session_id, start_ms, end_ms, participant AS from_participant, other AS to_participant,
    end_ms - start_ms AS duration_ms, confidence
FROM events
WHERE kind = 'state' AND label = 'gap'
ORDER BY session_id, start_ms
