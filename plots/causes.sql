-- why answers are wrong: causes per policy and budget, as shares of all answers
--
-- One model and dataset: those of the newest explanation among what was asked for.
-- ?1 run (0: any), ?2 model, ?3 dataset (NULL: any).
WITH newest AS (
    SELECT model, dataset FROM v_explain
    WHERE (?1 = 0 OR cell_id IN (SELECT cell_id FROM run_cell WHERE run_id = ?1))
      AND (?2 IS NULL OR model = ?2) AND (?3 IS NULL OR dataset = ?3)
    ORDER BY explain_id DESC LIMIT 1
), cell AS (
    SELECT cell_id, policy, budget, model, dataset, max(answers) AS n, max(wrong) AS wrong,
           sum(share) FILTER (WHERE cause = 'source_evicted') AS source,
           sum(share) FILTER (WHERE cause = 'statement_evicted') AS statement,
           sum(share) FILTER (WHERE cause = 'working_evicted') AS working,
           sum(share) FILTER (WHERE cause = 'unread') AS unread,
           sum(share) FILTER (WHERE cause = 'arithmetic') AS arithmetic,
           sum(share) FILTER (WHERE cause = 'cut') AS cut
    FROM v_causes JOIN newest USING (model, dataset)
    WHERE ?1 = 0 OR cell_id IN (SELECT cell_id FROM run_cell WHERE run_id = ?1)
    GROUP BY cell_id
)
SELECT row_number() OVER rows + 0.7 * (dense_rank() OVER policies - 1) AS x,
       replace(policy, ' ', '_') AS policy, ifnull(budget, '') AS budget, n, source, statement, working, unread, arithmetic,
       cut, model, dataset
FROM cell
WINDOW rows AS (ORDER BY policy <> 'full', policy, budget, cell_id),
       policies AS (ORDER BY policy <> 'full', policy)
ORDER BY x;
