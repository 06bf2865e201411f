-- Each backchannel with its words (null without a transcript), and whether the floor holder was silent.
SELECT
    e.session_id,
    e.participant,
    e.start_ms,
    e.end_ms,
    e.end_ms - e.start_ms AS duration_ms,
    trim(lower(regexp_replace(i.text, '[.,!?;:…]', '', 'g'))) AS words,
    e.label,
    e.other AS to_participant,
    NOT EXISTS (
        FROM ipus o
        WHERE o.session_id = e.session_id AND o.participant = e.other
            AND o.start_ms < e.end_ms AND o.end_ms > e.start_ms
    ) AS in_pause,
    e.confidence
FROM events e
JOIN ipus i ON i.session_id = e.session_id AND i.participant = e.participant AND i.start_ms = e.start_ms
WHERE e.kind = 'backchannel'
ORDER BY e.session_id, e.start_ms, e.participant
