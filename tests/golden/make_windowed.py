#!/usr/bin/env python3
"""Writes windowed/: logits of the tiny models under the policies that observe a window of queries, in float64.

usage: make_windowed.py [check]
Needs numpy alone: models are read and computed here. `check`, and before anything is written: full attention gives
the logits of transformers (models/NAME/logits.npy), h2o those of the executable definition (policies/).

A decode step: evict, append, attend, observe. L tokens are kept; N more wait and go at once (N = 0: one whenever there
is no room). A token's importance is the attention of the last W queries before an eviction, their mean and the query
group's. snapkv and rkv pool it: the largest of `pool` neighbours in order of position among what may be evicted or is
older, the newest W (that about to be appended counted) exempt. rkv: lambda importance - (1 - lambda) redundancy, which
is the softmax over all tokens held of the mean cosine of their keys with the others'; of the tokens that have a cosine
above 1/2 with a token, the newest is not charged with that token. The lowest go; of equals the older.
"""
import json
import math
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
MODELS = ("llama-g1", "llama-g3", "qwen2-g7")
VOCAB, LENGTH, LEAST_GAP = 97, 208, 2e-5
SETTINGS = ((10, 64), (75, 32), (32, 48))  # prefill, budget
POLICIES = ("tova:budget={}", "snapkv:budget={},every=32", "snapkv:budget={},every=12,window=4,pool=3",
            "rkv:budget={},every=32", "rkv:budget={},every=12,window=4,pool=1,lambda=0.5",
            "rkv:budget={},every=20,lambda=0")


# --- a model ---------------------------------------------------------------------------------------------------------

def tensors(folder):
    out = {}
    for path in sorted(folder.glob("*.safetensors")):
        raw = path.read_bytes()
        size = int.from_bytes(raw[:8], "little")
        for name, t in json.loads(raw[8:8 + size]).items():
            if name == "__metadata__":
                continue
            data = raw[8 + size + t["data_offsets"][0]:8 + size + t["data_offsets"][1]]
            if t["dtype"] == "BF16":
                x = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
            else:
                x = np.frombuffer(data, {"F32": "<f4", "F16": "<f2"}[t["dtype"]])
            out[name.removeprefix("model.")] = x.astype(np.float64).reshape(t["shape"])
    return out


def frequencies(rope, theta, d):
    inv = 1 / theta ** (np.arange(0, d, 2) / d)
    if rope.get("rope_type") != "llama3":
        return inv
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    factor, old = rope["factor"], rope["original_max_position_embeddings"]
    smooth = np.clip((old * inv / (2 * math.pi) - low) / (high - low), 0, 1)
    return (1 - smooth) * inv / factor + smooth * inv


class Model:
    def __init__(self, name):
        self.folder = HERE / "models" / name
        self.c = c = json.loads((self.folder / "config.json").read_text())
        self.w = tensors(self.folder)
        self.heads, self.kv = c["num_attention_heads"], c["num_key_value_heads"]
        self.d = c.get("head_dim") or c["hidden_size"] // self.heads
        rope = c.get("rope_parameters") or {**(c.get("rope_scaling") or {}), "rope_theta": c["rope_theta"]}
        angle = np.outer(np.arange(512), frequencies(rope, rope["rope_theta"], self.d))
        self.cos, self.sin = np.cos(angle), np.sin(angle)

    def norm(self, x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.c["rms_norm_eps"]) * self.w[name]

    def product(self, x, name):
        y = x @ self.w[f"{name}.weight"].T
        return y + self.w[f"{name}.bias"] if f"{name}.bias" in self.w else y

    def rotated(self, x):
        half, T = self.d // 2, len(x)
        a, b, cos, sin = x[..., :half], x[..., half:], self.cos[:T, None], self.sin[:T, None]
        return np.concatenate((a * cos - b * sin, b * cos + a * sin), -1)

    def logits(self, ids, case):
        x, T, group = self.w["embed_tokens.weight"][ids], len(ids), self.heads // self.kv
        for i in range(self.c["num_hidden_layers"]):
            at = f"layers.{i}"
            y = self.norm(x, f"{at}.input_layernorm.weight")
            q, k, v = (self.product(y, f"{at}.self_attn.{n}_proj").reshape(T, -1, self.d) for n in "qkv")
            q, k = self.rotated(q), self.rotated(k)
            out = [attend(case, q[:, h * group:(h + 1) * group].swapaxes(0, 1), k[:, h], v[:, h]) for h in range(self.kv)]
            x = x + self.product(np.concatenate(out).swapaxes(0, 1).reshape(T, -1), f"{at}.self_attn.o_proj")
            y = self.norm(x, f"{at}.post_attention_layernorm.weight")
            gate, up = self.product(y, f"{at}.mlp.gate_proj"), self.product(y, f"{at}.mlp.up_proj")
            x = x + self.product(gate / (1 + np.exp(-gate)) * up, f"{at}.mlp.down_proj")
        head = self.w.get("lm_head.weight", self.w["embed_tokens.weight"])
        return self.norm(x, "norm.weight") @ head.T


# --- policies --------------------------------------------------------------------------------------------------------

class NearTie(Exception):
    pass


class Case:
    def __init__(self, text, prefill, least_gap=LEAST_GAP):
        self.name, _, options = text.partition(":")
        o = {k: float(v) for k, v in (p.split("=") for p in options.split(",") if p)}
        known = {"full": (), "h2o": (), "tova": (), "snapkv": ("every", "window", "pool"),
                 "rkv": ("every", "window", "pool", "lambda")}[self.name]
        assert set(o) <= {"budget", *known}, text
        many = self.name in ("snapkv", "rkv")
        self.prefill, self.L = prefill, int(o.get("budget", 1 << 30))
        self.N = int(o.get("every", 128)) if many else 0
        self.W = int(o.get("window", 8)) if many else 1
        self.pool = int(o.get("pool", 7)) if many else 1
        self.exempt = self.W if many else self.L // 2 if self.name == "h2o" else 0
        self.weight = o.get("lambda", 0.1) if self.name == "rkv" else 1
        self.least_gap, self.gap = least_gap, math.inf

    def note(self, a, b):
        self.gap = min(self.gap, abs(a - b) / (abs(a) + abs(b) + 1e-30))
        if self.gap < self.least_gap:
            raise NearTie


def redundancy(case, k, live):
    """[live], for tokens in order of position."""
    unit = k[live] / np.sqrt((k[live] ** 2).sum(-1, keepdims=True))
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, 0)
    charged = cosine.copy()
    for i, row in enumerate(cosine):
        like = np.flatnonzero(row > 0.5)
        newest = like[-1] if len(like) else 0
        for c in row[newest + (len(like) == 0):]:  # that one, and those newer that are not like it
            case.note(c, 0.5)
        if len(like):
            charged[i, newest] = 0
    mean = charged.mean(0)
    e = np.exp(mean - mean.max())
    return e / e.sum()


def evict(case, count, now, live, given, k):
    """given: what each query so far gave to each token, the group's sum, [queries, T]. Takes `count` from live."""
    group_sums = given if case.name == "h2o" else given[-case.W:]
    importance = group_sums.sum(0)
    if case.name != "h2o":
        importance = importance / (case.W * case.group)
    old = [j for j in live if j <= now - case.exempt]
    half = case.pool // 2
    pooled = [importance[old[max(i - half, 0):i + half + 1]].max() for i in range(len(old))]
    score = case.weight * np.array(pooled)
    if case.name == "rkv":
        score = score - (1 - case.weight) * redundancy(case, k, live)[:len(old)]
    order = sorted(range(len(old)), key=lambda i: (score[i], old[i]))
    if count < len(order):
        last, next_ = order[count - 1], order[count]
        same = case.pool > 1 and case.name == "snapkv" and score[last] == score[next_]  # one neighbour's: a true tie
        if not same:
            case.note(score[last], score[next_])
    for i in order[:count]:
        live.remove(old[i])


def softmax(s):
    e = np.exp(s - s.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attend(case, q, k, v):
    """q [group, T, d], k and v [T, d] of one KV head -> [group, T, d]."""
    group, T, d = q.shape
    P, case.group = case.prefill, group
    out, given = np.zeros_like(q), np.zeros((T, T))
    prob = softmax(q[:, :P] @ k[:P].T / math.sqrt(d) + np.triu(np.full((P, P), -math.inf), 1))
    out[:, :P], given[:P, :P] = prob @ v[:P], prob.sum(0)
    live = list(range(P))
    if P > case.L:
        evict(case, P - case.L, P - 1, live, given[:P], k)
    for t in range(P, T):
        if len(live) == case.L + case.N:
            evict(case, max(case.N, 1), t, live, given[:t], k)
        live.append(t)
        prob = softmax(q[:, t] @ k[live].T / math.sqrt(d))
        out[:, t], given[t, live] = prob @ v[live], prob.sum(0)
    return out


# --- files -----------------------------------------------------------------------------------------------------------

def kept_rows(n):
    return [i for i in range(n) if i % 8 == 0 or i >= n - 16]


def ids_of(seed):
    return np.random.default_rng(seed).integers(0, VOCAB, LENGTH)


def check(name, model):
    """The model against transformers, h2o against the executable definition."""
    ids = np.load(model.folder / "ids.npy")
    apart = np.abs(model.logits(ids, Case("full", len(ids))) - np.load(model.folder / "logits.npy")).max()
    stored, worst = np.load(HERE / "policies" / f"{name}.npy"), 0
    for line in (HERE / "policies" / "index.txt").read_text().splitlines():
        who, policy, prefill, file, at, _ = line.split()
        if who == name and policy.startswith("h2o"):
            got = model.logits(np.load(HERE / "policies" / file), Case(policy, int(prefill), 0))
            worst = max(worst, np.abs(got[kept_rows(LENGTH)] - stored[int(at)]).max())
    print(f"{name}: apart from transformers by {apart:.1e}, from h2o's definition by {worst:.1e}", flush=True)
    assert apart < 1e-4 and worst < 1e-4


def clear_seed(model, full, text, prefill):
    """The first seed whose decisions are all clear, and whose logits are apart from full attention's."""
    for seed in range(100):
        case = Case(text, prefill)
        try:
            logits = model.logits(ids_of(seed), case)
        except NearTie:
            continue
        if seed not in full:
            full[seed] = model.logits(ids_of(seed), Case("full", LENGTH))
        if np.abs(logits - full[seed]).max() > 0.05:
            return seed, logits, case.gap
    raise SystemExit(f"{text}, prefill {prefill}: no clear case")


def main():
    models = {name: Model(name) for name in MODELS}
    for name, model in models.items():
        check(name, model)
    if sys.argv[1:] == ["check"]:
        return
    folder, seeds, lines = HERE / "windowed", set(), []
    folder.mkdir(exist_ok=True)
    for name, model in models.items():
        rows, full = [], {}
        for prefill, budget in SETTINGS:
            for policy in POLICIES:
                text = policy.format(budget)
                seed, logits, gap = clear_seed(model, full, text, prefill)
                lines.append(f"{name} {text} {prefill} ids-{seed}.npy {len(rows)} {gap:.1e}")
                print(lines[-1], flush=True)
                rows.append(logits[kept_rows(LENGTH)])
                seeds.add(seed)
        np.save(folder / f"{name}.npy", np.stack(rows).astype(np.float32))
    for seed in seeds:
        np.save(folder / f"ids-{seed}.npy", ids_of(seed).astype(np.int32))
    (folder / "index.txt").write_text("\n".join(lines) + "\n")


main()
