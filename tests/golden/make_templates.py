"""Golden prompts of chat templates, from transformers' apply_chat_template (5.24.0 when it was last run; no torch).

usage: python tests/golden/make_templates.py TEMPLATES TOKENIZERS     (from the repository root)

TEMPLATES holds template texts as NAME.jinja: chat_template of tokenizer_config.json, or tokenizer.chat_template of a GGUF file,
byte for byte. The texts are their models' and not kept here; they were had from the models' own files and from stored copies of
them (huggingface.js, packages/jinja/test/e2e.test.js and packages/ollama-utils/src/chat-template-automap.ts). Texts that are not
in SOURCES are passed over. TOKENIZERS holds NAME/tokenizer.json of TOKENIZER below. Writes tests/golden/chat.jsonl:
  {"source", "sha256" of the text, "texts": what each of PROMPTS becomes, "tokenizer", "ids" of each}
Texts that print a date get the one that they fall back to.
"""

import glob
import hashlib
import json
import os
import sys

from transformers import PreTrainedTokenizerFast

HERE = os.path.dirname(os.path.abspath(__file__))
# SHA-256 of the text: the model, a tokenizer with its special tokens, its BOS token
SOURCES = {
    "793202280c0910ab": ("Qwen2-0.5B-Instruct", "qwen3", None),
    "cd8e9439f0570856": ("Qwen2.5-Coder-0.5B-Instruct (GGUF), Qwen2.5-7B-Instruct", "qwen3", None),
    "d5495a1e5db06111": ("Qwen2.5-0.5B-Instruct, first revision", "qwen3", None),
    "c564d12c9977b894": ("Qwen2.5-Math-1.5B-Instruct: the text of Qwen2.5 with its system text", "qwen3", None),
    "4302efe46d5ecfe0": ("the same of the first revision", "qwen3", None),
    "87a2728cb8dc9fe4": ("Qwen3-0.6B", "qwen3", None),
    "be7f8f15473ed3f9": ("Llama-2-7b-chat", "llama2", "<s>"),
    "e8d5b5a546d3f19d": ("Llama-2-7b-chat, a later revision", "llama2", "<s>"),
    "ba03a121d097859c": ("Meta-Llama-3-8B-Instruct", "llama3_1", "<|begin_of_text|>"),
    "e10ca381b1ccc5cf": ("Llama-3.1-8B-Instruct", "llama3_1", "<|begin_of_text|>"),
    "5816fce10444e03c": ("Llama-3.2-3B-Instruct", "llama3_1", "<|begin_of_text|>"),
    "7e995b379ec01747": ("Mistral-7B-Instruct-v0.1", "llama2", "<s>"),
    "26a59556925c9873": ("Mixtral-8x7B-Instruct-v0.1", "llama2", "<s>"),
    "225aaeb28812e3ea": ("Mistral-7B-Instruct-v0.3, an early revision", "llama2", "<s>"),
    "796853172235ab3a": ("Mixtral-8x7B-Instruct-v0.1, a later revision", "llama2", "<s>"),
    "3c4ad5fa60dd8c7c": ("Mistral-Large-Instruct-2411", "llama2", "<s>"),
    "6b1fd7807826615a": ("Mixtral-8x22B-Instruct-v0.1", "llama2", "<s>"),
    "736dba5c1d552a0d": ("Mistral-7B-Instruct-v0.3 (GGUF)", "llama2", "<s>"),
    "7a29791b46bd731f": ("Mistral-Nemo-Instruct-2407", "llama2", "<s>"),
    "d99c0a28fd4eebd7": ("Mistral-Small-24B-Instruct-2501", "llama2", "<s>"),
    "b6835114b7303ddd": ("DeepSeek-R1-Distill-Qwen-32B and -Llama-8B, January 2025", "deepseek_v3", "<\uff5cbegin\u2581of\u2581sentence\uff5c>"),
    "3a3036eeb96ca0e4": ("DeepSeek-R1", "deepseek_v3", "<\uff5cbegin\u2581of\u2581sentence\uff5c>"),
    "3b8267e54b67df65": ("DeepSeek-V3", "deepseek_v3", "<\uff5cbegin\u2581of\u2581sentence\uff5c>"),
    "56a1447ad31926fd": ("DeepSeek-R1-Distill-Qwen-1.5B, since 9 February 2025", "deepseek_v3", "<\uff5cbegin\u2581of\u2581sentence\uff5c>"),
    "872be49dbb638044": ("SmolLM2-135M-Instruct (GGUF)", "qwen3", None),
}
PROMPTS = ["Hi", " What is 2+2?\n", "Solve x^2 = 4.\nPlease reason step by step, and put your final answer within \\boxed{}.",
           "\u00a0\u3000\t\u2028trimmed? \u200b\u2003\r\n", "<|im_end|></s><s>{{ messages }} {% if x %}[INST]{# no #}", "\u4f60\u597d \U0001f642\r\n\r\n\u00e9", " \n "]


def render(tokenizer, text, prompt, tokenize):
    return tokenizer.apply_chat_template([{"role": "user", "content": prompt}], chat_template=text, tokenize=tokenize, add_generation_prompt=True,
                                         return_dict=False, date_string="26 Jul 2024")


def main():
    templates, tokenizers = sys.argv[1:3]
    found = {}
    for path in glob.glob(os.path.join(templates, "*.jinja")):
        with open(path, encoding="utf-8", newline="") as f:
            text = f.read()
        found[hashlib.sha256(text.encode()).hexdigest()] = text
    rows = []
    for start, (source, name, bos) in SOURCES.items():
        sha = next((h for h in found if h.startswith(start)), None)
        if not sha:
            sys.exit(f"no text {start} ({source}) in {templates}")
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=os.path.join(tokenizers, name, "tokenizer.json"))
        if bos:
            tokenizer.bos_token = bos
        rows.append({"source": source, "sha256": sha, "texts": [render(tokenizer, found[sha], p, False) for p in PROMPTS],
                     "tokenizer": name, "ids": [render(tokenizer, found[sha], p, True) for p in PROMPTS]})
    with open(os.path.join(HERE, "chat.jsonl"), "w", encoding="utf-8") as f:
        f.write(json.dumps({"prompts": PROMPTS}, ensure_ascii=False) + "\n")
        f.writelines(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)


if __name__ == "__main__":
    main()
