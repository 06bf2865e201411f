-- The measures for which there are published figures of human conversation.
WITH
    said AS (SELECT nullif(sum(end_ms - start_ms), 0)::DOUBLE AS ms FROM speech),
    measured AS (
        SELECT
            median(fto_ms) FILTER (WHERE kind = 'transition') AS median_fto_ms,
            avg(fto_ms) FILTER (WHERE kind = 'transition') AS mean_fto_ms,
            count(*) FILTER (WHERE kind = 'transition' AND fto_ms < 0)
                / nullif(count(*) FILTER (WHERE kind = 'transition' AND fto_ms IS NOT NULL), 0) AS overlapped_share,
            count(*) FILTER (WHERE kind = 'transition' AND fto_ms < 500)
                / nullif(count(*) FILTER (WHERE kind = 'transition' AND fto_ms IS NOT NULL), 0) AS under_500_ms_share,
            median(end_ms - start_ms) FILTER (WHERE label = 'gap') AS median_gap_ms,
            median(end_ms - start_ms) FILTER (WHERE label IN ('overlap_within', 'overlap_between')) AS median_overlap_ms,
            mode(floor((end_ms - start_ms) / 20.0) * 20 + 10) FILTER (WHERE label = 'overlap_between')
                AS usual_overlap_ms,
            coalesce(sum(end_ms - start_ms) FILTER (WHERE label IN ('overlap_within', 'overlap_between')), 0) AS both_ms,
            count(*) FILTER (WHERE kind = 'backchannel') AS backchannels
        FROM events
    )
SELECT
    median_fto_ms,
    mean_fto_ms,
    overlapped_share,
    under_500_ms_share,
    median_gap_ms,
    median_overlap_ms,
    usual_overlap_ms,
    (said.ms - 2 * both_ms) / (said.ms - both_ms) AS one_of_speaking_share,
    backchannels / (said.ms / 3.6e6) AS backchannels_per_hour_of_speech
FROM measured, said
