-- One row per session: length, people, speech, and counts of events; medians in ms.
SELECT
    s.session_id,
    s.split,
    s.layout,
    s.language,
    s.num_participants,
    s.duration_ms / 1000.0 AS duration_s,
    coalesce(p.speech_ms, 0) / s.duration_ms AS speech_share,
    coalesce(t.turns, 0) AS turns,
    t.median_turn_ms,
    coalesce(e.backchannels, 0) AS backchannels,
    coalesce(e.interruptions, 0) AS interruptions,
    coalesce(e.floor_taking, 0) AS floor_taking,
    coalesce(e.simultaneous_starts, 0) AS simultaneous_starts,
    coalesce(e.initiations, 0) AS initiations,
    e.median_fto_ms,
    e.median_gap_ms,
    e.median_pause_ms,
    coalesce(e.overlap_ms, 0) / s.duration_ms AS overlap_share
FROM sessions s
LEFT JOIN (SELECT session_id, sum(end_ms - start_ms)::DOUBLE AS speech_ms FROM speech GROUP BY ALL) p USING (session_id)
LEFT JOIN (
    SELECT session_id, count(*) AS turns, median(end_ms - start_ms) AS median_turn_ms
    FROM turns
    WHERE is_primary
    GROUP BY ALL
) t USING (session_id)
LEFT JOIN (
    SELECT
        session_id,
        count(*) FILTER (kind = 'backchannel') AS backchannels,
        count(*) FILTER (label = 'interruption') AS interruptions,
        count(*) FILTER (label = 'interruption' AND outcome = 'floor_taking') AS floor_taking,
        -- Every participant in a simultaneous start has a row; rows of one start are less than 500 ms apart.
        count(*) FILTER (label = 'simultaneous_start' AND coalesce(since_ms > 500, true)) AS simultaneous_starts,
        count(*) FILTER (label = 'initiation') AS initiations,
        median(fto_ms) FILTER (kind = 'transition') AS median_fto_ms,
        median(end_ms - start_ms) FILTER (label = 'gap') AS median_gap_ms,
        median(end_ms - start_ms) FILTER (label = 'pause') AS median_pause_ms,
        sum(end_ms - start_ms) FILTER (label IN ('overlap_within', 'overlap_between'))::DOUBLE AS overlap_ms
    FROM (
        SELECT *, start_ms - lag(start_ms) OVER (PARTITION BY session_id, label ORDER BY start_ms) AS since_ms
        FROM events
    )
    GROUP BY ALL
) e USING (session_id)
ORDER BY s.session_id
