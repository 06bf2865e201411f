-- Responses of the listener that take no turn.
SELECT
    label,
    count(*) AS times,
    count(*) / (SELECT nullif(sum(duration_ms), 0) / 3.6e6 FROM sessions) AS per_hour,
    count(*) / (SELECT nullif(sum(end_ms - start_ms), 0) / 3.6e6 FROM speech) AS per_hour_of_speech,
    median(end_ms - start_ms) AS median_ms,
    avg(confidence) AS mean_confidence
FROM events
WHERE kind = 'backchannel'
GROUP BY label
ORDER BY times DESC, label
