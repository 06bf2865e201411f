-- Lengths of pauses, gaps and overlaps, each as shares of its kind, in bins of 100 ms; the last bin holds all longer ones.
SELECT label, from_ms, count(*) AS times, count(*) / sum(count(*)) OVER (PARTITION BY label) AS share
FROM (
    SELECT
        CASE WHEN label IN ('overlap_within', 'overlap_between') THEN 'overlap' ELSE label END AS label,
        least(2900, floor((end_ms - start_ms) / 100.0) * 100)::INTEGER AS from_ms
    FROM events
    WHERE kind = 'state' AND label IN ('pause', 'gap', 'overlap_within', 'overlap_between')
)
GROUP BY label, from_ms
ORDER BY label, from_ms
