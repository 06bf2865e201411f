-- Tracks that are within all thresholds of the stage quality, and those that are not.
SELECT
    CASE WHEN usable THEN 'usable' WHEN duplicate_of IS NOT NULL THEN 'duplicate of another' ELSE 'not usable' END AS verdict,
    count(*) AS tracks,
    count(*) / sum(count(*)) OVER () AS share
FROM quality
GROUP BY ALL
ORDER BY tracks DESC, verdict
