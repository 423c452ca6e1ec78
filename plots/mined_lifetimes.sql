-- lifetimes of keys by class, and the silence before a first use, of every head
--
-- Behind mined_chosen.sql.
life AS (
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
