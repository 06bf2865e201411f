-- Sessions, hours and people of each split. A person is in one split only.
SELECT s.split, count(*) AS sessions, sum(duration_ms) / 3.6e6 AS hours, any_value(p.people) AS people
FROM sessions s
LEFT JOIN (SELECT split, count(DISTINCT speaker_id) AS people FROM tracks GROUP BY split) p USING (split)
GROUP BY s.split
ORDER BY s.split
