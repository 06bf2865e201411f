-- On what the rules decided, and how certain they are: words, timing or audio.
SELECT kind, source, count(*) AS events, avg(confidence) AS mean_confidence,
    count(*) FILTER (WHERE confidence < 0.5) / count(*)::DOUBLE AS under_half_share
FROM events
GROUP BY ALL
ORDER BY kind, events DESC, source
