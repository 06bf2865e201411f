-- What ingest has filled, cut or held because the recordings lack it.
SELECT
    count(*) AS tracks,
    count(*) FILTER (WHERE audio_filled_ms > 0) AS with_filled_sound,
    coalesce(sum(audio_filled_ms), 0) / 1000.0 AS filled_sound_s,
    count(*) FILTER (WHERE audio_cut_ms > 0) AS with_cut_sound,
    coalesce(sum(audio_cut_ms), 0) / 1000.0 AS cut_sound_s,
    count(*) FILTER (WHERE video_held_ms > 0) AS with_held_picture,
    coalesce(sum(video_held_ms), 0) / 1000.0 AS held_picture_s,
    count(*) FILTER (WHERE clock_joins > 0) AS with_joined_clocks
FROM tracks
