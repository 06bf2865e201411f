-- One row per session: length, people, speech, turns, backchannels, interruptions, and the median transfer offset.
SELECT
    s.session_id,
    s.split,
    s.layout,
    s.language,
    s.num_participants,
    s.duration_ms / 1000.0 AS duration_s,
    coalesce(p.speech_ms, 0) / s.duration_ms AS speech_share,
    coalesce(t.turns, 0) AS turns,
    coalesce(e.backchannels, 0) AS backchannels,
    coalesce(e.interruptions, 0) AS interruptions,
    e.median_fto_ms
FROM sessions s
LEFT JOIN (SELECT session_id, sum(end_ms - start_ms)::DOUBLE AS speech_ms FROM speech GROUP BY ALL) p USING (session_id)
LEFT JOIN (SELECT session_id, count(*) AS turns FROM turns WHERE is_primary GROUP BY ALL) t USING (session_id)
LEFT JOIN (
    SELECT
        session_id,
        count(*) FILTER (kind = 'backchannel') AS backchannels,
        count(*) FILTER (label = 'interruption') AS interruptions,
        median(fto_ms) FILTER (kind = 'transition') AS median_fto_ms
    FROM events
    GROUP BY ALL
) e USING (session_id)
ORDER BY s.session_id
