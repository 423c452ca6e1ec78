#!/usr/bin/env python3
"""Trains the embedded model on fresh problems of the lemmas generator and writes it as a Hugging Face folder.

usage: train_lemmas.py FOLDER [--minutes 8.1] [--checkpoint FILE] [--resume FILE]
       train_lemmas.py FOLDER --resume FILE --minutes 0      (only writes the folder again)

FOLDER holds tokenizer.json (train_tokenizer.py) and receives config.json, generation_config.json, model.safetensors
(BF16) and training.csv, the curve. A checkpoint (every minute and at the end) holds weights, optimiser, clock and
batch numbers; --resume goes on from there, so that a long training fits into short commands.

1. Look-ups alone (class LookUps), harder as they are learnt, for at most --longest seconds.
2. Solutions, a curriculum from 8 to 32 steps by the share of the remaining time, with look-ups in --dense of the
   batches, which is what lets the look-up by name form: one problem a row, loss on the solution (with the newline
   before it and the end token after it). Every problem is new: seeds from SEED on, which no evaluation uses.
"""
import argparse
import csv
import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from lemmas_data import LAWS, PARAM, Lemmas

SEED = 10**9  # of training data; evaluations use small seeds
WIDTH, LAYERS, HEADS, KV_HEADS, HEAD, FFN = 256, 6, 4, 2, 64, 704
EPS, THETA, POSITIONS = 1e-5, 10000.0, 4096
BUCKETS = [(1, 8, 256, 512), (9, 16, 128, 1024), (17, 24, 80, 1536), (25, 32, 64, 2048)]  # steps, rows, tokens
STAGES = [(0.06, [1, 0, 0, 0]), (0.15, [4, 6, 0, 0]), (0.5, [3, 5, 6, 6]), (1.0, [2, 5, 7, 6])]  # until, bucket weights
LIFETIMES, PHOENIX = [2.0, 4.0, 8.0], [0.0, 0.1, 0.5]
WARMUP, FLOOR, DECAY, CLIP = 200, 0.02, 0.1, 1.0
FACTS, LEARNT = 24, 0.1  # of a look-up row at most; the loss below which it gets harder


# --- model: parameter names are those of transformers' LlamaForCausalLM -----------------------------

class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x):
        return F.rms_norm(x.float(), (WIDTH,), self.weight, EPS).to(x.dtype)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj = nn.Linear(WIDTH, HEADS * HEAD, bias=False)
        self.k_proj = nn.Linear(WIDTH, KV_HEADS * HEAD, bias=False)
        self.v_proj = nn.Linear(WIDTH, KV_HEADS * HEAD, bias=False)
        self.o_proj = nn.Linear(HEADS * HEAD, WIDTH, bias=False)

    def forward(self, x, cos, sin):
        rows, tokens, _ = x.shape
        split = lambda y: y.view(rows, tokens, -1, HEAD).transpose(1, 2)
        q, k, v = split(self.q_proj(x)), split(self.k_proj(x)), split(self.v_proj(x))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        k, v = (y.repeat_interleave(HEADS // KV_HEADS, 1) for y in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(rows, tokens, -1))


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate_proj = nn.Linear(WIDTH, FFN, bias=False)
        self.up_proj = nn.Linear(WIDTH, FFN, bias=False)
        self.down_proj = nn.Linear(FFN, WIDTH, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = Norm(), Norm()
        self.self_attn, self.mlp = Attention(), Mlp()

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    def __init__(self, vocab):
        super().__init__()
        self.vocab = vocab
        self.embed_tokens = nn.Embedding((vocab + 63) // 64 * 64, WIDTH)  # padded for the GPU; cut when written
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = Norm()
        for name, p in self.named_parameters():
            if p.dim() == 2:
                out = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * LAYERS) if out else 0.02)
        angle = torch.outer(torch.arange(POSITIONS), THETA ** (-torch.arange(0, HEAD, 2) / HEAD))
        self.register_buffer("cos", torch.cat([angle, angle], -1).cos(), persistent=False)
        self.register_buffer("sin", torch.cat([angle, angle], -1).sin(), persistent=False)

    def forward(self, ids, targets):
        cos, sin = self.cos[:ids.shape[1]], self.sin[:ids.shape[1]]
        x = F.embedding(ids, self.embed_tokens.weight)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return head_loss(self.norm, self.embed_tokens.weight, x, targets)


def rotate(x, cos, sin):
    a, b = x.float().chunk(2, -1)
    return (x.float() * cos + torch.cat([-b, a], -1) * sin).to(x.dtype)


def head_loss(norm, embedding, x, targets):
    logits = norm(x) @ embedding.T.to(x.dtype)
    return F.cross_entropy(logits.float().view(-1, logits.shape[-1]), targets.view(-1), ignore_index=-100)


# --- data ------------------------------------------------------------------------------------------

def bucket_of(number, share):
    weights = np.array(next(w for until, w in STAGES if share <= until), float)
    return int(np.random.default_rng([SEED, number, 0]).choice(len(BUCKETS), p=weights / weights.sum()))


def make_batch(lemmas, number, bucket):
    low, high, rows, width = BUCKETS[bucket]
    rng = np.random.default_rng([SEED, number, 1])
    params = np.zeros(rows, PARAM)
    params["steps"] = rng.integers(low, high + 1, rows)
    params["lifetime"], params["phoenix"] = rng.choice(LIFETIMES, rows), rng.choice(PHOENIX, rows)
    params["reuse"], params["seed"] = rng.integers(0, len(LAWS), rows), SEED + number
    ids, prompt, total = lemmas.rows(params, np.arange(rows), width)
    ids = ids.astype(np.int64)
    at = np.arange(1, width + 1)  # a target's own position
    targets = np.roll(ids, -1, 1)
    targets[(at < prompt[:, None] - 1) | (at >= total[:, None])] = -100
    return torch.from_numpy(ids), torch.from_numpy(targets), int(total.sum())


class LookUps:
    """Rows that are all look-ups: k facts "X has a more rings than Y. So X has b rings.", then "Recall X has b." in
    random order, in the tokens of the real text. Only the recalled digits are targets. Solutions alone leave a plateau
    (loss 0.034): a look-up by name pays once in 45 tokens, guessing among recent values pays almost as well, and the
    circuit does not form. Names: every capitalised token but the text's own words."""

    def __init__(self, tokenizer, device):
        one = lambda text: tokenizer.encode(text).ids[0]
        words = {"Step", "Recall", "Compute", "So", "The", "Some", "How"}
        names = [i for t, i in tokenizer.get_vocab().items()
                 if t[0] == "\u0120" and t[1:2].isupper() and t[1:] not in words]
        tensor = lambda x: torch.tensor(x, device=device)
        self.names, self.device = tensor(sorted(names)), device
        self.digit, self.spaced = tensor([one(str(d)) for d in range(10)]), tensor([one(f" {d}") for d in range(10)])
        self.fact = tensor([0] + [one(w) for w in (" has", " 1", "1", " more", " rings", " than")] + [0] +
                           [one(w) for w in (".", " So")] + [0] + [one(w) for w in (" has", " 1", "1", " rings", ".")])
        self.recall = tensor([one(" Recall"), 0] + [one(w) for w in (" has", " 1", "1", ".")])

    def batch(self, number, facts, rows, width):
        """Row contents are a pure function of number and facts; k is drawn up to `facts`."""
        d = self.device
        g = torch.Generator(d).manual_seed(SEED + number)
        draw = lambda low, high, *shape: torch.randint(low, high, shape, device=d, generator=g)
        k = int(np.random.default_rng([SEED, number, 2]).integers(max(2, facts // 2), facts + 1))
        n = (width - 16 * k) // 6
        who = self.names[torch.rand(rows, len(self.names), device=d, generator=g).argsort(1)[:, :k]]
        other, value = draw(10, 100, rows, k), draw(10, 100, rows, k)
        facts = self.fact.repeat(rows, k, 1)
        facts[:, :, 0] = facts[:, :, 10] = who
        facts[:, :, 7] = who.gather(1, draw(0, k, rows, k))
        facts[:, :, 2], facts[:, :, 3] = self.spaced[other // 10], self.digit[other % 10]
        facts[:, :, 12], facts[:, :, 13] = self.spaced[value // 10], self.digit[value % 10]
        ask = draw(0, k, rows, n)
        asked = value.gather(1, ask)
        recalls = self.recall.repeat(rows, n, 1)
        recalls[:, :, 1] = who.gather(1, ask)
        recalls[:, :, 3], recalls[:, :, 4] = self.spaced[asked // 10], self.digit[asked % 10]
        ids = torch.zeros(rows, width, dtype=torch.long, device=d)
        ids[:, :16 * k + 6 * n] = torch.cat([facts.flatten(1), recalls.flatten(1)], 1)
        targets = torch.full_like(ids, -100)
        at = 16 * k + 6 * torch.arange(n, device=d)
        targets[:, at + 2], targets[:, at + 3] = recalls[:, :, 3], recalls[:, :, 4]
        return ids, targets, rows * (16 * k + 6 * n)


class Feeder:
    """Keeps a few batches ahead, on pinned memory; the share of time spent decides the bucket when one is ordered."""

    def __init__(self, lemmas, first, share, ahead=24, threads=8):
        self.lemmas, self.number, self.share = lemmas, first, share
        self.pool, self.queue = ThreadPoolExecutor(threads), []
        self.ahead = ahead

    def order(self):
        bucket = bucket_of(self.number, self.share())
        self.queue.append(self.pool.submit(make_batch, self.lemmas, self.number, bucket))
        self.number += 1

    def next(self):
        while len(self.queue) <= self.ahead:
            self.order()
        ids, targets, tokens = self.queue.pop(0).result()
        return ids.pin_memory().cuda(non_blocking=True), targets.pin_memory().cuda(non_blocking=True), tokens


# --- training ----------------------------------------------------------------------------------------

def rate(step, share):
    """Share of the peak learning rate."""
    return min(1, (step + 1) / WARMUP) * (FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * min(share, 1))) / 2)


def optimiser_of(model, peak):
    groups = [{"params": [p for p in model.parameters() if p.dim() == 2], "weight_decay": DECAY},
              {"params": [p for p in model.parameters() if p.dim() != 2], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.95), fused=True)


def warm_up_compiler(model):
    """Compiles every bucket's shapes before the clock starts."""
    for _, _, rows, width in BUCKETS:
        ids = torch.zeros(rows, width, dtype=torch.long, device="cuda")
        with torch.autocast("cuda", torch.bfloat16):
            model(ids, ids).backward()
    model.zero_grad()
    torch.cuda.synchronize()


class Clock:
    """Seconds spent by all runs together; share is that of the time left for solutions, 0 before they begin."""

    def __init__(self, state, minutes):
        self.state, self.total, self.start, self.before = state, 60 * minutes, time.monotonic(), state["seconds"]

    def seconds(self):
        return self.before + time.monotonic() - self.start

    def share(self):
        begun = self.state["begun"]
        return 0.0 if begun is None else (self.seconds() - begun) / (self.total - begun)


def note(state, clock, losses, looked, now, longest):
    """One line of the curve; makes the look-ups harder, or lets the solutions begin."""
    mean = lambda x: torch.stack(x).mean().item() if x else float("nan")
    loss, look = mean(losses), mean(looked)
    if math.isinf(loss) or math.isnan(loss) and losses:
        raise SystemExit("the loss is no number")
    state["curve"].append([state["step"], state["tokens"], round(clock.seconds(), 1), f"{loss:.3e}", f"{look:.3e}",
                           state["facts"], f"{now:.2e}"])
    if state["step"] % 200 == 0:
        print(*state["curve"][-1], f"{state['tokens'] / clock.seconds() / 1e6:.2f} Mtok/s", flush=True)
    if state["begun"] is not None:
        return
    if look < LEARNT and state["facts"] < FACTS:
        state["facts"] = min(FACTS, state["facts"] + max(1, state["facts"] // 3))
    elif look < LEARNT or clock.seconds() > longest:
        state["facts"], state["begun"] = FACTS, clock.seconds()
        print("solutions from here on", round(clock.seconds(), 1), flush=True)


def train(model, lemmas, args, state):
    optimiser, look_ups = optimiser_of(model, args.peak), LookUps(lemmas.tokenizer, "cuda")
    if "optimiser" in state:
        optimiser.load_state_dict(state["optimiser"])
    warm_up_compiler(model)
    clock, (_, _, rows, width) = Clock(state, args.minutes), BUCKETS[0]
    feeder, losses, looked, saved = Feeder(lemmas, state["batches"], clock.share), [], [], clock.seconds()
    while clock.share() < 1 and clock.seconds() < clock.total:
        dense = state["begun"] is None or np.random.default_rng([SEED, state["step"], 3]).random() < args.dense
        if dense:
            ids, targets, tokens = look_ups.batch(state["step"], state["facts"], rows, width)
        else:
            ids, targets, tokens = feeder.next()
            state["batches"] += 1
        now = args.peak * rate(state["step"], clock.share())
        for group in optimiser.param_groups:
            group["lr"] = now
        with torch.autocast("cuda", torch.bfloat16):
            loss = model(ids, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        (looked if dense else losses).append(loss.detach())
        state["step"] += 1
        state["tokens"] += tokens
        if state["step"] % 50 == 0:
            note(state, clock, losses, looked, now, args.longest)
            losses, looked = [], []
        if args.checkpoint and clock.seconds() - saved > 60:
            saved = clock.seconds()
            save(args.checkpoint, state, model, optimiser, clock)
    if args.checkpoint:
        save(args.checkpoint, state, model, optimiser, clock)


def save(path, state, model, optimiser, clock):
    state.update(model=model.state_dict(), optimiser=optimiser.state_dict(), seconds=clock.seconds())
    torch.save(state, f"{path}.part")
    Path(f"{path}.part").rename(path)


def export(model, folder, curve):
    tensors = {f"model.{name}": p.detach().to(torch.bfloat16).cpu().contiguous()
               for name, p in model.state_dict().items()}
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"][:model.vocab].clone()
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": None, "eos_token_id": 0, "head_dim": HEAD, "hidden_act": "silu", "hidden_size": WIDTH,
        "initializer_range": 0.02, "intermediate_size": FFN, "max_position_embeddings": POSITIONS,
        "mlp_bias": False, "model_type": "llama", "num_attention_heads": HEADS, "num_hidden_layers": LAYERS,
        "num_key_value_heads": KV_HEADS, "pad_token_id": 0, "pretraining_tp": 1, "rms_norm_eps": EPS,
        "rope_scaling": None, "rope_theta": THETA, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
        "use_cache": True, "vocab_size": model.vocab}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    generation = {"do_sample": False, "eos_token_id": 0, "pad_token_id": 0}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    if curve:
        with open(folder / "training.csv", "w", newline="") as f:
            names = ["step", "tokens", "seconds", "loss", "lookup_loss", "facts", "lr"]
            csv.writer(f, lineterminator="\n").writerows([names, *curve])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=8.1, help="of training, all runs together")
    parser.add_argument("--longest", type=float, default=200, help="seconds of look-ups alone, at most")
    parser.add_argument("--dense", type=float, default=0.15, help="share of look-up batches among solutions")
    parser.add_argument("--peak", type=float, default=3e-3, help="learning rate")
    parser.add_argument("--checkpoint")
    parser.add_argument("--resume")
    args = parser.parse_args()
    lemmas = Lemmas(args.folder / "tokenizer.json")
    torch.manual_seed(SEED)
    model = Llama(lemmas.tokenizer.get_vocab_size())
    state = {"step": 0, "tokens": 0, "batches": 0, "seconds": 0.0, "facts": 3, "begun": None, "curve": []}
    if args.resume:
        state = torch.load(args.resume, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
    print(sum(p.numel() for p in model.parameters()), "parameters", flush=True)
    if args.minutes > 0:
        torch._dynamo.config.recompile_limit = 64
        torch.set_float32_matmul_precision("high")
        model.cuda()
        for layer in model.layers:
            layer.compile(dynamic=False)
        global head_loss
        head_loss = torch.compile(head_loss, dynamic=False)
        train(model, lemmas, args, state)
    export(model, args.folder, state["curve"])


if __name__ == "__main__":
    main()
