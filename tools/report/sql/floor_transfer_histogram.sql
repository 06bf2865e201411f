-- Floor transfer offsets in bins of 100 ms; the first and the last bin hold all that is beyond.
SELECT
    greatest(-2000, least(2900, floor(fto_ms / 100.0) * 100))::INTEGER AS from_ms,
    count(*) AS transfers,
    count(*) / sum(count(*)) OVER () AS share
FROM events
WHERE kind = 'transition' AND fto_ms IS NOT NULL
GROUP BY ALL
ORDER BY from_ms
