#!/usr/bin/env python3
"""Verdicts of the library math-verify, for the grader's profile of that name.

    python3 -m venv V && V/bin/pip install math-verify==0.9.0 latex2sympy2_extended==1.11.0 \
        antlr4-python3-runtime==4.13.2 sympy==1.14.0
    V/bin/python tests/golden/make_grade.py DATASETS ANSWERS [pairs] [cross] [matrix]

DATASETS holds math500/test.jsonl, aime24/test.jsonl and gsm8k/test.jsonl, ANSWERS the model answers
*.DATASET.jsonl.xz. No text of either is written: problems are named by their line, from 0. Writes
to tests/golden/grade/:

    pairs_mv.tsv  gold, answer, verdict, verdict with both exchanged: the pairs of pairs.tsv
    cross.tsv     data set, line of a model's answer, and the distances 1 .. 40 at which the gold of a
                  later line (modulo their number) is the same; those not listed are different
    matrix.tsv    pairs of lines of math500 (from 500 on: aime24) whose golds differ as texts and are
                  the same, the first being gold; pairs of two whole numbers were not asked. Takes
                  ten minutes, the others less than two
"""
import glob, json, logging, lzma, os, re, sys
from math_verify import parse, verify

logging.disable(logging.CRITICAL)
data, answers, *parts = sys.argv[1:]
out = os.path.join(os.path.dirname(os.path.abspath(__file__)), "grade")
DISTANCES = range(1, 41)


def golds(name):
    with open(os.path.join(data, name, "test.jsonl")) as f:
        return [str(json.loads(line)["answer"]).split("####")[-1].strip() for line in f]


def read(answer):
    return parse("$" + answer + "$")


def pairs():
    with open(out + "/pairs.tsv") as f, open(out + "/pairs_mv.tsv", "w") as to:
        for line in f:
            if line.startswith("#"):
                continue
            gold, answer, _ = line.rstrip("\n").split("\t")
            a, b = read(gold), read(answer)
            print(gold, answer, int(verify(a, b)), int(verify(b, a)), sep="\t", file=to)


def cross():
    with open(out + "/cross.tsv", "w") as to:
        for name in "gsm8k", "math500":
            gold = [read(g) for g in golds(name)]
            for path in glob.glob(os.path.join(answers, f"*.{name}.jsonl.xz")):
                for line in lzma.open(path):
                    row = json.loads(line)
                    found = parse(row["output"])
                    same = [d for d in DISTANCES if verify(gold[(row["index"] + d) % len(gold)], found)]
                    if same:
                        print(name, row["index"], *same, sep="\t", file=to)


def matrix():
    text = golds("math500") + golds("aime24")
    first = {g: i for i, g in reversed(list(enumerate(text)))}
    whole = {g: re.fullmatch(r"-?\d+", g) for g in first}
    parsed = {g: read(g) for g in first}
    with open(out + "/matrix.tsv", "w") as to:
        for a, i in sorted(first.items(), key=lambda x: x[1]):
            for b, k in sorted(first.items(), key=lambda x: x[1]):
                if a != b and not (whole[a] and whole[b]) and verify(parsed[a], parsed[b]):
                    print(i, k, sep="\t", file=to)


for part in parts or ["pairs", "cross", "matrix"]:
    globals()[part]()
