-- Turns that are not within another person's turn.
SELECT
    count(*) AS turns,
    count(*) / (SELECT nullif(sum(duration_ms), 0) / 3.6e6 FROM sessions) AS turns_per_hour,
    median(end_ms - start_ms) AS median_turn_ms,
    avg(end_ms - start_ms) AS mean_turn_ms,
    quantile_cont(end_ms - start_ms, 0.9) AS p90_ms,
    avg(num_words) AS words_per_turn
FROM turns
WHERE is_primary
