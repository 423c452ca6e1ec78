-- shares of tokens and of attention by class of key, prompt and answer apart, of every head
--
-- Behind mined_chosen.sql.
part (key) AS (
    VALUES ('sink'), ('milestone'), ('recurring'), ('phoenix'), ('local'), ('unused'), ('censored')
), name (curve, what, key, origin) AS (
    SELECT what.column1 || '.' || key || '.' || origin.column1, what.column1, key, origin.column1
    FROM part, (VALUES ('tokens'), ('mass')) AS what, (VALUES ('prompt'), ('generated')) AS origin
    UNION ALL VALUES ('mass.window', 'mass', 'window', 'generated')
)
SELECT name.what AS curve, name.key, name.origin, v.layer, v.head, ifnull(v.class, 'all') AS class, v.mean,
       ifnull(v.lo, v.mean) AS lo, ifnull(v.hi, v.mean) AS hi, 1 AS x, chosen.title
FROM chosen
JOIN v_analysis v ON v.analysis_id = chosen.id
JOIN name ON name.curve = v.curve
ORDER BY v.layer, v.head, name.what, name.key, name.origin;
