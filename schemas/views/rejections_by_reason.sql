-- What was turned away: how often, for how many keys, by which stage and why.
SELECT stage, reason, sum("count")::BIGINT AS times, count(DISTINCT key) AS keys, min(key) AS for_example
FROM rejections
GROUP BY stage, reason
ORDER BY times DESC, stage, reason
