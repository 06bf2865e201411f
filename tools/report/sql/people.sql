-- How many people there are, and how the hours are spread over them.
WITH person AS (
    SELECT speaker_id, count(*) AS tracks, sum(num_units) * 0.16 / 3600 AS hours
    FROM tracks
    GROUP BY speaker_id
)
SELECT
    count(*) AS people,
    count(*) FILTER (WHERE tracks > 1) AS people_in_several_sessions,
    min(hours) AS least_hours,
    median(hours) AS median_hours,
    max(hours) AS most_hours,
    max(hours) / nullif(sum(hours), 0) AS largest_person_share
FROM person
