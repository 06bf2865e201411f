-- Floor transfer offsets by the language of the session: speakers of some languages answer faster than others.
SELECT
    coalesce(language, 'not known') AS language,
    count(*) AS transfers,
    median(fto_ms) AS median_ms,
    avg(fto_ms) AS mean_ms,
    count(*) FILTER (WHERE fto_ms < 0) / count(*)::DOUBLE AS overlapped_share
FROM events
JOIN sessions USING (session_id)
WHERE kind = 'transition' AND fto_ms IS NOT NULL
GROUP BY ALL
ORDER BY transfers DESC, language
