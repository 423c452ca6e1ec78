-- what became of answers: right, wrong, looped, truncated, unboxed, numeric, per policy and budget
--
-- One model, dataset and settings: those of the newest result among what was asked for.
-- ?1 run (0: any), ?2 model, ?3 dataset (NULL: any).
WITH newest AS (
    SELECT cell.* FROM result
    JOIN cell ON cell.id = result.cell_id
    JOIN model ON model.id = cell.model_id
    JOIN dataset ON dataset.id = cell.dataset_id
    WHERE (?1 = 0 OR cell.id IN (SELECT cell_id FROM run_cell WHERE run_id = ?1))
      AND (?2 IS NULL OR model.name = ?2)
      AND (?3 IS NULL OR dataset.name = ?3)
    ORDER BY cell.timing = 'shared' DESC, result.id DESC LIMIT 1
), drawn AS ( -- of a policy in several versions the newest
    SELECT cell.id, row_number() OVER (PARTITION BY cell.policy, cell.budget ORDER BY cell.policy_version DESC) AS place
    FROM newest
    JOIN cell ON cell.model_id = newest.model_id AND cell.dataset_id = newest.dataset_id
        AND json_remove(cell.config, '$.policy') = json_remove(newest.config, '$.policy')
    WHERE (?1 = 0 OR cell.id IN (SELECT cell_id FROM run_cell WHERE run_id = ?1))
      AND EXISTS (SELECT 1 FROM result WHERE result.cell_id = cell.id)
)
SELECT row_number() OVER rows + 0.7 * (dense_rank() OVER policies - 1) AS x, replace(replace(v.policy, ':match=1', ''), ' ', '_') AS policy,
       ifnull(v.budget, iif(v.policy = 'full', '', 'match')) AS budget, 1.0 * o.correct / o.n AS right,
       1.0 * o.wrong / o.n AS wrong, 1.0 * o.looped / o.n AS looped,
       1.0 * o.truncated / o.n AS truncated, 1.0 * o.unboxed / o.n AS unboxed, 1.0 * o.numeric / o.n AS numeric, v.lo, v.hi,
       v.samples AS n, v.model, v.dataset
FROM drawn
JOIN v_outcome AS o ON o.cell_id = drawn.id
JOIN v_accuracy AS v ON v.cell_id = drawn.id
WHERE drawn.place = 1
WINDOW rows AS (ORDER BY v.policy <> 'full', v.policy, v.budget, v.cell_id), policies AS (ORDER BY v.policy <> 'full', v.policy)
ORDER BY x;
