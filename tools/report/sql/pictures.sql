-- Sizes of the source's pictures, and how much of them the tracks show; the ten most frequent.
SELECT
    source_width::VARCHAR || ' x ' || source_height::VARCHAR AS picture,
    count(*) AS tracks,
    avg(picture_kept_share) AS kept_share,
    avg(faces_kept_share) AS whole_face_share
FROM tracks
WHERE video_path IS NOT NULL
GROUP BY ALL
ORDER BY tracks DESC, picture
LIMIT 10
