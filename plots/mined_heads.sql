-- where the attention of every head goes, by class of key, and the class that this gives the head
--
-- One analysis: of the newest run among what was asked for, that of full attention where there is one.
-- ?1 run (0: any), ?2 model, ?3 dataset (NULL: any).
WITH chosen AS (
    SELECT analysis.id, printf('%s, %s, %s, %d sequence%s%s; used: a ≥ %g%s, more than %d back', dataset.name, model.name,
                               analysis.policy, sequences, iif(sequences = 1, '', 's'), iif(solution = 'gold', ', gold forced', ''),
                               iif(params ->> 'relative' > 0, params ->> 'relative', params ->> 'theta'),
                               iif(params ->> 'relative' > 0, ' / held', ''), params ->> 'window') AS title
    FROM analysis
    JOIN model ON model.id = analysis.model_id
    JOIN dataset ON dataset.id = analysis.dataset_id
    WHERE analysis.kind = 'lifecycle' AND (?1 = 0 OR analysis.run_id = ?1)
      AND (?2 IS NULL OR model.name = ?2) AND (?3 IS NULL OR dataset.name = ?3)
    ORDER BY analysis.run_id DESC, analysis.policy = 'full' DESC, analysis.id DESC LIMIT 1
), part (place, key) AS (
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
