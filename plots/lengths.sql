-- how long prompts and answers are: cumulative distributions per dataset, under full attention
--
-- One model and settings: those of the newest answer under full among what was asked for. Points
-- come in pairs, below and above each step; of many datasets the newest eight. lo and hi: the 95 % band of Dvoretzky, Kiefer, Wolfowitz.
-- ?1 run (0: any), ?2 model, ?3 dataset (NULL: any).
WITH wanted AS (
    SELECT cell.*, json_remove(cell.config, '$.dataset', '$.dataset_sha256', '$.max_new') AS setting
    FROM cell
    JOIN model ON model.id = cell.model_id
    JOIN dataset ON dataset.id = cell.dataset_id
    WHERE cell.policy = 'full' AND (?1 = 0 OR cell.id IN (SELECT cell_id FROM run_cell WHERE run_id = ?1))
      AND (?2 IS NULL OR model.name = ?2) AND (?3 IS NULL OR dataset.name = ?3)
), newest AS (
    SELECT wanted.* FROM result JOIN wanted ON wanted.id = result.cell_id
    ORDER BY wanted.timing = 'shared' DESC, result.id DESC LIMIT 1
), drawn AS ( -- of a dataset under several caps the one with the most answers
    SELECT wanted.id, row_number() OVER (PARTITION BY wanted.dataset_id ORDER BY
               (SELECT count(*) FROM result WHERE cell_id = wanted.id) DESC, wanted.id DESC) AS place
    FROM wanted JOIN newest ON wanted.setting = newest.setting
), shown AS (
    SELECT id FROM drawn WHERE place = 1 ORDER BY id DESC LIMIT 8
), length AS (
    SELECT v.model, v.dataset, v.sample, part.key AS part,
           CASE part.key WHEN 'prompt' THEN v.prompt_tokens ELSE v.new_tokens END AS tokens, v.finish = 'cap' AS capped
    FROM shown
    JOIN v_result AS v ON v.cell_id = shown.id
    JOIN (SELECT 'prompt' AS key UNION ALL SELECT 'decode') AS part
    WHERE v.repeat = 0
), step AS (
    SELECT model, dataset, part, tokens, count(*) AS here, sum(count(*)) OVER up AS below, sum(count(*)) OVER whole AS n,
           sum(sum(tokens)) OVER whole / sum(count(*)) OVER whole AS mean, sum(sum(capped)) OVER whole AS capped
    FROM length GROUP BY dataset, part, tokens
    WINDOW up AS (PARTITION BY dataset, part ORDER BY tokens), whole AS (PARTITION BY dataset, part)
), point AS (
    SELECT *, 1.0 * (below - here) / n AS share, 0 AS above FROM step
    UNION ALL SELECT *, 1.0 * below / n, 1 FROM step
)
SELECT dataset, part, tokens, share, max(0.0, share - sqrt(1.844439727056968 / n)) AS lo,
       min(1.0, share + sqrt(1.844439727056968 / n)) AS hi, n, capped, max(mean) OVER (PARTITION BY dataset) AS longest, model
FROM point
ORDER BY longest, dataset, part DESC, tokens, above;
