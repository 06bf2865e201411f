-- What the stage quality has measured of the tracks: python -m tools.query --tables explains each measure.
SELECT
    measure,
    count(value) AS tracks,
    quantile_cont(value, 0.1) AS p10,
    median(value) AS median,
    quantile_cont(value, 0.9) AS p90
FROM (
    UNPIVOT (
        SELECT
            level_db::DOUBLE AS level_db, snr_db::DOUBLE AS snr_db, loudness_lufs::DOUBLE AS loudness_lufs,
            bandwidth_hz::DOUBLE AS bandwidth_hz, clipped_share::DOUBLE AS clipped_share,
            silent_share::DOUBLE AS silent_share, black_share::DOUBLE AS black_share,
            frozen_share::DOUBLE AS frozen_share, cuts_per_min::DOUBLE AS cuts_per_min, detail::DOUBLE AS detail,
            face_share::DOUBLE AS face_share, av_offset_ms::DOUBLE AS av_offset_ms, dnsmos_ovrl::DOUBLE AS dnsmos_ovrl,
            aecmos_echo::DOUBLE AS aecmos_echo
        FROM quality
    ) ON COLUMNS(*) INTO NAME measure VALUE value
)
GROUP BY measure
ORDER BY measure
