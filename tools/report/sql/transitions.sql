-- Turns by the way they begin; the page Events of the docs explains the labels.
SELECT
    label,
    count(*) AS turns,
    count(*) / (SELECT nullif(sum(duration_ms), 0) / 3.6e6 FROM sessions) AS per_hour,
    count(*) / sum(count(*)) OVER () AS share,
    median(fto_ms) AS median_offset_ms
FROM events
WHERE kind = 'transition'
GROUP BY label
ORDER BY turns DESC, label
