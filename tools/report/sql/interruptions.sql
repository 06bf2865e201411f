-- Interruptions by their outcome; pause_interruption: the other person had paused before the end of a phrase.
SELECT
    label,
    coalesce(outcome, '') AS outcome,
    count(*) AS times,
    count(*) / (SELECT nullif(sum(duration_ms), 0) / 3.6e6 FROM sessions) AS per_hour,
    count(*) / sum(count(*)) OVER () AS share,
    median(yield_ms) AS median_yield_ms,
    avg(confidence) AS mean_confidence
FROM events
WHERE kind = 'transition' AND label IN ('interruption', 'pause_interruption', 'simultaneous_start')
GROUP BY ALL
ORDER BY times DESC, label, outcome
