-- What lies on disk.
SELECT 1 AS step, 'tracks' AS part, count(*) AS files, coalesce(sum(file.num_bytes), 0)::BIGINT AS num_bytes,
    num_bytes / (SELECT nullif(sum(duration_ms), 0) / 3.6e6 FROM sessions) AS bytes_per_hour
FROM (SELECT unnest(files) AS file FROM read_parquet('{data}/state/ingest/b=*.parquet', hive_partitioning = false))
UNION ALL
SELECT 2 AS step, 'tables' AS part, count(*) AS files, coalesce(sum(size), 0)::BIGINT AS num_bytes,
    num_bytes / (SELECT nullif(sum(duration_ms), 0) / 3.6e6 FROM sessions) AS bytes_per_hour
FROM read_blob('{data}/tables/**/*.parquet')
UNION ALL
SELECT 3 AS step, 'latents' AS part, count(DISTINCT extent.shard) AS files, coalesce(sum(extent.num_bytes), 0)::BIGINT AS num_bytes,
    num_bytes / (SELECT nullif(sum(duration_ms), 0) / 3.6e6 FROM sessions) AS bytes_per_hour
FROM (SELECT unnest(segments) AS extent FROM read_parquet('{data}/state/encode/b=*.parquet', hive_partitioning = false))
UNION ALL
SELECT 4 AS step, 'windows' AS part, count(DISTINCT extent.shard) AS files, coalesce(sum(extent.num_bytes), 0)::BIGINT AS num_bytes,
    num_bytes / (SELECT nullif(sum(duration_ms), 0) / 3.6e6 FROM sessions) AS bytes_per_hour
FROM (SELECT unnest(segments) AS extent FROM read_parquet('{data}/state/pack/b=*.parquet', hive_partitioning = false))
UNION ALL
SELECT 5 AS step, 'models' AS part, count(*) AS files, coalesce(sum(size), 0)::BIGINT AS num_bytes,
    num_bytes / (SELECT nullif(sum(duration_ms), 0) / 3.6e6 FROM sessions) AS bytes_per_hour
FROM read_blob('{data}/models/**/*.*')
