-- divergence from full attention's next-token distribution against kept tokens, and against the asked budget
--
-- One model and one kind of texts: those of the newest shadow run among what was asked for. On a
-- logarithmic axis an interval that reaches 0 ends at a twentieth of the mean.
-- ?1 run (0: any), ?2 model, ?3 dataset (NULL: any).
WITH newest AS (
    SELECT model_id, source, dataset, precision, backend, isa FROM v_shadow_text
    WHERE (?1 = 0 OR run_id = ?1) AND (?2 IS NULL OR model = ?2) AND (?3 IS NULL OR dataset = ?3)
    ORDER BY shadow_id DESC LIMIT 1
), drawn AS ( -- of a policy in several versions the newest
    SELECT v.*, row_number() OVER (PARTITION BY v.policy, v.budget ORDER BY v.policy_version DESC, v.cell_id DESC) AS place
    FROM v_shadow AS v JOIN newest USING (model_id, source, dataset, precision, backend, isa)
)
SELECT replace(policy, ' ', '_') AS policy, budget, mean_effective_budget AS effective, kv_tokens_peak AS kept, kl,
       max(lo, kl / 20) AS lo, hi, n, model, dataset,
       CASE source WHEN 'gold' THEN 'gold solutions' ELSE 'answers' END AS texts
FROM drawn
WHERE place = 1 AND budget IS NOT NULL AND kl > 0
ORDER BY policy, budget;
