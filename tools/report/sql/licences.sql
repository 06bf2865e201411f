-- Licences of the recordings.
SELECT
    coalesce(licence, 'not known') AS licence,
    count(DISTINCT speaker_id) AS people,
    count(*) AS tracks,
    sum(num_units) * 0.16 / 3600 AS track_hours
FROM tracks
GROUP BY ALL
ORDER BY track_hours DESC, licence
