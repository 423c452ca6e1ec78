#!/usr/bin/env python3
"""Writes models/NAME/attention.npy: what transformers' attention gives on the golden models, float32 [layer, head, query, key].

usage: make_attention.py
Needs torch and transformers; README.md has the versions that made the committed files.
"""
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM

HERE = Path(__file__).resolve().parent
N = 24


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    for folder in sorted(p for p in (HERE / "models").iterdir() if p.is_dir()):
        # float64, as logits.npy: the reference is then exact to what float32 can hold
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
        ids = torch.from_numpy(np.load(folder / "ids.npy")[:N].astype(np.int64))
        attentions = torch.stack(model(ids[None], output_attentions=True).attentions)[:, 0]
        single = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        apart = (torch.stack(single(ids[None], output_attentions=True).attentions)[:, 0] - attentions).abs().max()
        np.save(folder / "attention.npy", attentions.numpy().astype(np.float32))
        print(f"{folder.name}: {tuple(attentions.shape)}, largest {attentions[..., 1:, :].max():.3f} behind the first query, "
              f"transformers' own float32 is {apart:.1e} apart")


if __name__ == "__main__":
    main()
