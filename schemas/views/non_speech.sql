-- Each sound that is not speech: laughter, breath, vocal noise, noise, and bleed with the participant whose voice it is.
-- Also whether others speak at the same time, and whether others make the same sound (people laugh together).
SELECT
    e.session_id,
    e.participant,
    e.label,
    e.start_ms,
    e.end_ms,
    e.end_ms - e.start_ms AS duration_ms,
    e.other AS voice_of,
    EXISTS (
        FROM speech o
        WHERE o.session_id = e.session_id AND o.participant <> e.participant
            AND o.start_ms < e.end_ms AND o.end_ms > e.start_ms
    ) AS while_others_speak,
    EXISTS (
        FROM events o
        WHERE o.session_id = e.session_id AND o.participant <> e.participant AND o.kind = e.kind AND o.label = e.label
            AND o.start_ms < e.end_ms AND o.end_ms > e.start_ms
    ) AS together,
    e.source,
    e.confidence
FROM events e
WHERE e.kind = 'non_speech'
ORDER BY e.session_id, e.start_ms, e.participant, e.label
