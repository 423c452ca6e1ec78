-- accuracy on problems whose answer under full attention does not fit the budget
--
-- One model, dataset and settings: those of the newest result among what was asked for. For every
-- policy the same problems count: those whose prompt and answer under full take more tokens than
-- the asked budget.
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
), answer AS (
    SELECT v.*, drawn.id AS cell FROM drawn JOIN v_result AS v ON v.cell_id = drawn.id WHERE drawn.place = 1
), dense AS (
    SELECT sample_id, max(prompt_tokens + new_tokens) AS tokens, avg(correct) AS correct FROM answer
    WHERE policy = 'full' AND budget IS NULL GROUP BY sample_id
), score AS (
    SELECT answer.policy, answer.budget, count(DISTINCT sample_id) AS n, avg(answer.correct) AS p, model, dataset
    FROM answer JOIN dense USING (sample_id)
    WHERE dense.tokens > answer.budget GROUP BY cell
    UNION ALL
    SELECT 'full', asked.budget, count(*), avg(dense.correct), model, dataset
    FROM (SELECT DISTINCT budget, model, dataset FROM answer WHERE budget IS NOT NULL) AS asked
    JOIN dense ON dense.tokens > asked.budget GROUP BY asked.budget
), wilson AS ( -- z = 1.959963984540054, z * z = 3.841458820694124
    SELECT *, (p + 1.920729410347062 / n) / (1 + 3.841458820694124 / n) AS middle,
           1.959963984540054 * sqrt(p * (1 - p) / n + 0.960364705173531 / n / n) / (1 + 3.841458820694124 / n) AS half
    FROM score
)
SELECT replace(replace(policy, ':match=1', ''), ' ', '_') AS policy, budget, p AS accuracy,
       max(0.0, middle - half) AS lo, min(1.0, middle + half) AS hi, n, (SELECT count(*) FROM dense) AS problems, model, dataset
FROM wilson
ORDER BY policy <> 'full', policy, budget;
