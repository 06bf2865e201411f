-- What was rejected, by stage and reason. A whole session, or a part of one: a track, a role view, a window, a word.
-- Hours are null where no stage has measured the length of the sessions.
WITH rejected AS (
    SELECT stage, reason, key, sum("count")::BIGINT AS times
    FROM rejections
    GROUP BY ALL
)
SELECT
    r.stage,
    r.reason,
    count(*) FILTER (WHERE s.session_id IS NOT NULL OR r.stage IN ('people', 'ingest') AND NOT contains(key, '/'))
        AS whole_sessions,
    sum(s.duration_ms) / 3.6e6 AS hours,
    count(*) FILTER (WHERE s.session_id IS NULL AND (r.stage NOT IN ('people', 'ingest') OR contains(key, '/')))
        AS parts,
    sum(times)::BIGINT AS times
FROM rejected r
LEFT JOIN sessions s ON s.session_id = r.key
GROUP BY r.stage, r.reason
ORDER BY whole_sessions DESC, parts DESC, r.stage, r.reason
