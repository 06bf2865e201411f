-- Each interval in which two speak: who spoke before, who came in, and whether the speaker changed.
SELECT
    session_id,
    start_ms,
    end_ms,
    participant AS before,
    other AS came_in,
    label = 'overlap_between' AS changes_speaker,
    end_ms - start_ms AS duration_ms,
    confidence
FROM events
WHERE kind = 'state' AND label IN ('overlap_within', 'overlap_between')
ORDER BY session_id, start_ms
