-- Pauses (the same person goes on), gaps (another does), latches and overlaps.
SELECT
    label,
    count(*) AS times,
    count(*) / any_value(whole.hours) AS per_hour,
    median(end_ms - start_ms) AS median_ms,
    avg(end_ms - start_ms) AS mean_ms,
    quantile_cont(end_ms - start_ms, 0.9) AS p90_ms,
    sum(end_ms - start_ms) / 3.6e6 / any_value(whole.hours) AS time_share
FROM events, (SELECT nullif(sum(duration_ms), 0) / 3.6e6 AS hours FROM sessions) whole
WHERE kind = 'state'
GROUP BY label
ORDER BY times DESC, label
