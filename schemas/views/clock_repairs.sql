-- Tracks whose source lost sound or video, or whose timestamps were repaired; the worst first.
SELECT
    session_id,
    participant,
    coalesce(audio_filled_ms, 0) / 1000.0 AS audio_filled_s,
    coalesce(audio_cut_ms, 0) / 1000.0 AS audio_cut_s,
    coalesce(video_held_ms, 0) / 1000.0 AS video_held_s,
    clock_joins
FROM tracks
WHERE audio_filled_ms > 0 OR audio_cut_ms > 0 OR video_held_ms > 0 OR clock_joins > 0
ORDER BY coalesce(audio_filled_ms, 0) + coalesce(audio_cut_ms, 0) + coalesce(video_held_ms, 0) DESC,
    session_id,
    participant
