#!/usr/bin/env python3
"""Trains the embedded model's tokenizer: a byte-level BPE on the generator's own text.

usage: train_tokenizer.py OUT_DIR [--raas ./raas]

Whole words with their leading space become single tokens; digits never merge with one another (a space
before a digit is part of its token). There is no BOS; <|end|> ends an answer and pads. ids(prompt) +
ids(solution) == ids(prompt + solution), because a prompt ends with a newline, a token of its own.
Writes tokenizer.json and tokenizer_config.json; the same text gives the same files.
"""
import argparse
import json
import re
import subprocess
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

END = "<|end|>"
SPLIT = r" ?\p{L}+| ?\p{N}|[^\s\p{L}\p{N}]|\s"
VOCAB = 1024


def texts(raas, n=4000):
    command = [raas, "gen", "lemmas", "--n", str(n), "--steps", "24", "--reuse", "uniform", "--seed", "20"]
    for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
        problem = json.loads(line)
        yield problem["prompt"] + problem["solution"]


def train(corpus):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=[END], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tokenizer


def check(tokenizer, corpus):
    words = sorted({w for text in corpus for w in re.findall(r" ?[A-Za-z]+", text)})
    split = [w for w in words if len(tokenizer.encode(w).ids) != 1]
    assert not split, f"words of more than one token: {split}; raise VOCAB or shorten the names"
    for text in corpus[:200]:
        prompt, solution = text.split("\n", 1)
        ids = tokenizer.encode(text).ids
        assert tokenizer.encode(prompt + "\n").ids + tokenizer.encode(solution).ids == ids
        assert tokenizer.decode(ids) == text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--raas", default="./raas")
    args = parser.parse_args()
    corpus = list(texts(args.raas))
    tokenizer = train(corpus)
    check(tokenizer, corpus)
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(args.out / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END, "pad_token": END,
              "model_max_length": 4096, "clean_up_tokenization_spaces": False}
    (args.out / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    print(f"{tokenizer.get_vocab_size()} entries")


if __name__ == "__main__":
    main()
