-- Each transcript: its words, how many lie where no speech of the participant was found.
SELECT
    session_id,
    participant,
    count(*) AS words,
    count(*) FILTER (over_silence) AS over_silence,
    count(*) FILTER (over_silence) / nullif(count(over_silence), 0) AS share_over_silence,
    any_value(source) AS source,
    any_value(language) AS language
FROM words
GROUP BY session_id, participant
ORDER BY share_over_silence DESC NULLS LAST, session_id, participant
