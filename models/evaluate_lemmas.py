#!/usr/bin/env python3
"""Measures the embedded model while it is being trained: accuracy under full attention and under simulated policies.

usage: evaluate_lemmas.py FOLDER [--n 200] [--policy-n 100] [--out FILE.json] [--markdown FILE.md] [--cpu]

Batched greedy decoding, float32, of problems that training never saw (small seeds). The policies are simulated by
masks over an uncut cache, so only accuracies come out of here, no memory and no speed; the harness itself (`raas run`)
is the measurement that counts. Definitions of the policies: streaming, h2o, quest (nothing evicted, pages selected),
raas (prompt pinned, half of the resident pages stamped), each per layer and KV head, prompt included in the budget.
"""
import argparse
import json
import math
import re
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from lemmas_data import Lemmas

PAGE, SINKS, FAR = 16, 4, 1 << 30


class Model:
    def __init__(self, folder, device, dtype=torch.float32):
        self.config = json.loads((Path(folder) / "config.json").read_text())
        self.w = {k: v.to(device, dtype) for k, v in load_file(str(Path(folder) / "model.safetensors")).items()}
        c = self.config
        self.layers, self.heads, self.kv = c["num_hidden_layers"], c["num_attention_heads"], c["num_key_value_heads"]
        self.size, self.group = c["head_dim"], c["num_attention_heads"] // c["num_key_value_heads"]
        angle = torch.outer(torch.arange(c["max_position_embeddings"]),
                            c["rope_theta"] ** (-torch.arange(0, self.size, 2) / self.size)).to(torch.float64)
        self.cos, self.sin = (torch.cat([f(angle)] * 2, -1).to(device, dtype) for f in (torch.cos, torch.sin))

    def norm(self, x, name):
        return F.rms_norm(x, x.shape[-1:], self.w[name], self.config["rms_norm_eps"])

    def qkv(self, x, layer, at):
        """x [B, T, D], at [B, T] -> q [B, KV, G, T, d], k and v [B, KV, T, d], rotated."""
        B, T, _ = x.shape
        head = f"model.layers.{layer}."
        x = self.norm(x, head + "input_layernorm.weight")
        q, k, v = (F.linear(x, self.w[f"{head}self_attn.{n}_proj.weight"]).view(B, T, -1, self.size).transpose(1, 2)
                   for n in "qkv")
        cos, sin = self.cos[at][:, None], self.sin[at][:, None]
        half = self.size // 2
        turn = lambda y: y * cos + torch.cat([-y[..., half:], y[..., :half]], -1) * sin
        return turn(q).view(B, self.kv, self.group, T, self.size), turn(k), v

    def finish(self, x, y, layer):
        """Adds attention output y [B, KV, G, T, d] and the feed-forward part to x."""
        B, T, _ = x.shape
        head = f"model.layers.{layer}."
        y = y.reshape(B, self.heads, T, self.size).transpose(1, 2).reshape(B, T, -1)
        x = x + F.linear(y, self.w[head + "self_attn.o_proj.weight"])
        z = self.norm(x, head + "post_attention_layernorm.weight")
        gate, up, down = (self.w[f"{head}mlp.{name}_proj.weight"] for name in ("gate", "up", "down"))
        return x + F.linear(F.silu(F.linear(z, gate)) * F.linear(z, up), down)

    def logits(self, x):
        return F.linear(self.norm(x, "model.norm.weight"), self.w["model.embed_tokens.weight"])


class Cache:
    """One layer's keys and values at absolute positions, and what the policy knows of them. All updates in place."""

    def __init__(self, model, policy, budget, k, v, prob, prompt, room):
        B, KV, P, d = k.shape
        self.policy, self.L, self.room = policy, budget, room
        self.k, self.v = (torch.zeros(B, KV, room, d, dtype=k.dtype, device=k.device) for _ in "kv")
        self.k[:, :, :P], self.v[:, :, :P] = k, v
        self.at = torch.arange(room, device=k.device)
        self.batch = torch.arange(B, device=k.device)
        pages = room // PAGE
        self.page = torch.arange(pages, device=k.device)
        prompt = prompt[:, None, None]
        self.live = (self.at < prompt).expand(B, KV, room).clone()
        if policy == "h2o":
            self.mass = torch.zeros(B, KV, room, dtype=k.dtype, device=k.device)
            self.mass[:, :, :P] = prob
            while bool((self.live.sum(-1) > budget).any()):
                self.drop_least_mass(prompt - 1, budget)
        if policy in ("quest", "raas"):
            known = self.live[..., None]
            fill = lambda x: self.k.masked_fill(~known, x).view(B, KV, pages, PAGE, d)
            self.low, self.high = fill(math.inf).amin(3), fill(-math.inf).amax(3)
            self.pinned = (prompt + PAGE - 1) // PAGE
            self.capacity = (self.pinned + 2).clamp(min=budget // PAGE)
            self.resident = (self.page < self.pinned).expand(B, KV, pages).clone()
            self.stamp = torch.zeros(B, KV, pages, dtype=torch.long, device=k.device)

    def drop_least_mass(self, now, limit):
        free = self.live & (self.at <= now - self.L // 2)
        least = self.mass.masked_fill(~free, math.inf).argmin(-1, keepdim=True)
        over = self.live.sum(-1, keepdim=True) > limit
        self.live &= ~((self.at == least) & over)

    def bounds(self, q):
        """q [B, KV, G, d] -> upper bound of q.k per page, the group's maximum; -inf for pages without keys."""
        q = q[:, :, :, None]
        bound = torch.maximum(q * self.low[:, :, None], q * self.high[:, :, None]).sum(-1).amax(2)
        return bound.masked_fill(self.low[..., 0].isinf(), -math.inf)

    def rank(self, bound):
        return torch.sort(bound, dim=-1, descending=True, stable=True).indices.argsort(-1)

    def make_room(self, t):
        """Evicts for position t [B, 1, 1] and admits it; before its key is written."""
        if self.policy == "h2o":
            self.drop_least_mass(t, self.L - 1)
        if self.policy == "raas":
            new = (self.page == t // PAGE) & ~self.resident
            full = self.resident.sum(-1, keepdim=True) >= self.capacity
            old = self.stamp.masked_fill(~self.resident | (self.page < self.pinned), FAR)
            victim = self.page == (old * self.room + self.page).argmin(-1, keepdim=True)
            self.resident &= ~(victim & full & new.any(-1, keepdim=True))
            self.resident |= new
        self.live |= self.at == t
        if self.policy == "streaming":
            self.live &= (self.at < SINKS) | (self.at > t - (self.L - SINKS))

    def append(self, t, k, v):
        """k, v [B, KV, 1, d] at positions t [B]."""
        k, v = k[:, :, 0], v[:, :, 0]
        self.k[self.batch, :, t], self.v[self.batch, :, t] = k, v
        if self.policy in ("quest", "raas"):
            p = t // PAGE
            self.low[self.batch, :, p] = torch.minimum(self.low[self.batch, :, p], k)
            self.high[self.batch, :, p] = torch.maximum(self.high[self.batch, :, p], k)

    def attend(self, q, k, v, t, scale):
        """One decode step for q [B, KV, G, 1, d] -> output of the same shape; count of attended tokens [B]."""
        q, now = q[:, :, :, 0], t[:, None, None]
        self.make_room(now)
        self.append(t, k, v)
        live = self.live
        if self.policy in ("quest", "raas"):
            bound, open_page = self.bounds(q), self.page == now // PAGE
        if self.policy == "quest":
            chosen = (self.rank(bound.masked_fill(open_page, math.inf)) < self.L // PAGE) & ~bound.isinf()
            live = live & chosen.repeat_interleave(PAGE, -1)
        if self.policy == "raas":
            live = live & self.resident.repeat_interleave(PAGE, -1)
        score = (q @ self.k.transpose(-1, -2) * scale).masked_fill(~live[:, :, None], -math.inf)
        prob = score.softmax(-1)
        if self.policy == "h2o":
            self.mass += prob.sum(2)
        if self.policy == "raas":
            half = (self.resident.sum(-1, keepdim=True) + 1) // 2
            hot = self.rank(bound.masked_fill(~self.resident, -math.inf)) < half
            self.stamp.copy_(torch.where(hot | open_page, now, self.stamp))
        return (prob @ self.v)[:, :, :, None], live.sum(-1).amax(-1)


class Decoder:
    """A batch of sequences under one policy. prompts [B, P] padded behind; lengths [B]."""

    @torch.no_grad()
    def __init__(self, model, prompts, lengths, policy, budget, room):
        self.model, self.scale = model, model.size ** -0.5
        room = (room + PAGE - 1) // PAGE * PAGE
        B, P = prompts.shape
        at = torch.arange(P, device=prompts.device)
        mask = at[None, :] > at[:, None]
        valid = (at < lengths[:, None]).to(model.cos.dtype)
        x = model.w["model.embed_tokens.weight"][prompts]
        self.caches = []
        for layer in range(model.layers):
            q, k, v = model.qkv(x, layer, at.expand(B, P))
            prob = (q @ k[:, :, None].transpose(-1, -2) * self.scale).masked_fill(mask, -math.inf).softmax(-1)
            seen = (prob * valid[:, None, None, :, None]).sum((2, 3))
            self.caches.append(Cache(model, policy, budget, k, v, seen, lengths, room))
            x = model.finish(x, prob @ v[:, :, None], layer)
        last = x[torch.arange(B, device=x.device), lengths - 1]
        self.first_logits = model.logits(last)
        self.token, self.t = self.first_logits.argmax(-1), lengths.clone()
        self.kept = torch.zeros_like(lengths)
        self.out = model.logits(x[:, 0])

    @torch.no_grad()
    def step(self):
        x = self.model.w["model.embed_tokens.weight"][self.token][:, None]
        for layer, cache in enumerate(self.caches):
            q, k, v = self.model.qkv(x, layer, self.t[:, None])
            y, kept = cache.attend(q, k, v, self.t, self.scale)
            self.kept.copy_(torch.maximum(self.kept, kept))
            x = self.model.finish(x, y, layer)
        self.out.copy_(self.model.logits(x[:, 0]))
        self.token.copy_(self.out.argmax(-1))
        self.t += 1

    def run(self, steps):
        """Generates up to `steps` tokens a sequence -> ids [B, steps], cut when all have met the end token 0."""
        ids = [self.token.clone()]
        step = self.step
        if self.token.is_cuda:
            for _ in range(2):  # what the graph's capture needs warm; these two are ordinary steps
                self.step()
                ids.append(self.token.clone())
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self.step()
            step = graph.replay
        ended = torch.stack(ids).eq(0).any(0)
        while len(ids) < steps:
            step()
            ids.append(self.token.clone())
            ended |= self.token == 0
            if len(ids) % 32 == 0 and bool(ended.all()):
                break
        return torch.stack(ids, 1)


def answer(tokenizer, ids):
    ids = ids[:ids.index(0)] if 0 in ids else ids
    text = tokenizer.decode(ids)
    found = re.findall(r"The answer is (\d+)", text)
    return (found[-1] if found else None), text


def wilson(k, n, z=1.959964):
    p, q = k / n, z * z / n
    middle, half = (p + q / 2) / (1 + q), z * math.sqrt(p * (1 - p) / n + q / (4 * n)) / (1 + q)
    return middle - half, middle + half


def measure(model, lemmas, cases, policy="full", budget=0):
    """cases: keyword sets of Lemmas.problems of equal steps, decoded as one batch -> one row per case."""
    device = model.cos.device
    rows = [lemmas.problems(width=64 * max(c["steps"] for c in cases) + 64, **c) for c in cases]
    ids, prompt, total = (torch.cat([torch.from_numpy(r[i].astype("int64")) for r in rows]) for i in range(3))
    prompts = ids[:, :int(prompt.max())].clone()
    prompts[torch.arange(prompts.shape[1]) >= prompt[:, None]] = 0
    longest = int((total - prompt).max()) + 64
    start = time.monotonic()
    decoder = Decoder(model, prompts.to(device), prompt.to(device), policy, budget, int(prompt.max()) + longest)
    made, kept = decoder.run(longest).cpu().tolist(), decoder.kept.cpu().tolist()
    seconds, results, at = time.monotonic() - start, [], 0
    for case in cases:
        right = same = 0
        for i in range(at, at + case["n"]):
            gold, text = answer(lemmas.tokenizer, ids[i, prompt[i]:total[i]].tolist())
            said, told = answer(lemmas.tokenizer, made[i])
            right += said == gold
            same += told == text
        low, high = wilson(right, case["n"])
        results.append({"policy": policy, "budget": budget, **case, "correct": right, "accuracy": right / case["n"],
                        "low": low, "high": high, "whole_solution": same / case["n"],
                        "kept": sum(kept[at:at + case["n"]]) / case["n"], "seconds": seconds})
        print(json.dumps(results[-1]), flush=True)
        at += case["n"]
    return results


SETTINGS = [{}, {"phoenix": 0.0}, {"phoenix": 0.5}, {"reuse": "birth"}, {"reuse": "uniform"}, {"reuse": "periodic"},
            {"lifetime": 2.0}, {"lifetime": 8.0}]


def case(n, steps, seed, **changes):
    return {"n": n, "steps": steps, "lifetime": 4.0, "phoenix": 0.1, "reuse": "lru", "seed": seed, **changes}


def markdown(results):
    lines = ["| policy | budget | steps | lifetime | phoenix | reuse | n | accuracy | 95 % interval "
             "| whole solution right |",
             "|---|---|---|---|---|---|---|---|---|---|"]
    for r in results:
        lines.append(f"| {r['policy']} | {r['budget'] or '-'} | {r['steps']} | {r['lifetime']:g} | {r['phoenix']:g} | "
                     f"{r['reuse']} | {r['n']} | {r['accuracy']:.3f} | {r['low']:.3f} to {r['high']:.3f} | "
                     f"{r['whole_solution']:.3f} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--policy-n", type=int, default=100)
    parser.add_argument("--budgets", type=int, nargs="*", default=[256, 384, 512])
    parser.add_argument("--out")
    parser.add_argument("--markdown")
    parser.add_argument("--cpu", action="store_true")
    args = parser.parse_args()
    torch.set_float32_matmul_precision("highest")
    lemmas, device = Lemmas(args.folder / "tokenizer.json"), "cpu" if args.cpu else "cuda"
    model, results = Model(args.folder, device), []
    full = lambda steps: measure(model, lemmas, [case(args.n, steps, 2, **s) for s in SETTINGS])
    results += full(16)
    for budget in args.budgets:
        for policy in ("streaming", "h2o", "quest", "raas"):
            results += measure(model, lemmas, [case(args.policy_n, 16, 1)], policy, budget)
    results += full(24) + full(32)
    print(markdown(results))
    if args.out:
        Path(args.out).write_text(json.dumps(results, indent=1) + "\n")
    if args.markdown:
        Path(args.markdown).write_text(markdown(results))


if __name__ == "__main__":
    main()
