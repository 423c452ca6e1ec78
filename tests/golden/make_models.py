#!/usr/bin/env python3
"""Writes the golden data beside it: tiny models with random weights, their logits, and logits under each policy.

usage: make_models.py POLICY_REFERENCE.py [models] [policies]
POLICY_REFERENCE.py is the executable form of the policies' definitions (float64, on any transformers model).
Needs torch, transformers and safetensors; README.md has the versions that made the committed files.
"""
import importlib.util
import json
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

HERE = Path(__file__).resolve().parent
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}

# Each row of the engine's architecture table; GQA groups 1, 3, 7; head sizes 32, 64, 128; tied and untied; plain and llama3
# rope in both spellings; every storage type; one model in shards.
MODELS = {
    "llama-g1": dict(model_type="llama", heads=2, kv=2, head=32, dim=64, tied=True, dtype="float32", old=True),
    "llama-g3": dict(model_type="llama", heads=6, kv=2, head=64, dim=48, rope=LLAMA3, dtype="bfloat16"),
    "llama-old": dict(model_type="llama", heads=3, kv=1, head=64, dim=48, rope=LLAMA3, old=True, dtype="float32"),
    "mistral-g1": dict(model_type="mistral", heads=2, kv=2, head=128, dim=48, dtype="float16"),
    "qwen2-g7": dict(model_type="qwen2", heads=14, kv=2, head=32, dim=48, tied=True, dtype="bfloat16", old=True,
                     theta=1e6),
    "qwen2-g3": dict(model_type="qwen2", heads=3, kv=1, head=32, dim=96, dtype="float16", theta=1e6),
    "qwen3-g3": dict(model_type="qwen3", heads=6, kv=2, head=128, dim=32, dtype="float16", theta=1e6, shards=True),
}
VOCAB, FFN, LAYERS, IDS = 97, 80, 2, 96

# every policy spelling in every setting on every one of these models
POLICY_MODELS = ("llama-g1", "llama-g3", "qwen2-g7")
POLICY_LENGTH = 208
# (prefill, budget): prompt shorter and longer than the budget, one a multiple of the page. A pinned page policy has a choice
# of victim only where three pages or more are not pinned: the first, second and fourth.
SETTINGS = ((10, 64), (21, 96), (75, 32), (75, 128), (32, 48))
POLICIES = ("streaming:budget={}", "h2o:budget={}", "quest:budget={}", "raas:budget={}", "raas:budget={},r=0.25",
            "raas:budget={},alpha=0.05", "fifo:budget={}", "oracle:budget={}")
LEAST_GAP = 2e-5


def randomise(model, generator):
    """Logits of size 1 to 10, attention far from uniform, and no weight at a neutral value (biases 0, gains 1)."""
    def normal(parameter, scale, middle=0.0):
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale + middle)

    for name, p in model.named_parameters():
        fan_in = p.shape[-1]
        if name.endswith("bias"):
            normal(p, 0.5)
        elif "q_norm" in name or "k_norm" in name:
            normal(p, 0.4, 1.4)
        elif "norm" in name:
            normal(p, 0.3, 1.0)
        elif "embed" in name or "lm_head" in name:
            normal(p, 3 / math.sqrt(fan_in))
        elif "q_proj" in name or "k_proj" in name:
            normal(p, 1.5 / math.sqrt(fan_in))
        else:
            normal(p, 0.8 / math.sqrt(fan_in))


def old_spelling(folder):
    """config.json as before transformers 5: rope_theta + rope_scaling, torch_dtype."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    config["torch_dtype"] = config.pop("dtype")
    if config.get("head_dim") == config["hidden_size"] // config["num_attention_heads"]:
        del config["head_dim"]
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def save_model(name, seed):
    s = MODELS[name]
    generator = torch.Generator().manual_seed(seed)
    rope = {"rope_theta": s.get("theta", 10000.0), **s.get("rope", {"rope_type": "default"})}
    config = AutoConfig.for_model(
        s["model_type"], vocab_size=VOCAB, hidden_size=s["dim"], intermediate_size=FFN, num_hidden_layers=LAYERS,
        num_attention_heads=s["heads"], num_key_value_heads=s["kv"], max_position_embeddings=512,
        tie_word_embeddings=s.get("tied", False), rope_parameters=rope, bos_token_id=1, eos_token_id=[2, 3],
        pad_token_id=None, **({"head_dim": s["head"]} if s["dim"] != s["heads"] * s["head"] else {}),
        **({"sliding_window": None} if s["model_type"] == "mistral" else {}))
    model = AutoModelForCausalLM.from_config(config)
    randomise(model, generator)
    folder = HERE / "models" / name
    shutil.rmtree(folder, ignore_errors=True)
    model = model.to(getattr(torch, s["dtype"]))
    model.generation_config.eos_token_id = [3, 4]
    model.save_pretrained(folder, **({"max_shard_size": "90KB"} if s.get("shards") else {}))
    for file in folder.glob("*.safetensors"):
        file.chmod(0o644)
    if s.get("old"):
        old_spelling(folder)
    # computed from the files as saved, so that the stored weights and both spellings are what is judged
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
    ids = torch.randint(0, VOCAB, (IDS,), generator=generator)
    output = model(ids[None], output_attentions=True)
    logits = output.logits[0].numpy()
    top = torch.stack(output.attentions)[..., 32:, :].max(-1).values.mean()
    np.save(folder / "ids.npy", ids.numpy().astype(np.int32))
    np.save(folder / "logits.npy", logits.astype(np.float32))
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{name}: {size} bytes, logits {logits.std():.2f} (std), mean largest attention weight {top:.2f}")


def kept_rows(n):
    return [i for i in range(n) if i % 8 == 0 or i >= n - 16]


class NearTie(Exception):
    pass


def stop_at_near_ties(case):
    """No use in computing the rest of a case that cannot be taken."""
    note = case.gap

    def gap(a, b):
        note(a, b)
        if case.smallest_gap < LEAST_GAP:
            raise NearTie

    case.gap = gap


class Runs:
    """Logits of one model by (policy, prefill, seed), each computed once; None where a decision is too near a tie."""

    def __init__(self, reference, name):
        self.reference, self.model, self.done = reference, reference.load(HERE / "models" / name), {}

    def __call__(self, text, prefill, seed):
        key = text, prefill, seed
        if key not in self.done:
            ids = np.random.default_rng(seed).integers(0, VOCAB, POLICY_LENGTH)
            case = self.reference.parse(text, prefill)
            stop_at_near_ties(case)
            try:
                self.done[key] = self.reference.logits(self.model, ids, case), case.smallest_gap
            except NearTie:
                self.done[key] = None, case.smallest_gap
        return self.done[key]

    def apart(self, text, other, prefill, seed):
        a, b = self(text, prefill, seed)[0], self(other, prefill, seed)[0]
        return 0 if a is None or b is None else np.abs(a - b).max()


def clear_seed(runs, text, prefill, budget):
    """The first seed whose decisions are all clear, and of a kind that a wrong policy would take otherwise."""
    others = ["full"]
    free = max(budget // 16, (prefill + 15) // 16 + 2) - (prefill + 15) // 16
    if text.startswith("raas") and free >= 3:
        others.append(f"fifo:budget={budget}")
        if text != f"raas:budget={budget}":
            others.append(f"raas:budget={budget}")
    for seed in range(100):
        if runs(text, prefill, seed)[0] is not None and all(runs.apart(text, other, prefill, seed) > 0.05 for other in others):
            return seed, {other.split(":")[0]: runs.apart(text, other, prefill, seed) for other in others}
    raise SystemExit(f"{text}, prefill {prefill}: no clear case")


def save_policies(reference):
    folder = HERE / "policies"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    seeds, lines = set(), []
    for name in POLICY_MODELS:
        runs, rows = Runs(reference, name), []
        for prefill, budget in SETTINGS:
            for policy in POLICIES:
                text = policy.format(budget)
                seed, apart = clear_seed(runs, text, prefill, budget)
                logits, gap = runs(text, prefill, seed)
                seeds.add(seed)
                lines.append(f"{name} {text} {prefill} ids-{seed}.npy {len(rows)} {gap:.1e}")
                rows.append(logits[kept_rows(POLICY_LENGTH)])
                print(f"{lines[-1]}: apart from {', '.join(f'{k} {v:.2f}' for k, v in apart.items())}", flush=True)
        np.save(folder / f"{name}.npy", np.stack(rows).astype(np.float32))
    for seed in seeds:
        ids = np.random.default_rng(seed).integers(0, VOCAB, POLICY_LENGTH)
        np.save(folder / f"ids-{seed}.npy", ids.astype(np.int32))
    (folder / "index.txt").write_text("\n".join(lines) + "\n")


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    if len(sys.argv) < 2 or not Path(sys.argv[1]).is_file():
        sys.exit(__doc__)
    spec = importlib.util.spec_from_file_location("policy_reference", sys.argv[1])
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    parts = sys.argv[2:] or ["models", "policies"]
    if "models" in parts:
        for seed, name in enumerate(MODELS):
            save_model(name, seed)
    if "policies" in parts:
        save_policies(reference)


if __name__ == "__main__":
    main()
