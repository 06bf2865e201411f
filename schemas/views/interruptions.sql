-- Each interruption: who interrupted whom, who yielded after what time, and how long both spoke.
SELECT
    session_id,
    start_ms,
    participant AS challenger,
    other AS incumbent,
    outcome,
    CASE outcome WHEN 'floor_taking' THEN other WHEN 'failed' THEN participant ELSE 'both' END AS yielded_by,
    CASE outcome WHEN 'floor_taking' THEN 'incumbent' WHEN 'failed' THEN 'challenger' ELSE 'both' END AS yielded_role,
    yield_ms,
    end_ms - start_ms AS overlap_ms,
    source,
    confidence
FROM events
WHERE kind = 'transition' AND label = 'interruption'
ORDER BY session_id, start_ms
