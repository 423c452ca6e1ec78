"""Golden data of the tokenizer, from the Hugging Face `tokenizers` library (0.23.3 when it was last run).

usage: python tests/golden/make_tokenizer.py [FOLDER]     (from the repository root)

FOLDER, if given, holds real tokenizers as NAME/tokenizer.json, and the data sets beside it are read from
$RAAS_SHARED/datasets; without it real.jsonl is left as it is. Writes tests/golden/tokenizer/:
  model.json      "model" of a byte-level BPE with 500 tokens, trained below
  pairs.json      the same with its merges as pairs
  whole.json      the same with ignore_merges
  spm.json        "model" of a BPE of characters with bytes behind them, as SentencePiece makes it
  variants.jsonl  {"name", "json"}: tokenizer.json texts in which @MODEL@, @PAIRS@, @WHOLE@ and @SPM@ stand for those
  texts.jsonl     {"text"}: strings that tokenizers stumble over, then random ones
  ids.jsonl       {"name", "ids" of each of the first texts, "sha256" of the ids of all others, "plain_sha256" of
                  all ids without special tokens, "decoded_sha256" of all ids decoded, each with and without specials,
                  "halves_sha256" of every second id decoded}
  characters.json [[from, to, step]]: the characters of Unicode 14 (this Python's), big ranges thinned out
  real.jsonl      {"name", "file", "sha256", "count"}: ids of the lines of a data set, of texts.jsonl, or of
                  SWEEP for every one of those characters
Streams of ids are hashed as little-endian int32, texts as UTF-8.
"""

import hashlib
import json
import os
import random
import re
import struct
import sys
import unicodedata

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tokenizer")
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+")
LLAMA = QWEN.replace(r"\p{N}| ?", r"\p{N}{1,3}| ?")

TEXTS = [
    "", " ", "  ", "\n", "\r\n", "\r\n\r\n \r\n", " \n \n  x", "a", "Hello world", " Hello  world ", "Hello\tworld\t\t x",
    "the 12345 quick 6789 brown foxes", "It's we're I'VE they'LL he'd I'm can't 'S 'T 'x'", "'\u017f don'\u017f \u017ft",
    "\u2019s don\u2019t \u2018quoted\u2019 \u201cdouble\u201d", "x\u00a0y\u00a0\u00a0 z", "\u3000full\u3000\u3000width \uff11\uff12",
    "\u0085next\u0085line", "a\u180eb \u180e c", "\u2028line\u2029para", "\u200bzero\u200b width\ufeff", "e\u0301 a\u0308 o\u0302\u0323 n\u0303",
    "\u212b \u2126 \ufb01 \u1e9b\u0323", "\u0344 \u0958 \u2adc \uac00\u11a8", "caf\u00e9 na\u00efve Z\u00fcrich \u0130stanbul \u0131",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002 \u3053\u3093\u306b\u3061\u306f \uc548\ub155", "\u0627\u0644\u0633\u0644\u0627\u0645 \u05e9\u05dc\u05d5\u05dd \u0928\u092e\u0938\u094d\u0924\u0947",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f1e9\U0001f1ea \u2764\ufe0f\U0001f3fd", "\u0661\u0662\u0663 \u00bd\u00b2 \u2167 \u3007 \U0001d7d8",
    "\0", "a\0b\0\0 c", "\x01\x02\x1b[0m\x7f", "def f(x):\n    return x**2  # \t\n\n\n", "\\frac{1}{2} + \\sqrt{x^{2}} = $3.50", "https://example.org/?q=a%20b&c=d#e",
    "!!!???...---___***", "a_b-c.d,e;f:g", "<|end|>", "text<|end|>more", "<|end|><|end|>", " <|end|> ", "<|end|", "<|END|>", "<|end|>\n",
    "<think>\nhm\n</think> done", "x<pad>y", "x  <pad>  y", "x\n <pad>\t\n y", "<pad> <pad>", "word foo foobar barfoo foo, foo_ (foo) \u00e9foo foo\u0301",
    "<caf\u00e9> <cafe\u0301> x<caf\u00e9>y", "<a><ab><abc><ab", "<ab><abcd>", "f\u0171 fu\u030b u\u030b\u0301 \u0171",
    "a" * 300, " " * 300, "\n" * 40 + "x", "ab" * 200, "the " * 80, "1234567890" * 10, "\u4e2d" * 50, "\u0301" * 20, "\U0001f600" * 30, "-" * 100 + "\r\n",
    "  leading", "trailing  ", " \u00a0 mixed \u00a0", "tab\t\ttab", "\u1680\u2000\u200a\u202f\u205f",
]

# letters, marks, digits, signs and emoji that came after Unicode 14, and marks that the library's normal form is too old for
YOUNG = ["\U0001e4d0\U0001e4d1 a\U0001e4ec\u0323", "x\U00011f50\U00011f51 1\U0001ccf0", "\U0001fae8\U0001fae9!", "\u1c89\u1c8a'\ua7cb", "e\u1abf\u0301 e\u0301\u1abf",
         "a\u07fd\u0323 \u0345\u08d3\u0301", "\u2ffc\u31ef \U0002ebf0\U00031350", "\U00011383\U000113c9 \U0001611e\U0001611f", "\u0cf3\u1b4e,\U00011f43"]

WORDS = ("the of and to in is that for it as was with be by on not he his but at are this have from or had an they which one you were "
         "all her she there would their we him been has when who will no more if out so up said what its about than into them can only "
         "other time new some could these two may first then do any like my now over such our man me even most made after also did many "
         "step recall compute answer shells more fewer twice half money total left each number equals seven eight nine").split()


def random_texts(n):
    rng = random.Random(20240229)
    atoms = (WORDS + [" ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "'s", "'LL", "\u2019", "1", "42", "1000", "e\u0301", "\u00e9", "\u212b", "\u4f60\u597d",
             "\U0001f600", "\u200d", "\0", "<|end|>", "<pad>", "<think>", "foo", "<ab>", "<abc>", ".", ",", "?!", "(", "$", "\\", "_", "-", "A", "Q", "\u0661", "\u0928\u092e"])
    return ["".join(rng.choice(atoms) + (" " if rng.random() < 0.4 else "") for _ in range(rng.randrange(1, 25))) for _ in range(n)]


def corpus():
    rng = random.Random(7)
    for _ in range(3000):
        line = " ".join(rng.choice(WORDS) for _ in range(rng.randrange(4, 20)))
        yield line.capitalize() + rng.choice([".", "?", "!\n", " (a).", f" {rng.randrange(1000)}.", "\n\n"])
    yield from (t for t in TEXTS for _ in range(20))


def train():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=500, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return json.loads(tokenizer.to_str())["model"]


def train_characters():
    """Seldom characters have no token of their own: they become bytes."""
    letters = list("\u2581abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,?!'()-\u00e9\u4e2d\n")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=700, show_progress=False, initial_alphabet=letters, limit_alphabet=len(letters),
                                  special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)])
    tokenizer.train_from_iterator((t for t in corpus() if not re.search("\0|<|foo", t)), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return {**model, "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True}


def added(content, ident, **flags):
    base = {"id": ident, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {**base, **flags}


def variants():
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    gpt2 = {**byte_level, "use_regex": True}
    decoder = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}

    def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
        return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}

    def sequence(*steps):
        return {"type": "Sequence", "pretokenizers": list(steps)}

    def template(before, behind):
        def part(t):
            return {"SpecialToken": {"id": t, "type_id": 0}}
        names = {t: {"id": t, "ids": [i], "tokens": [t]} for t, i in [("<|end|>", 500), ("<s>", 501)]}
        return {"type": "TemplateProcessing", "single": [part(t) for t in before] + [{"Sequence": {"id": "A", "type_id": 0}}]
                + [part(t) for t in behind], "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": names}

    tokens = [added("<|end|>", 500), added("<s>", 501), added("<think>", 502, special=False), added("</think>", 503, special=False)]
    flags = tokens + [added("<pad>", 504, lstrip=True, rstrip=True), added("foo", 505, single_word=True, special=False),
                      added("<caf\u00e9>", 506, normalized=True, special=False), added("<a>", 507), added("<ab>", 508, lstrip=True),
                      added("<abc>", 509, rstrip=True), added("<ab", 510, normalized=True), added("u\u030b", 511, normalized=True, special=False)]

    def make(name, pre, model="@MODEL@", normalizer=None, post=None, toks=tokens, decoder=decoder):
        body = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": toks, "normalizer": normalizer, "pre_tokenizer": pre,
                "post_processor": post, "decoder": decoder, "model": "@M@"}
        return name, json.dumps(body, ensure_ascii=False).replace('"@M@"', model)

    nfc = {"type": "NFC"}
    byte_post = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    yield make("gpt2", gpt2)
    yield make("gpt2_prefix", {**gpt2, "add_prefix_space": True}, post=byte_post)
    yield make("qwen", sequence(split(QWEN), byte_level), "@PAIRS@", nfc)
    yield make("llama3", sequence(split(LLAMA), byte_level), post={"type": "Sequence", "processors": [byte_post, template(["<s>"], ["<|end|>"])]})
    yield make("flags", sequence(split(QWEN), byte_level), normalizer={"type": "Sequence", "normalizers": [nfc]}, toks=flags)
    yield make("flags_plain", gpt2, toks=flags, post=template(["<s>", "<|end|>"], []))
    yield make("digits", sequence({"type": "Digits", "individual_digits": True}, gpt2))
    yield make("digits_runs", sequence({"type": "Digits", "individual_digits": False}, {**byte_level, "add_prefix_space": True}))
    yield make("one_piece", byte_level)
    yield make("whole_first", sequence(split(r"\s?\S+|\s"), byte_level), "@WHOLE@")
    for behavior in ["Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext"]:
        yield make(behavior.lower(), sequence(split(r"[\s,.'-]", behavior), byte_level))
        yield make(behavior.lower() + "_invert", sequence(split(r"\p{L}+|\s*", behavior, True), byte_level))
    yield from character_variants(make, template, split)
    yield make("string", sequence(split("the", "MergedWithNext", kind="String"), split(" ", kind="String"), split(r"(?=\p{Lu})|\d+$", "Isolated"), byte_level))


def character_variants(make, template, split):
    def replaced(text, content, **more):
        return {"type": "Replace", "pattern": {"String": text}, "content": content, **more}

    def metaspace(scheme, **more):
        return {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, **more}

    llama = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, replaced(" ", "\u2581")]}
    steps = {"type": "Sequence", "decoders": [replaced("\u2581", " "), {"type": "ByteFallback"}, {"type": "Fuse"},
             {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
    specials = [added("<unk>", 0), added("<s>", 1), added("</s>", 2)]
    flags = specials + [added("<|end|>", 700, normalized=True), added("foo", 701, single_word=True, special=False),
                        added("<pad>", 702, lstrip=True, rstrip=True), added("<caf\u00e9>", 703, normalized=True, special=False)]
    post = template(["<s>"], [])
    post["special_tokens"]["<s>"]["ids"] = [1]

    def spm(name, normalizer=llama, pre=None, decoder=steps, toks=specials, model="@SPM@"):
        return make("spm" + name, pre, model, normalizer, post, toks, decoder)

    yield spm("")
    yield spm("_flags", toks=flags)
    yield spm("_nfc", {"type": "Sequence", "normalizers": [{"type": "NFC"}, *llama["normalizers"], replaced("the\u2581", "")]})
    yield spm("_first", None, metaspace("first", split=False))
    yield spm("_first_flags", None, metaspace("first", split=False), toks=flags)
    yield spm("_always", None, metaspace("always"), metaspace("always"))
    yield spm("_always_flags", None, metaspace("always", split=True), metaspace("always"), toks=flags)
    yield spm("_never", None, metaspace("never"), metaspace("never"))
    yield spm("_old", None, {"type": "Metaspace", "replacement": "_", "add_prefix_space": True},
              {"type": "Metaspace", "replacement": "_", "add_prefix_space": True})
    yield spm("_lines", None, {"type": "Sequence", "pretokenizers": [split("\n"), metaspace("first"), split(r"\d")]})
    letters = ["<unk>", "<s>", "</s>", "<0xC3>", "<0xA9>", "<0x0A>", "\u2581", *"thexab1", "th", "the", "\u2581the", "\u4f60"]
    for fuse in (False, True):
        small = {"type": "BPE", "vocab": {t: i for i, t in enumerate(letters)}, "merges": ["t h", "th e", "\u2581 the"], "unk_token": "<unk>",
                 "fuse_unk": fuse}
        yield spm(f"_unknown_{fuse}".lower(), model=json.dumps(small, ensure_ascii=False))
        yield spm(f"_few_bytes_{fuse}".lower(), model=json.dumps({**small, "byte_fallback": True}, ensure_ascii=False))
    yield spm("_plain", None, None, {"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "Strip", "content": "a", "start": 2, "stop": 0}]})


SWEEP = "x{0}y {0}1{0} {0}{0}'{0}"


def characters():
    """Younger characters are left out: the classes of a regular expression depend on the library's Unicode version."""
    assert unicodedata.unidata_version == "14.0.0"
    ranges = []
    for code in range(0x110000):
        if unicodedata.category(chr(code)) in ("Cn", "Cs", "Co"):
            continue
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return [[first, last, 16 if last - first > 1000 else 1] for first, last in ranges]


def ids_hash(lists):
    return hashlib.sha256(b"".join(struct.pack(f"<{len(ids)}i", *ids) for ids in lists)).hexdigest()


def text_hash(texts):
    return hashlib.sha256("".join(texts).encode()).hexdigest()


def expect(tokenizer, texts):
    every = [tokenizer.encode(t).ids for t in texts]
    plain = [tokenizer.encode(t, add_special_tokens=False).ids for t in texts]
    decoded = [tokenizer.decode(ids, skip_special_tokens=skip) for ids in every for skip in (False, True)]
    # ids cut anywhere give incomplete characters
    halves = [tokenizer.decode(ids[1::2], skip_special_tokens=False) for ids in every]
    return {"ids": every[:len(TEXTS)], "sha256": ids_hash(every[len(TEXTS):]), "plain_sha256": ids_hash(plain),
            "decoded_sha256": text_hash(decoded), "halves_sha256": text_hash(halves)}


def write_lines(name, rows):
    with open(os.path.join(HERE, name), "w", encoding="utf-8") as f:
        for row in rows:
            f.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


def real(folder, texts):
    shared = os.environ.get("RAAS_SHARED", "../shared")
    for name in ("qwen3", "llama3_1", "deepseek_v3", "llama2"):
        tokenizer = Tokenizer.from_file(os.path.join(folder, name, "tokenizer.json"))
        for data in ("gsm8k", "math500", "aime24"):
            path = f"datasets/{data}/test.jsonl"
            with open(os.path.join(shared, path), encoding="utf-8", newline="\n") as f:
                ids = [tokenizer.encode(line.rstrip("\n")).ids for line in f]
            yield {"name": name, "file": path, "sha256": ids_hash(ids), "count": sum(map(len, ids))}
        ids = [tokenizer.encode(SWEEP.format(chr(c))).ids for first, last, step in characters() for c in range(first, last + 1, step)]
        yield {"name": name, "file": "characters", "sha256": ids_hash(ids), "count": sum(map(len, ids))}
        ids = [tokenizer.encode(t).ids for t in texts]
        yield {"name": name, "file": "texts", "sha256": ids_hash(ids), "count": sum(map(len, ids))}


def main():
    os.makedirs(HERE, exist_ok=True)
    model = train()
    model["merges"] = [" ".join(m) if isinstance(m, list) else m for m in model["merges"]]
    characters_model = train_characters()
    characters_model["merges"] = [" ".join(m) if isinstance(m, list) else m for m in characters_model["merges"]]
    forms = {"@MODEL@": model, "@PAIRS@": {**model, "merges": [m.split(" ") for m in model["merges"]]}, "@WHOLE@": {**model, "ignore_merges": True},
             "@SPM@": characters_model}
    forms = {key: json.dumps(value, ensure_ascii=False, separators=(",", ":")) for key, value in forms.items()}
    for key, name in (("@MODEL@", "model.json"), ("@PAIRS@", "pairs.json"), ("@WHOLE@", "whole.json"), ("@SPM@", "spm.json")):
        with open(os.path.join(HERE, name), "w", encoding="utf-8") as f:
            f.write(forms[key] + "\n")
    texts = TEXTS + random_texts(200) + YOUNG
    write_lines("texts.jsonl", ({"text": t} for t in texts))
    rows, expected = [], []
    for name, text in variants():
        rows.append({"name": name, "json": text})
        for key, value in forms.items():
            text = text.replace(key, value)
        expected.append({"name": name, **expect(Tokenizer.from_str(text), texts)})
    for folder in sorted(os.listdir(os.path.join(ROOT, "models"))):
        path = os.path.join(ROOT, "models", folder, "tokenizer.json")
        if os.path.exists(path):
            expected.append({"name": f"models/{folder}", **expect(Tokenizer.from_file(path), texts)})
    write_lines("variants.jsonl", rows)
    write_lines("ids.jsonl", expected)
    with open(os.path.join(HERE, "characters.json"), "w", encoding="utf-8") as f:
        f.write(json.dumps(characters(), separators=(",", ":")).replace("],[", "],\n[") + "\n")
    if len(sys.argv) > 1:
        write_lines("real.jsonl", real(sys.argv[1], texts))


if __name__ == "__main__":
    main()
