-- What was rejected: by which stage, for what reason, how often, and for how many keys.
SELECT stage, reason, sum("count")::BIGINT AS times, count(DISTINCT key) AS keys, min(key) AS for_example
FROM rejections
GROUP BY stage, reason
ORDER BY times DESC, stage, reason
