-- Languages, as the manifest names them.
SELECT
    coalesce(language, 'not known') AS language,
    count(*) AS tracks,
    count(DISTINCT speaker_id) AS people,
    sum(num_units) * 0.16 / 3600 AS track_hours
FROM tracks
GROUP BY ALL
ORDER BY track_hours DESC, language
