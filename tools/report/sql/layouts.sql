-- How the conversations were recorded.
SELECT layout, num_participants AS participants, count(*) AS sessions, sum(duration_ms) / 3.6e6 AS hours
FROM sessions
GROUP BY ALL
ORDER BY hours DESC, layout, participants
