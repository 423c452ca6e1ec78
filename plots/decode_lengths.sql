-- how long answers get: their distribution per policy at one budget, loops and cuts, mean length against budget
--
-- One model, dataset and settings: those of the newest result among what was asked for. `chosen`: the
-- least budget of 128 or more (where none is, the largest), and full. lo and hi: mean -+ 1.96 standard
-- errors over problems. A matched budget is the mean of the effective ones; stuck: the
-- share that looped or was cut at the cap, with Wilson's interval.
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
    SELECT v.cell_id, v.sample_id, v.new_tokens, v.effective_budget, v.finish = 'cap' OR v.loop_period IS NOT NULL AS stuck,
           v.loop_period IS NOT NULL AS looped,
           row_number() OVER (PARTITION BY v.cell_id ORDER BY v.new_tokens) - 1 AS below, count(*) OVER (PARTITION BY v.cell_id) AS answers
    FROM drawn JOIN v_result AS v ON v.cell_id = drawn.id WHERE drawn.place = 1
), problem AS (
    SELECT cell_id, avg(new_tokens) AS tokens, avg(effective_budget) AS effective FROM answer GROUP BY cell_id, sample_id
), mean AS (
    SELECT cell_id, count(*) AS n, avg(tokens) AS mean, round(avg(effective)) AS effective,
           sqrt(max(0.0, avg(tokens * tokens) - avg(tokens) * avg(tokens)) / nullif(count(*) - 1, 0)) AS error
    FROM problem GROUP BY cell_id
), spread AS ( -- the answer at each share of the order
    SELECT cell_id, avg(stuck) AS stuck, avg(looped) AS looped,
           max(new_tokens) FILTER (WHERE below <= 0.05 * (answers - 1)) AS q05,
           max(new_tokens) FILTER (WHERE below <= 0.25 * (answers - 1)) AS q25,
           max(new_tokens) FILTER (WHERE below <= 0.5 * (answers - 1)) AS q50,
           max(new_tokens) FILTER (WHERE below <= 0.75 * (answers - 1)) AS q75,
           max(new_tokens) FILTER (WHERE below <= 0.95 * (answers - 1)) AS q95
    FROM answer GROUP BY cell_id
), score AS (
    SELECT cell.policy, cell.budget, cell.max_new AS cap, mean.*, spread.*, model.name AS model, dataset.name AS dataset,
           (stuck + 1.920729410347062 / n) / (1 + 3.841458820694124 / n) AS middle,
           1.959963984540054 * sqrt(stuck * (1 - stuck) / n + 0.960364705173531 / n / n) / (1 + 3.841458820694124 / n) AS half
    FROM mean
    JOIN spread ON spread.cell_id = mean.cell_id
    JOIN cell ON cell.id = mean.cell_id
    JOIN model ON model.id = cell.model_id
    JOIN dataset ON dataset.id = cell.dataset_id
), choice AS (
    SELECT ifnull(min(budget) FILTER (WHERE budget >= 128), max(budget)) AS budget FROM score
)
SELECT replace(replace(policy, ':match=1', ''), ' ', '_') AS policy, ifnull(score.budget, effective) AS budget,
       ifnull(score.budget IS choice.budget OR policy = 'full', 0) AS chosen, choice.budget AS at, mean,
       max(0.0, mean - 1.959963984540054 * error) AS lo, mean + 1.959963984540054 * error AS hi, q05, q25, q50, q75,
       q95, stuck, max(0.0, middle - half) AS stuck_lo, min(1.0, middle + half) AS stuck_hi, looped, cap, n, model, dataset
FROM score, choice
ORDER BY policy <> 'full', policy, score.budget;
