-- The corpus in one row. Hours are of conversation: two participants who talk for an hour are one hour.
SELECT
    count(*) AS sessions,
    coalesce(sum(duration_ms), 0) / 3.6e6 AS hours,
    (SELECT count(DISTINCT speaker_id) FROM tracks) AS people,
    (SELECT count(video_path) FROM tracks) AS tracks_with_video,
    (SELECT count(audio_path) FROM tracks) AS tracks_with_audio,
    (SELECT count(DISTINCT language) FROM tracks) AS languages
FROM sessions
