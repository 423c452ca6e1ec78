#!/usr/bin/env python3
"""Compares answers of a run with stored answers of transformers to the same problems.

usage: tests/compare_answers.py RAAS.DB ANSWERS.jsonl[.xz] [RUN]

Takes the answers of policy full to the data set of the file, of the newest run that has them, or of the newest named RUN. An answer that parts from
the stored one at some id is another text from there on, so equal verdicts count, and equal ids are good to know."""
import json
import lzma
import sqlite3
import sys

database, path, run = (sys.argv[1:] + [None])[:3]
with (lzma.open if path.endswith(".xz") else open)(path, "rt") as lines:
    stored = {answer["index"]: answer for answer in map(json.loads, lines)}
dataset = next(iter(stored.values()))["dataset"]
rows = sqlite3.connect(database).execute(
    """SELECT sample.position, result.correct_mv, result.ids, result.prompt_tokens, result.new_tokens, result.finish
    FROM result JOIN sample ON sample.id = result.sample_id JOIN cell ON cell.id = result.cell_id
    JOIN dataset ON dataset.id = cell.dataset_id
    WHERE cell.policy = 'full' AND dataset.name = ? AND result.cell_id = (
        SELECT max(cell.id) FROM cell JOIN dataset ON dataset.id = cell.dataset_id
        JOIN run_cell ON run_cell.cell_id = cell.id JOIN run ON run.id = run_cell.run_id
        WHERE cell.policy = 'full' AND dataset.name = ? AND run.name = ifnull(?, run.name))""",
    (dataset, dataset, run)).fetchall()
if not rows:
    sys.exit(f"{database}: no answers of full to {dataset}")
print(f"{dataset}: {len(rows)} answers, {sum(row[1] for row in rows)} right by math-verify, "
      f"mean {sum(row[4] for row in rows) / len(rows):.0f} tokens, {sum(row[5] == 'cap' for row in rows)} cut")
both = [(row, stored[row[0]]) for row in rows if row[0] in stored]
same_prompt = same_verdict = same_ids = parted = common = 0
for (position, right, ids, prompt, _, finish), answer in both:
    theirs = answer["ids"][:-1] if answer["finish"] == "eos" else answer["ids"]
    ours = json.loads(ids)
    same_prompt += prompt == answer["prompt_tokens"]
    same_verdict += right == answer["math_verify"]
    same_ids += ours == theirs
    if ours != theirs:
        parted += 1
        common += next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
print(f"{len(both)} of them are stored, {sum(bool(answer['math_verify']) for _, answer in both)} of these right, ours "
      f"{sum(row[1] for row, _ in both)}: {same_verdict} equal verdicts, {same_ids} equal in every id, {same_prompt} equal "
      f"in the length of the prompt; the others part after {common / max(parted, 1):.0f} ids on average")
