-- Recorders whose clock was compared with that of a camera or of another recorder.
SELECT
    compared_with,
    finding,
    count(*) AS tracks,
    count(*) FILTER (WHERE corrected) AS corrected,
    median(abs(apart_ms)) AS median_apart_ms,
    max(abs(apart_ms)) AS most_apart_ms
FROM recorder_clocks
GROUP BY ALL
ORDER BY tracks DESC, compared_with, finding
