-- where raas holds: accuracy, and its difference to the others, over lifetime, phoenix share and law of re-use
--
-- One model, budget and settings: those of the newest answer of raas to lemmas among what was asked
-- for, and the budget that most of its datasets have. `part`: raas, or the policy it is compared with.
-- Differences are paired by problem, at equal effective budgets: p is McNemar's, exact, and `star` 1
-- where p < 0.05, 2 where also by Holm over all differences of the figure. Their
-- intervals are Wald's with half a pair more in each cell of the table (Agresti and Min 2005).
-- ?1 run (0: any), ?2 model, ?3 dataset (NULL: any).
WITH RECURSIVE wanted AS (
    SELECT cell.id, cell.policy, cell.budget, cell.timing, cell.dataset_id, cell.model_id, cell.policy_version,
           json_remove(cell.config, '$.policy', '$.dataset', '$.dataset_sha256', '$.max_new') AS setting,
           json_remove(dataset.options, '$.lifetime', '$.phoenix', '$.reuse') AS story, dataset.options ->> 'lifetime' AS lifetime,
           dataset.options ->> 'phoenix' AS phoenix, dataset.options ->> 'reuse' AS reuse
    FROM cell
    JOIN model ON model.id = cell.model_id
    JOIN dataset ON dataset.id = cell.dataset_id
    WHERE dataset.options ->> 'lifetime' IS NOT NULL AND cell.budget IS NOT NULL
      AND (?1 = 0 OR cell.id IN (SELECT cell_id FROM run_cell WHERE run_id = ?1))
      AND (?2 IS NULL OR model.name = ?2) AND (?3 IS NULL OR dataset.name = ?3)
      AND EXISTS (SELECT 1 FROM result WHERE result.cell_id = cell.id)
), newest AS (
    SELECT wanted.* FROM result JOIN wanted ON wanted.id = result.cell_id
    WHERE wanted.policy = 'raas' ORDER BY wanted.timing = 'shared' DESC, result.id DESC LIMIT 1
), grid AS (
    SELECT wanted.*, row_number() OVER (PARTITION BY wanted.policy, wanted.budget, wanted.dataset_id
                                        ORDER BY wanted.policy_version DESC, wanted.id DESC) AS place
    FROM newest JOIN wanted USING (setting, story)
), chosen AS (
    SELECT budget FROM grid WHERE policy = 'raas' AND place = 1
    GROUP BY budget HAVING count(*) > 1 ORDER BY count(*) DESC, budget LIMIT 1
), drawn AS (
    SELECT grid.* FROM grid JOIN chosen USING (budget) WHERE place = 1
), answer AS (
    SELECT drawn.policy, drawn.dataset_id, drawn.budget, drawn.lifetime, drawn.phoenix, drawn.reuse, v.model, v.sample_id, v.correct,
           v.effective_budget
    FROM drawn JOIN v_result AS v ON v.cell_id = drawn.id WHERE v.repeat = 0
), pair AS (
    SELECT other.policy AS part, a.dataset_id, a.budget, a.lifetime, a.phoenix, a.reuse, a.model, count(*) AS n,
           sum(a.correct > other.correct) AS won, sum(a.correct < other.correct) AS lost
    FROM answer AS a
    JOIN answer AS other USING (dataset_id, sample_id, effective_budget)
    WHERE a.policy = 'raas' AND other.policy <> 'raas'
    GROUP BY other.policy, a.dataset_id
), walk AS ( -- the binomial's lower tail
    SELECT part, dataset_id, 0 AS k, won + lost AS t, pow(0.5, won + lost) AS term, pow(0.5, won + lost) AS total, min(won, lost) AS least
    FROM pair
    UNION ALL
    SELECT part, dataset_id, k + 1, t, term * (t - k) / (k + 1), total + term * (t - k) / (k + 1), least FROM walk WHERE k < least
), tested AS (
    SELECT pair.*, min(1.0, 2 * walk.total) AS p
    FROM pair JOIN walk ON walk.part = pair.part AND walk.dataset_id = pair.dataset_id AND walk.k = walk.least
), ordered AS (
    SELECT *, p * (count(*) OVER () + 1 - row_number() OVER byp) AS weighed, row_number() OVER byp AS turn FROM tested
    WINDOW byp AS (ORDER BY p, part, dataset_id)
), held AS (
    SELECT *, max(weighed) OVER (ORDER BY turn) AS holm FROM ordered
), score AS (
    SELECT answer.*, count(*) AS n, avg(correct) AS a FROM answer WHERE policy = 'raas' GROUP BY dataset_id
), panel AS (
    SELECT 'raas' AS part, reuse, lifetime, phoenix, a AS value,
           max(0.0, ((a + 1.920729410347062 / n) - 1.959963984540054 * sqrt(a * (1 - a) / n + 0.960364705173531 / n / n))
               / (1 + 3.841458820694124 / n)) AS lo,
           min(1.0, ((a + 1.920729410347062 / n) + 1.959963984540054 * sqrt(a * (1 - a) / n + 0.960364705173531 / n / n))
               / (1 + 3.841458820694124 / n)) AS hi, NULL AS p, 0 AS star, n, budget, model, 0 AS place
    FROM score
    UNION ALL
    SELECT part, reuse, lifetime, phoenix, 1.0 * (won - lost) / n,
           max(-1.0, (won - lost - 1.959963984540054 * sqrt(won + lost + 1 - 1.0 * (won - lost) * (won - lost) / (n + 2))) / (n + 2)),
           min(1.0, (won - lost + 1.959963984540054 * sqrt(won + lost + 1 - 1.0 * (won - lost) * (won - lost) / (n + 2))) / (n + 2)),
           p, (p < 0.05) + (holm < 0.05), n, budget, model,
           CASE part WHEN 'h2o' THEN 1 WHEN 'streaming' THEN 2 WHEN 'fifo' THEN 3 ELSE 4 END
    FROM held
)
SELECT replace(part, ' ', '_') AS part, dense_rank() OVER (ORDER BY place, part) AS x,
       dense_rank() OVER (ORDER BY instr('lru birth uniform periodic', reuse), reuse) AS y, reuse,
       dense_rank() OVER (ORDER BY lifetime) AS u, dense_rank() OVER (ORDER BY phoenix) AS v, lifetime, phoenix, value, lo, hi, p, star, n,
       budget, model
FROM panel
ORDER BY x, y, u, v;
