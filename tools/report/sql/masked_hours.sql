-- Time of role views that is masked, by reason: user_* masks what the model gets, agent_* its loss. Both views of a
-- conversation count, and a unit may be masked for several reasons.
SELECT
    m.reason,
    sum(m.num_units) * 0.16 / 3600 AS hours,
    sum(m.num_units) / sum(s.num_units)::DOUBLE AS share,
    count(*) FILTER (WHERE m.num_units > 0) AS role_views
FROM masks m
JOIN sessions s USING (session_id)
GROUP BY m.reason
HAVING sum(m.num_units) > 0
ORDER BY hours DESC, m.reason
