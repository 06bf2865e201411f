-- What people agreed to: train, share, show. Not known: train here, share and show nothing.
SELECT
    CASE WHEN consent IS NULL THEN 'not known' WHEN len(consent) = 0 THEN 'nothing'
        ELSE array_to_string(list_sort(consent), ', ') END AS agreed_to,
    count(DISTINCT speaker_id) AS people,
    count(*) AS tracks,
    sum(num_units) * 0.16 / 3600 AS track_hours
FROM tracks
GROUP BY ALL
ORDER BY track_hours DESC, agreed_to
