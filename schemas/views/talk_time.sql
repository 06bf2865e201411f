-- How long each participant spoke, as time and as share of the session and of all speech.
SELECT
    t.session_id,
    t.participant,
    t.speaker_id,
    t.split,
    coalesce(s.speech_ms, 0) / 1000.0 AS speech_s,
    coalesce(s.intervals, 0) AS intervals,
    coalesce(s.speech_ms, 0) / (t.num_units * 160.0) AS share_of_session,
    coalesce(s.speech_ms, 0) / nullif(sum(s.speech_ms) OVER (PARTITION BY t.session_id), 0) AS share_of_speech
FROM tracks t
LEFT JOIN (
    SELECT session_id, participant, sum(end_ms - start_ms)::DOUBLE AS speech_ms, count(*) AS intervals
    FROM speech
    GROUP BY ALL
) s USING (session_id, participant)
ORDER BY t.session_id, t.participant
