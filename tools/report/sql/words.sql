-- Words, by where they come from.
SELECT
    source,
    coalesce(language, 'not known') AS language,
    count(*) AS words,
    count(*) FILTER (WHERE over_silence) / nullif(count(over_silence), 0)::DOUBLE AS over_silence_share,
    count(*) FILTER (WHERE NOT times_fit) / count(*)::DOUBLE AS times_do_not_fit_share
FROM words
GROUP BY ALL
ORDER BY words DESC, source, language
