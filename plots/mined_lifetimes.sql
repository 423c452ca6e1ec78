-- lifetimes of keys by class, and the silence before a first use, of every head
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
), life AS (
    SELECT replace(v.curve, 'lifetime.', '') AS key, v.layer, v.head, ifnull(v.class, 'all') AS class, v.x, v.mean, ifnull(v.lo, v.mean) AS lo, ifnull(v.hi, v.mean) AS hi
    FROM chosen
    JOIN v_analysis v ON v.analysis_id = chosen.id
    WHERE v.curve LIKE 'lifetime.%' OR v.curve = 'birth_silence'
)
SELECT life.key AS curve, layer, head, class, NULL AS x, max(iif(x = 0.25, mean, NULL)) AS q1, max(iif(x = 0.5, mean, NULL)) AS median,
       max(iif(x = 0.5, lo, NULL)) AS lo, max(iif(x = 0.5, hi, NULL)) AS hi, max(iif(x = 0.75, mean, NULL)) AS q3,
       max(iif(x = 0.25, lo, NULL)) AS q1_lo, max(iif(x = 0.75, hi, NULL)) AS q3_hi, chosen.title
FROM chosen JOIN life
GROUP BY life.key, layer, head
ORDER BY life.key, layer, head;
