-- Training windows of each split. Windows overlap, and both role views count: hours are more than those of conversation.
SELECT
    split,
    count(*) AS windows,
    sum(num_units) * 0.16 / 3600 AS window_hours,
    sum(user_audio_masked_units) / sum(num_units)::DOUBLE AS user_audio_masked_share,
    sum(agent_audio_masked_units) / sum(num_units)::DOUBLE AS agent_audio_masked_share,
    sum(agent_speech_ms) / (sum(num_units) * 160.0) AS agent_speaks_share
FROM windows
GROUP BY split
ORDER BY split
