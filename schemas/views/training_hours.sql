-- Hours of windows per split. A unit counts once in every window and role view that contains it.
SELECT split, count(*) AS windows, count(DISTINCT session_id) AS sessions, sum(num_units) * 0.16 / 3600 AS hours,
    sum(user_audio_masked_units) AS user_audio_masked_units, sum(agent_audio_masked_units) AS agent_audio_masked_units
FROM windows
GROUP BY split
ORDER BY split
