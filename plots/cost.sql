-- accuracy against KV bytes of a sequence, and the bytes held for each right answer
--
-- One model, dataset and settings: those of the newest result among what was asked for. Part
-- `front` repeats the cells than which none is as accurate with less. A right answer holds what all answers of the cell held over
-- the right ones; its interval is that of the accuracy.
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
), point AS (
    SELECT v.* FROM drawn JOIN v_accuracy AS v ON v.cell_id = drawn.id WHERE drawn.place = 1
)
SELECT 'cell' AS part, replace(replace(policy, ':match=1', ''), ' ', '_') AS policy, budget,
       kv_bytes_peak / 1048576.0 AS mib, kv_tokens_peak AS kept, accuracy, lo, hi, kv_bytes_peak / 1048576.0 / nullif(accuracy, 0) AS cost, kv_bytes_peak / 1048576.0 / hi AS cost_lo,
       kv_bytes_peak / 1048576.0 / nullif(max(lo, accuracy / 20), 0) AS cost_hi, kv_tokens_peak / nullif(accuracy, 0) AS tokens_per_right,
       samples AS n, model, dataset
FROM (SELECT * FROM point ORDER BY policy <> 'full', policy, budget, cell_id)
UNION ALL
SELECT 'front', replace(replace(policy, ':match=1', ''), ' ', '_'), budget, kv_bytes_peak / 1048576.0, kv_tokens_peak, accuracy,
       lo, hi, NULL, NULL, NULL, NULL, samples, model, dataset
FROM (SELECT * FROM point ORDER BY kv_bytes_peak, accuracy) AS kept
WHERE accuracy > 0 AND NOT EXISTS (
    SELECT 1 FROM point AS other
    WHERE other.kv_bytes_peak <= kept.kv_bytes_peak AND other.accuracy >= kept.accuracy
      AND (other.kv_bytes_peak < kept.kv_bytes_peak OR other.accuracy > kept.accuracy));
