-- what a key is given as it ages, prompt and generated apart, of every head
--
-- Behind mined_chosen.sql. Heads have rows of their own, means over heads the class 'all'.
point AS (
    SELECT v.curve, v.layer, v.head, ifnull(v.class, 'all') AS class, v.x, v.mean, ifnull(v.lo, v.mean) AS lo,
           ifnull(v.hi, v.mean) AS hi, chosen.title
    FROM chosen JOIN v_analysis v ON v.analysis_id = chosen.id
    WHERE v.curve IN ('importance.prompt', 'importance.generated')
)
SELECT * FROM (
    SELECT * FROM point
    UNION ALL -- a row without numbers ends each line
    SELECT DISTINCT curve, layer, head, class, NULL, NULL, NULL, NULL, title FROM point
) ORDER BY curve, layer IS NOT NULL, layer, head, x IS NOT NULL, x;
