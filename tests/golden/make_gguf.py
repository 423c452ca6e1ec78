#!/usr/bin/env python3
"""Writes the golden data of gguf/: every number format, small models, and answers of real models.

usage: make_gguf.py types | models | tokenizers | answers MODEL.gguf GSM8K.jsonl PROMPTS TOKENS OUT.jsonl
Needs numpy and the gguf package; `answers` also torch and transformers. README.md has the versions.
"""
import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent


def answers(model_path, problems, n_prompts, n_tokens, out):
    """Greedy ids in float32 on the dequantised weights, and where the two best logits are closer than 0.05."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    path = Path(model_path)
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    lines = Path(problems).read_text().splitlines()[:int(n_prompts)]
    with open(out, "w") as f, torch.no_grad():
        for line in lines:
            text = tokenizer.apply_chat_template([{"role": "user", "content": json.loads(line)["question"]}],
                                                 tokenize=False, add_generation_prompt=True)
            prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
            ids, close, feed, cache = [], [], torch.tensor([prompt]), None
            for place in range(int(n_tokens)):
                step = model(feed, past_key_values=cache, use_cache=True)
                cache = step.past_key_values
                best = torch.topk(step.logits[0, -1], 2)
                ids.append(int(best.indices[0]))
                gap = float(best.values[0] - best.values[1])
                if gap < 0.05:
                    close.append([place, round(gap, 5)])
                feed = best.indices[:1].reshape(1, 1)
            f.write(json.dumps({"prompt": prompt, "ids": ids, "close": close}) + "\n")
            f.flush()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
