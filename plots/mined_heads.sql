-- where the attention of every head goes, by class of key, and the class that this gives the head
--
-- Behind mined_chosen.sql.
part (place, key) AS (
    VALUES (1, 'window'), (2, 'sink'), (3, 'milestone'), (4, 'recurring'), (5, 'phoenix'), (6, 'local'), (7, 'unused'), (8, 'censored'),
           (9, 'rest')
), mass AS (
    SELECT v.layer, v.head, v.class, part.place, part.key, sum(v.mean) AS share
    FROM chosen
    JOIN v_analysis v ON v.analysis_id = chosen.id AND v.layer IS NOT NULL
    JOIN part ON v.curve IN ('mass.' || part.key, 'mass.' || part.key || '.prompt', 'mass.' || part.key || '.generated')
    GROUP BY v.layer, v.head, part.place
)
SELECT mass.key AS curve, mass.place, mass.layer, mass.head, mass.class, analysis_head.agree, NULL AS x,
       sum(mass.share) OVER below - mass.share AS low, sum(mass.share) OVER below AS high, chosen.title
FROM chosen
JOIN mass
JOIN analysis_head ON analysis_head.analysis_id = chosen.id AND analysis_head.layer = mass.layer AND analysis_head.head = mass.head
WINDOW below AS (PARTITION BY mass.layer, mass.head ORDER BY mass.place)
ORDER BY mass.layer, mass.head, mass.place;
