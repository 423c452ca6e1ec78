#!/usr/bin/env python3
"""Times decode steps of transformers on the shapes that `raas bench gpu` measures: the peers of its table.

Random bf16 weights, batch 1, one context: "dynamic" is a growing cache with SDPA, "static+compile" a static cache
under torch.compile(mode="reduce-overhead"). A step is the bare forward pass and the argmax that feeds the next one;
generate() costs more. Steps are timed on the device, around a fixed context, after the warm-up (whose seconds,
compilation included, stand apart). Needs torch and transformers and no network:

    python3 tests/bench_peers.py --out peers.csv && ./raas bench gpu --suite --peers peers.csv
"""
import argparse
import csv
import gc
import statistics
import sys
import time

import torch
import transformers
from transformers import AutoModelForCausalLM, DynamicCache, LlamaConfig, Qwen2Config, StaticCache

QWEN = dict(max_position_embeddings=32768, rms_norm_eps=1e-6)
SHAPES = {  # in the order of their use
    "qwen2.5-7b": lambda: Qwen2Config(
        hidden_size=3584, intermediate_size=18944, num_hidden_layers=28, num_attention_heads=28,
        num_key_value_heads=4, vocab_size=152064, tie_word_embeddings=False, **QWEN),
    "qwen2.5-1.5b": lambda: Qwen2Config(
        hidden_size=1536, intermediate_size=8960, num_hidden_layers=28, num_attention_heads=12,
        num_key_value_heads=2, vocab_size=151936, tie_word_embeddings=True, **QWEN),
    "llama-8b": lambda: LlamaConfig(
        hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8, vocab_size=128256, tie_word_embeddings=False, max_position_embeddings=32768),
    "tiny": lambda: Qwen2Config(  # for a try without a GPU
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=500, tie_word_embeddings=True, **QWEN),
}
ENGINES = {"static+compile": 200, "dynamic": 60, "static": 60}  # measured steps
COLUMNS = ["engine", "shape", "batch", "context", "ms_median", "ms_p10", "ms_p90", "warmup_s", "gpu", "versions"]
WARM = 20


def versions():
    try:
        import triton
        kernels = f" triton {triton.__version__}"
    except ImportError:
        kernels = ""
    return f"torch {torch.__version__} transformers {transformers.__version__}{kernels}"


def make_model(shape, device):
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(SHAPES[shape](), dtype=torch.bfloat16, attn_implementation="sdpa")
    return model.eval()


def make_step(model, cache, compiled, fullgraph):
    def step(token):
        logits = model(input_ids=token, past_key_values=cache, use_cache=True).logits
        return logits[:, -1].argmax(-1, keepdim=True)
    return torch.compile(step, mode="reduce-overhead", fullgraph=fullgraph) if compiled else step


def time_steps(step, token, n, device):
    """Milliseconds of n steps, one by one: on the device's clock where there is one."""
    if device == "cpu":
        times = []
        for _ in range(n):
            start = time.perf_counter()
            token = step(token).clone()
            times.append((time.perf_counter() - start) * 1e3)
        return times
    events = [torch.cuda.Event(enable_timing=True) for _ in range(n + 1)]
    events[0].record()
    for event in events[1:]:
        token = step(token).clone()  # the graph's output is overwritten by its next run
        event.record()
    torch.cuda.synchronize()
    return [a.elapsed_time(b) for a, b in zip(events, events[1:])]


def measure(model, engine, args, fullgraph=True):
    n, static = ENGINES[engine], engine != "dynamic"
    before = args.context - n // 2 - WARM
    config = model.config
    ids = torch.randint(0, config.vocab_size, (args.batch, before), device=args.device)
    room = args.context + n // 2 + 8
    cache = StaticCache(config=config, max_cache_len=room) if static else DynamicCache(config=config)
    start = time.perf_counter()
    with torch.no_grad():
        logits = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        token = logits[:, -1].argmax(-1, keepdim=True)
        step = make_step(model, cache, engine.endswith("compile"), fullgraph)
        for _ in range(WARM):
            token = step(token).clone()
        if args.device != "cpu":
            torch.cuda.synchronize()
        warm = time.perf_counter() - start
        times = time_steps(step, token, n, args.device)
    if not torch.isfinite(logits).all():
        raise RuntimeError("logits are not finite")
    held = int(cache.get_seq_length())
    if held != before + WARM + n:
        raise RuntimeError(f"the cache holds {held} tokens, expected {before + WARM + n}")
    tenths = statistics.quantiles(times, n=10)
    return statistics.median(times), tenths[0], tenths[-1], warm


def try_measure(model, shape, engine, args):
    """One row, its numbers empty where the engine failed."""
    gpu = torch.cuda.get_device_name(0).replace(",", " ") if args.device != "cpu" else "cpu"
    row = dict(engine=engine, shape=shape, batch=args.batch, context=args.context, gpu=gpu, versions=versions())
    for fullgraph in (True, False):
        try:
            numbers = measure(model, engine, args, fullgraph)
            row.update(zip(("ms_median", "ms_p10", "ms_p90", "warmup_s"), (f"{x:.6g}" for x in numbers)))
            return row
        except Exception as error:  # whatever it is, the other engines go on
            print(f"{engine}, {shape}: {type(error).__name__}: {str(error).splitlines()[:1]}", file=sys.stderr)
            if not engine.endswith("compile"):
                break
    return row


def write(path, rows):
    with open(path, "w", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="peers.csv")
    parser.add_argument("--shape", action="append", choices=list(SHAPES), help="default: the three real ones")
    parser.add_argument("--engine", action="append", choices=list(ENGINES), help="default: static+compile, dynamic")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--seconds", type=float, default=280, help="nothing new is begun after so many")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    started, rows = time.perf_counter(), []
    for shape in args.shape or list(SHAPES)[:3]:
        if time.perf_counter() - started > args.seconds:
            print(f"{shape}: no time left", file=sys.stderr)
            continue
        try:
            model = make_model(shape, args.device)
        except Exception as error:
            print(f"{shape}: {type(error).__name__}: {error}", file=sys.stderr)
            continue
        for engine in args.engine or ["static+compile", "dynamic"]:
            if time.perf_counter() - started > args.seconds:
                print(f"{engine}, {shape}: no time left", file=sys.stderr)
                continue
            row = try_measure(model, shape, engine, args)
            rows.append(row)
            print(" ".join(str(row.get(c, "-")) for c in COLUMNS), flush=True)
            write(args.out, rows)
            torch._dynamo.reset()
            gc.collect()
        del model
        gc.collect()
        if args.device != "cpu":
            torch.cuda.empty_cache()
    write(args.out, rows)
    return 0 if rows and all("ms_median" in r for r in rows) else 4


if __name__ == "__main__":
    sys.exit(main())
