#!/usr/bin/env python3
"""Trains the embedded model on fresh problems of the lemmas generator and writes it as a Hugging Face folder.

usage: train_lemmas.py FOLDER [--minutes 6.5] [--checkpoint FILE] [--resume FILE]
       train_lemmas.py FOLDER --resume FILE --minutes 0      (only writes the folder again)

FOLDER holds tokenizer.json (train_tokenizer.py) and receives config.json, generation_config.json, model.safetensors
(BF16) and training.csv, the loss curve. Training follows the clock: warm-up, cosine and curriculum are functions of
the share of --minutes that is spent. A checkpoint (every minute and at the end) holds weights, optimiser, clock and
batch number; --resume goes on from there with the same data as if nothing had happened.

Batch number b is a pure function of b and its bucket: lemmas with seeds from SEED on, which no evaluation uses.
One problem a row, loss on the solution (with the newline before it and the end token after it).
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
PEAK, WARMUP, FLOOR, DECAY, CLIP = 3e-3, 200, 0.02, 0.1, 1.0


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
    return PEAK * min(1, (step + 1) / WARMUP) * (FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * min(share, 1))) / 2)


def optimiser_of(model):
    groups = [{"params": [p for p in model.parameters() if p.dim() == 2], "weight_decay": DECAY},
              {"params": [p for p in model.parameters() if p.dim() != 2], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=PEAK, betas=(0.9, 0.95), fused=True)


def warm_up_compiler(model):
    """Compiles every bucket's shapes before the clock starts."""
    for _, _, rows, width in BUCKETS:
        ids = torch.zeros(rows, width, dtype=torch.long, device="cuda")
        with torch.autocast("cuda", torch.bfloat16):
            model(ids, ids).backward()
    model.zero_grad()
    torch.cuda.synchronize()


def train(model, lemmas, args, state):
    optimiser = optimiser_of(model)
    if "optimiser" in state:
        optimiser.load_state_dict(state["optimiser"])
    clock = {"start": time.monotonic(), "before": state["seconds"]}
    seconds = lambda: clock["before"] + time.monotonic() - clock["start"]
    share = lambda: seconds() / (60 * args.minutes)
    feeder = Feeder(lemmas, state["step"], share)
    warm_up_compiler(model)
    clock["start"] = time.monotonic()
    losses, saved = [], seconds()
    while share() < 1:
        ids, targets, tokens = feeder.next()
        for group in optimiser.param_groups:
            group["lr"] = rate(state["step"], share())
        with torch.autocast("cuda", torch.bfloat16):
            loss = model(ids, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        losses.append(loss.detach())
        state["step"] += 1
        state["tokens"] += tokens
        if state["step"] % 100 == 0 or share() >= 1:
            mean = torch.stack(losses).mean().item()
            losses = []
            state["curve"].append([state["step"], state["tokens"], round(seconds(), 1), f"{mean:.3e}",
                                   f"{optimiser.param_groups[0]['lr']:.2e}"])
            print(*state["curve"][-1], f"{state['tokens'] / seconds() / 1e6:.2f} Mtok/s", flush=True)
            if not math.isfinite(mean):
                raise SystemExit("the loss is no number")
        if args.checkpoint and (seconds() - saved > 60 or share() >= 1):
            saved = seconds()
            state.update(model=model.state_dict(), optimiser=optimiser.state_dict(), seconds=seconds())
            torch.save(state, f"{args.checkpoint}.part")
            Path(f"{args.checkpoint}.part").rename(args.checkpoint)


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
            csv.writer(f, lineterminator="\n").writerows([["step", "tokens", "seconds", "loss", "lr"], *curve])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=6.5)
    parser.add_argument("--checkpoint")
    parser.add_argument("--resume")
    args = parser.parse_args()
    lemmas = Lemmas(args.folder / "tokenizer.json")
    torch.manual_seed(SEED)
    model = Llama(lemmas.tokenizer.get_vocab_size())
    state = {"step": 0, "tokens": 0, "seconds": 0.0, "curve": []}
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
