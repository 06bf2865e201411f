-- Each silence at a change of the floor: who spoke before, who after, and how long it is. Up to 40 ms it is a latch.
SELECT session_id, start_ms, end_ms, participant AS from_participant, other AS to_participant,
    end_ms - start_ms AS duration_ms, confidence
FROM events
WHERE kind = 'state' AND label = 'gap'
ORDER BY session_id, start_ms
