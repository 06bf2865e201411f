-- Each silence and each overlap between speech of one person alone: who spoke before, who after, and how long it is.
SELECT session_id, start_ms, label, participant AS before, coalesce(other, participant) AS after_or_along,
    end_ms - start_ms AS duration_ms
FROM events
WHERE kind = 'state'
ORDER BY session_id, start_ms
