-- How evenly people talk: participants by their share of all speech in their session.
SELECT
    least(floor(share_of_speech * 10), 9) * 10 AS from_percent,
    count(*) AS participants,
    count(*) / sum(count(*)) OVER () AS share
FROM talk_time
WHERE share_of_speech IS NOT NULL
GROUP BY ALL
ORDER BY from_percent
