-- Sessions and hours that each stage has done, of those that ingest has kept.
SELECT 1 AS step, 'ingest' AS stage, count(*) AS sessions, coalesce(sum(duration_ms), 0) / 3.6e6 AS hours
FROM sessions
UNION ALL
SELECT 2 AS step, 'quality: usable' AS stage, count(*) AS sessions, coalesce(sum(duration_ms), 0) / 3.6e6 AS hours
FROM sessions
WHERE session_id NOT IN (SELECT session_id FROM quality WHERE NOT usable)
UNION ALL
SELECT 3 AS step, 'annotate' AS stage, count(*) AS sessions, coalesce(sum(duration_ms), 0) / 3.6e6 AS hours
FROM sessions
JOIN read_parquet('{data}/state/annotate/b=*.parquet', hive_partitioning = false) ON key = session_id
WHERE len(tables) > 0
UNION ALL
SELECT 4 AS step, 'encode' AS stage, count(*) AS sessions, coalesce(sum(duration_ms), 0) / 3.6e6 AS hours
FROM sessions
JOIN read_parquet('{data}/state/encode/b=*.parquet', hive_partitioning = false) ON key = session_id
WHERE len(tables) > 0
UNION ALL
SELECT 5 AS step, 'pack: in windows' AS stage, count(*) AS sessions, coalesce(sum(duration_ms), 0) / 3.6e6 AS hours
FROM sessions
JOIN read_parquet('{data}/state/pack/b=*.parquet', hive_partitioning = false) ON key = session_id
WHERE len(segments) > 0
