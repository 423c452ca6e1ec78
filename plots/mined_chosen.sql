-- What the queries of the figures mined_* begin with: one analysis, of the newest run among what was asked for, that of
-- full attention where there is one.
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
),
