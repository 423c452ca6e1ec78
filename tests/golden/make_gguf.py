#!/usr/bin/env python3
"""Writes the golden data of gguf/: every number format, small models, tokenizers, and answers of real models.

usage: make_gguf.py types | models | tokenizers
       make_gguf.py answers MODEL.gguf GSM8K.jsonl PROMPTS TOKENS OUT.jsonl
Needs numpy and the gguf package; models also safetensors; tokenizers also tokenizers, sentencepiece and transformers;
answers also torch and transformers. README.md has the versions.

  types.gguf, types.npy   random blocks of each format [3 rows, 512], and the fp32 numbers that gguf.quants makes of them
  NAME.gguf               the weights of ../models/NAME as llama.cpp's converter lays them out
  tokenizer-PRE.gguf      metadata alone: ../tokenizer/model.json under that tokenizer.ggml.pre; `llama` is SentencePiece's
  tokenizers.jsonl        {"name", "sha256", "plain_sha256", "texts"}: ids of the first so many of ../tokenizer/texts.jsonl,
                          with and without specials
  answers-MODEL.jsonl     {"prompt", "ids", "close"}: [place, gap] where the two best logits are closer than 0.05
"""
import hashlib
import json
import math
import struct
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
OUT = HERE / "gguf"
QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+")
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)


def writer(name, family):
    from gguf import GGUFWriter
    OUT.mkdir(exist_ok=True)
    return GGUFWriter(OUT / name, family)


def close(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def types():
    """Scales are ordinary, small, subnormal, 0 and negative halves; all other bits are random."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T, quants
    rng = np.random.default_rng(0)
    halves = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108],
              T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208]}
    w, all_numbers = writer("types.gguf", "types"), []
    for t in [T.F32, T.F16, T.BF16, *halves]:
        block, size = GGML_QUANT_SIZES[t]
        n = 3 * 512 // block
        if t not in halves:
            numbers = rng.standard_normal(n).astype(np.float32)
            data = quants.quantize(numbers, t).view(np.uint8).reshape(n, size)
        else:
            data = rng.integers(0, 256, (n, size), dtype=np.uint8)
            for at in halves[t]:
                scales = (rng.standard_normal(n) * 10.0 ** rng.integers(-7, 1, n)).astype(np.float16)
                scales[n // 2] = 0
                data[:, at:at + 2] = scales.view(np.uint8).reshape(n, 2)
        data = data.reshape(3, 512 // block * size)
        all_numbers.append(quants.dequantize(data, t).reshape(3, 512))
        w.add_tensor(t.name, data, raw_dtype=t)
    np.save(OUT / "types.npy", np.stack(all_numbers))
    close(w)


def tensors_of(folder):
    """name: (array of raw bits, gguf type); bf16 stays uint16."""
    from gguf import GGMLQuantizationType as T
    for path in sorted(folder.glob("*.safetensors")):
        raw = path.read_bytes()
        size = struct.unpack("<Q", raw[:8])[0]
        for name, t in json.loads(raw[8:8 + size]).items():
            if name == "__metadata__":
                continue
            kind, dtype = {"F32": (T.F32, np.float32), "F16": (T.F16, np.float16), "BF16": (T.BF16, np.uint16)}[t["dtype"]]
            a, b = (8 + size + x for x in t["data_offsets"])
            yield name, np.frombuffer(raw[a:b], dtype).reshape(t["shape"]), kind


PARTS = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "self_attn.o_proj": "attn_output",
         "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def new_name(name):
    if not name.startswith("model.layers."):
        return {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
                "lm_head.weight": "output.weight"}[name]
    layer, part = name.removeprefix("model.layers.").split(".", 1)
    part, kind = part.rsplit(".", 1)
    return f"blk.{layer}.{PARTS[part]}.{kind}"


def permute(weights, heads):
    """As convert_hf_to_gguf.py has it for the family llama."""
    return (weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:]).swapaxes(1, 2)
            .reshape(weights.shape))


def rope_divisors(rope, theta, size):
    """As convert_hf_to_gguf.py writes rope_freqs.weight."""
    freqs = 1.0 / theta ** (np.arange(0, size, 2, dtype=np.float32) / size)
    out = []
    for wave in 2 * math.pi / freqs:
        low = rope["original_max_position_embeddings"] / rope["low_freq_factor"]
        high = rope["original_max_position_embeddings"] / rope["high_freq_factor"]
        smooth = ((rope["original_max_position_embeddings"] / wave - rope["low_freq_factor"])
                  / (rope["high_freq_factor"] - rope["low_freq_factor"]))
        out.append(1 if wave < high else rope["factor"] if wave > low
                   else 1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(out, dtype=np.float32)


def model(name):
    from gguf import GGMLQuantizationType as T
    folder = HERE / "models" / name
    config = json.loads((folder / "config.json").read_text())
    family = config["model_type"]
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = rope.get("rope_theta", config.get("rope_theta"))
    heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    w = writer(f"{name}.gguf", family)
    w.add_block_count(config["num_hidden_layers"])
    w.add_context_length(config["max_position_embeddings"])
    w.add_embedding_length(config["hidden_size"])
    w.add_feed_forward_length(config["intermediate_size"])
    w.add_head_count(heads)
    w.add_head_count_kv(kv)
    w.add_rope_freq_base(theta)
    w.add_layer_norm_rms_eps(config["rms_norm_eps"])
    if size * heads != config["hidden_size"]:
        w.add_key_length(size)
        w.add_value_length(size)
    if name == "llama-g1":  # the others work with ids alone
        w.add_tokenizer_model("gpt2")
        w.add_tokenizer_pre("gpt-2")
        w.add_token_list(["t", "tt"] + [f"t{i}" for i in range(2, config["vocab_size"])])
        w.add_token_merges(["t t"])
    if rope.get("rope_type") == "llama3":
        w.add_tensor("rope_freqs.weight", rope_divisors(rope, theta, size))
    for tensor, data, kind in tensors_of(folder):
        if family == "llama" and ".q_proj." in tensor or family == "llama" and ".k_proj." in tensor:
            data = permute(data, heads if ".q_proj." in tensor else kv)
        if data.ndim == 1 and kind != T.F32:  # the converter keeps vectors in F32
            data = (data.astype(np.uint32) << 16).view(np.float32) if kind == T.BF16 else data.astype(np.float32)
            kind = T.F32
        w.add_tensor(new_name(tensor), np.ascontiguousarray(data), raw_dtype=kind)
    close(w)


def models():
    for name in ("llama-g1", "llama-g3", "qwen2-g3", "qwen3-g3"):
        model(name)


def ids_hash(lists):
    return hashlib.sha256(b"".join(struct.pack(f"<{len(ids)}i", *ids) for ids in lists)).hexdigest()


def texts():
    return [json.loads(line)["text"] for line in (HERE / "tokenizer" / "texts.jsonl").read_text().split("\n") if line]


def byte_level(pre, steps, normalizer, whole, bos):
    """The metadata, and the tokenizer that the library makes of the same tokens."""
    from tokenizers import Tokenizer
    bpe = json.loads((HERE / "tokenizer" / "model.json").read_text())
    added = [("<|end|>", True), ("<s>", True), ("<think>", False), ("</think>", False)]
    tokens = sorted(bpe["vocab"], key=bpe["vocab"].get)
    first = len(tokens)
    w = writer(f"tokenizer-{pre}.gguf", "llama")
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(pre)
    w.add_token_list(tokens + [t for t, _ in added])
    w.add_token_types([NORMAL] * first + [CONTROL if special else USER for _, special in added])
    w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in bpe["merges"]])
    w.add_eos_token_id(first)
    w.add_bos_token_id(first + 1)
    if bos != (pre == "llama-bpe"):
        w.add_add_bos_token(bos)
    close(w)
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    special = {"type": "TemplateProcessing", "special_tokens": {"<s>": {"id": "<s>", "ids": [first + 1], "tokens": ["<s>"]}},
               "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
               "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}]}
    body = {"version": "1.0", "truncation": None, "padding": None, "normalizer": normalizer,
            "added_tokens": [{"id": first + i, "content": t, "single_word": False, "lstrip": False, "rstrip": False,
                              "normalized": False, "special": s} for i, (t, s) in enumerate(added)],
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps + ([] if steps[-1]["type"] == "ByteLevel" else [level])},
            "post_processor": special if bos else None, "decoder": level, "model": {**bpe, "ignore_merges": whole}}
    tokenizer = Tokenizer.from_str(json.dumps(body))
    return {"name": pre, "sha256": ids_hash([tokenizer.encode(t).ids for t in texts()]),
            "plain_sha256": ids_hash([tokenizer.encode(t, add_special_tokens=False).ids for t in texts()])}


def sentencepiece_bpe():
    """A small SentencePiece model; ids by transformers' conversion of it, which is what folders hold."""
    import sentencepiece as spm
    from tokenizers import AddedToken, Tokenizer, models as kinds, normalizers
    from transformers.convert_slow_tokenizer import generate_merges
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.txt"
        corpus.write_text("\n".join(t for t in texts() if "\0" not in t and t.strip()))
        prefix = str(Path(folder) / "tokenizer")
        spm.SentencePieceTrainer.train(input=str(corpus), model_prefix=prefix, model_type="bpe", vocab_size=700,
                                       byte_fallback=True, character_coverage=0.98, split_digits=True, num_threads=1,
                                       normalization_rule_name="identity", remove_extra_whitespaces=False,
                                       allow_whitespace_only_pieces=True, minloglevel=2)
        sp = spm.SentencePieceProcessor(model_file=prefix + ".model")
    n = sp.vocab_size()
    vocab = {sp.id_to_piece(i): i for i in range(n)}
    merges = generate_merges(vocab, {sp.id_to_piece(i): sp.get_score(i) for i in range(n)})
    fast = Tokenizer(kinds.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    fast.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    fast.add_special_tokens([AddedToken(t, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    w = writer("tokenizer-llama.gguf", "llama")
    kind = lambda i: UNKNOWN if sp.is_unknown(i) else CONTROL if sp.is_control(i) else BYTE if sp.is_byte(i) else NORMAL
    w.add_tokenizer_model("llama")
    w.add_token_list([sp.id_to_piece(i) for i in range(n)])
    w.add_token_scores([sp.get_score(i) for i in range(n)])
    w.add_token_types([kind(i) for i in range(n)])
    w.add_bos_token_id(sp.bos_id())
    w.add_eos_token_id(sp.eos_id())
    w.add_unk_token_id(sp.unk_id())
    close(w)
    plain = [fast.encode(t, add_special_tokens=False).ids for t in texts()]
    own = [sp.encode(t) for t in texts()]
    apart = [t for t, a, b in zip(texts(), plain, own) if a != b]
    print(f"llama: {len(apart)} of {len(plain)} texts apart from sentencepiece's own ids", [t[:30] for t in apart[:8]])
    return {"name": "llama", "sha256": ids_hash([[sp.bos_id()] + ids for ids in plain]), "plain_sha256": ids_hash(plain)}


def tokenizers():
    nfc = {"type": "NFC"}

    def split(pattern):
        return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    gpt2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    rows = [byte_level("qwen2", [split(QWEN)], nfc, False, False),
            byte_level("deepseek-r1-qwen", [split(QWEN)], nfc, False, True),
            byte_level("llama-bpe", [split(QWEN.replace(r"\p{N}| ?", r"\p{N}{1,3}| ?"))], None, True, True),
            byte_level("smollm", [{"type": "Digits", "individual_digits": True}, gpt2], None, False, False),
            byte_level("gpt-2", [gpt2], None, False, False),
            sentencepiece_bpe()]
    with open(OUT / "tokenizers.jsonl", "w") as f:
        for row in rows:
            f.write(json.dumps({**row, "texts": len(texts())}) + "\n")


def answers(model_path, problems, n_prompts, n_tokens, out):
    """Greedy ids in float32 on the dequantised weights; the end token doesn't end an answer."""
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
            ids, near, feed, cache = [], [], torch.tensor([prompt]), None
            for place in range(int(n_tokens)):
                step = model(feed, past_key_values=cache, use_cache=True)
                cache = step.past_key_values
                best = torch.topk(step.logits[0, -1], 2)
                ids.append(int(best.indices[0]))
                gap = float(best.values[0] - best.values[1])
                if gap < 0.05:
                    near.append([place, round(gap, 5)])
                feed = best.indices[:1].reshape(1, 1)
            f.write(json.dumps({"prompt": prompt, "ids": ids, "close": near}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
