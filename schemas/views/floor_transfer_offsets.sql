-- Each counted change of the floor: from whom, to whom, and the onset of the next turn minus the end of the last one.
SELECT session_id, start_ms, other AS from_participant, participant AS to_participant, label, fto_ms, source, confidence
FROM events
WHERE kind = 'transition' AND fto_ms IS NOT NULL
ORDER BY session_id, start_ms
