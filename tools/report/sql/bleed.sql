-- Whether one participant's voice is heard in another's track.
SELECT
    verdict,
    sum(end_ms - start_ms) / 3.6e6 AS hours,
    sum(end_ms - start_ms) / sum(sum(end_ms - start_ms)) OVER () AS share,
    median(level_db) AS median_level_db
FROM bleed
GROUP BY verdict
ORDER BY hours DESC, verdict
