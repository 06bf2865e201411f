-- What the last run of each stage spent, for an hour of conversation. CPU seconds are those of all cores together.
SELECT
    parse_filename(filename, true) AS stage,
    keys::BIGINT AS sessions_done,
    workers::INTEGER AS workers,
    wall_s,
    cpu_s,
    whole.hours * least(1, coalesce(keys / whole.sessions, 1)) AS hours_done,
    wall_s / nullif(hours_done, 0) AS wall_s_per_hour,
    cpu_s / nullif(hours_done, 0) AS cpu_s_per_hour,
    cpu_s / 3600 * nullif({cpu_hour}, 0) / nullif(hours_done, 0) AS money_per_hour
FROM
    read_json(
        '{data}/timings/*.json', filename = true,
        columns = {cpu_s: 'DOUBLE', wall_s: 'DOUBLE', workers: 'DOUBLE', keys: 'DOUBLE'}
    ),
    (SELECT count(*)::DOUBLE AS sessions, sum(duration_ms) / 3.6e6 AS hours FROM sessions) whole
ORDER BY
    list_position(
        ['sample', 'people', 'ingest', 'quality', 'annotate', 'vae', 'encode', 'pack', 'pretrain', 'duplex', 'evaluate',
            'behaviour'],
        stage
    ),
    stage
