-- Recorders whose clock was compared with another; those that lie the farthest from it in the tracks come first.
WITH compared AS (
    SELECT session_id, participant, 'camera' AS compared_with, camera_clock AS clock FROM tracks
    UNION ALL
    SELECT session_id, participant, 'partner' AS compared_with, partner_clock AS clock FROM tracks
)
SELECT
    session_id,
    participant,
    compared_with,
    clock.reference AS reference,
    clock.finding AS finding,
    clock.offset_ms AS offset_ms,
    clock.drift_ppm AS drift_ppm,
    clock.drift_error_ppm AS drift_error_ppm,
    clock.confidence AS confidence,
    clock.num_jumps AS num_jumps,
    clock.apart_ms AS apart_ms,
    clock.corrected AS corrected
FROM compared
WHERE clock IS NOT NULL
ORDER BY abs(clock.apart_ms) DESC NULLS LAST, session_id, participant, compared_with
