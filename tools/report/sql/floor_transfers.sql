-- Floor transfer offsets: the onset of a turn minus the end of the other person's turn. Negative: they overlap.
SELECT
    count(*) AS transfers,
    count(*) / (SELECT nullif(sum(duration_ms), 0) / 3.6e6 FROM sessions) AS transfers_per_hour,
    quantile_cont(fto_ms, 0.25) AS p25_ms,
    median(fto_ms) AS median_ms,
    quantile_cont(fto_ms, 0.75) AS p75_ms,
    avg(fto_ms) AS mean_ms,
    count(*) FILTER (WHERE fto_ms < 0) / nullif(count(*), 0)::DOUBLE AS overlapped_share
FROM events
WHERE kind = 'transition' AND fto_ms IS NOT NULL
