-- Each change of speakers with almost no gap or overlap: too short to be planned or measured.
SELECT session_id, start_ms, end_ms, participant AS from_participant, other AS to_participant,
    end_ms - start_ms AS duration_ms, confidence
FROM events
WHERE kind = 'state' AND label = 'latch'
ORDER BY session_id, start_ms
