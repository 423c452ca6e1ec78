"""Many texts with their ids, from the Hugging Face `tokenizers` library (0.23.3 when it was last run): too many to keep.

usage: python tests/golden/make_tokenizer_check.py (TOKENIZERS OUT [SHARED] | --unicode)     (from the repository root)

TOKENIZERS holds NAME/tokenizer.json. `make tokenizer-check TOKENIZERS=...` runs this where OUT is missing, and then
build/release/test_tokenizer_check, which compares. SHARED (or $RAAS_SHARED) may hold datasets/NAME/test.jsonl and
answers/*.jsonl.xz; without it their texts are left out. Writes
  OUT/texts.jsonl   {"kind", "text"}
  OUT/NAME.jsonl    {"ids", "decoded"} for every text; decoded: start of the SHA-256 of what the ids decode to, specials included
  OUT/NAME.sweep    "FIRST HASH": ids of SWEEP for 256 code points each
  OUT/TOKENIZERS    "NAME PATH": what was asked
and, with --unicode, the table of engine/tokenizer_unicode.c: code points that the library's Unicode classes or composes otherwise
than Unicode 14 (this Python's, and that of PCRE2 10.42).
"""

import glob
import hashlib
import json
import lzma
import os
import random
import struct
import sys
import unicodedata

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers

from make_tokenizer import ROOT, SWEEP, TEXTS, YOUNG, random_texts

N = 24000
SPACES = "\t\n\v\f\r \x1c\x1d\x1e\x1f\x85\u00a0\u1680\u180e\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000\u200b\u2060\ufeff"
MARKS = "\u0300\u0301\u0302\u0303\u0308\u030a\u030b\u0323\u0327\u0328\u0334\u0338\u0345\u0591\u05b0\u064b\u0651\u093c\u094d\u0e31\u0e48\u3099\u309a\u20dd\u20e3\ufe0f\ufe20\u1abf"
BASES = "aeioucnszAEIOUCNSZ\u0131\u0069\u00e9\u212b\u03b1\u0439\u0915\u304b\u30cf\u1100\u1161\u11a8\uac00\uac01"
EMOJI = ["\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f1e9\U0001f1ea", "\U0001f44d\U0001f3fd", "\u2764\ufe0f", "\U0001f3f4\U000e0067\U000e0062\U000e007f",
         "1\ufe0f\u20e3", "\U0001f9d1\u200d\U0001f4bb", "\u200d", "\ufe0f", "\U0001fae8", "\U0001fac3\U0001f3ff"]
DIGITS = ["0", "7", "42", "123", "2024", "1234567", "3.14", "1,000", "\u0661\u0662", "\u096a\u096b", "\uff11\uff12\uff13", "\u00bd", "\u00b2", "\u2167", "\u3007", "\U0001d7d8\U0001d7d9", "\u4e09"]
WORDS = ["the", "The", "it's", "IT'S", "we'LL", "don\u2019t", "I'm", "'s", "'S", "'\u017f", "\u017ft", "'re", "'VE", "'d", "caf\u00e9", "cafe\u0301", "na\u00efve", "stra\u00dfe", "\u0130stanbul", "\u4f60\u597d\u4e16\u754c",
         "\u3053\u3093\u306b\u3061\u306f", "\uc548\ub155", "\u0627\u0644\u0633\u0644\u0627\u0645", "\u05e9\u05dc\u05d5\u05dd", "\u0928\u092e\u0938\u094d\u0924\u0947", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "\u041f\u0440\u0438\u0432\u0435\u0442",
         "\\frac{1}{2}", "\\boxed{42}", "$x^2$", "\\\\", "def f(x):", "    return", "\t\tif", "https://a.b/c?d=e%20f", "{\"a\": [1, 2]}", "camelCase", "snake_case", "HTTPServer", "x86_64", "\ufb01ne"]
CONTROLS = ["\0", "\x01", "\x1b[0m", "\x7f", "\x80", "\x9f", "\u00ad", "\u200e", "\u202e", "\u2066", "\ufffd", "\ufffe", "\uffff", "\U0010ffff", "\ue000", "\U000f0000"]
# assigned after Unicode 14: letters, marks, digits, symbols, ideographs
LATER = [0x0CF3, 0x11240, 0x11F02, 0x11F50, 0x1E4D0, 0x1FA75, 0x1FADA, 0x31350, 0x2EBF0, 0x2FFC, 0x10D4A, 0x10D40, 0x11380, 0x16D63, 0x1E5D0, 0x1CCF0, 0x1FAE9, 0xA7CB, 0x1C89, 0x0897,
         0x88F, 0xA7CE, 0x11DB0, 0x323B0]
SPECIALS = ["<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>", "<tool_call>", "<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>",
            "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>", "[INST]", "[/INST]", "<0x0A>", "<0xFF>", "\u2581", "\u2581the",
            "\u0120", "\u0120the", "<|im_start", "im_end|>", "<", "|>", "<<s>>", "<s", "< s >", "<|fim_prefix|>", "<|reserved_special_token_0|>"]


def spaces(rng):
    return "".join(rng.choice(SPACES) for _ in range(rng.randrange(1, 9)))


def marks(rng):
    return rng.choice(BASES) + "".join(rng.choice(MARKS) for _ in range(rng.randrange(0, 5)))


def newlines(rng):
    return "".join(rng.choice(["\r\n", "\n", "\r", "\n\n", " \r\n", "\t\n"]) for _ in range(rng.randrange(1, 6)))


def anything(rng):
    while True:
        code = rng.randrange(rng.choice([0x80, 0x800, 0x3000, 0x10000, 0x20000, 0x110000]))
        if not 0xD800 <= code < 0xE000:
            return chr(code)


def run_of(rng):
    unit = rng.choice([" ", "\n", "a", "A", "1", "-", "=", "ab", ".", "\u4e2d", "\U0001f600", "\u0301", "\t", "\r\n", "the ", "\u00a0", "\u2581", "0", "\u3000", "\\", "\u0e01", "{}", "\u200d"])
    return unit * rng.choice([2, 3, 4, 5, 8, 16, 17, 30, 64, 100, 257, rng.randrange(300, 1200)])


def one(rng):
    """Atoms of a few kinds, joined by blanks or nothing."""
    kinds = [spaces, marks, newlines, anything, run_of, lambda r: r.choice(EMOJI), lambda r: r.choice(DIGITS), lambda r: r.choice(WORDS), lambda r: r.choice(WORDS), lambda r: r.choice(CONTROLS),
             lambda r: r.choice(SPECIALS), lambda r: r.choice("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\u00a1\u00bf\u2014\u2026\u201c\u201d\u3002\uff0c\u20ac\u00a5\u2200\u2211"), lambda r: chr(r.choice(LATER))]
    weights = [rng.choice([0, 1, 1, 3]) for _ in kinds[:-1]] + [rng.choice([0] * 15 + [2])]
    if not any(weights):
        weights[7] = 1
    glue = rng.choice(["", "", " ", " ", "  "])
    return glue.join(rng.choices(kinds, weights)[0](rng) for _ in range(rng.randrange(1, 30)))


def shared_texts(shared):
    for path in sorted(glob.glob(os.path.join(shared, "datasets", "*", "test.jsonl"))):
        with open(path, encoding="utf-8", newline="\n") as f:
            for line in f:
                row = json.loads(line)
                yield "prompt", row.get("question") or row.get("problem") or row.get("Problem")
    for path in sorted(glob.glob(os.path.join(shared, "answers", "*.jsonl.xz"))):
        with lzma.open(path, "rt", encoding="utf-8", newline="\n") as f:
            for line in f:
                yield "answer", json.loads(line)["output"]


def all_texts(shared):
    yield from shared_texts(shared)
    for text in TEXTS + random_texts(200) + YOUNG:
        yield "golden", text
    rng = random.Random(20250117)
    seen = set()
    while len(seen) < N:
        text = one(rng)
        if text not in seen:
            seen.add(text)
            yield "adversarial", text


# --- Unicode versions --------------------------------------------------------------------------------------------


def is_scalar(code):
    return not 0xD800 <= code < 0xE000


def matches(pattern):
    """The code points that the library's regular expressions find in a class."""
    split = pre_tokenizers.Split(Regex(pattern), "removed")
    every = "".join(map(chr, filter(is_scalar, range(0x110000))))
    left = {c for piece, _ in split.pre_tokenize_str(every) for c in piece}
    return {ord(c) for c in every} - set(map(ord, left))


def composes_otherwise():
    """Code points whose normal form, or whose part in one, depends on the version: in front of, and behind, what may combine."""
    nfc = normalizers.NFC()
    for code in filter(is_scalar, range(0x110000)):
        c = chr(code)
        for text in (c, "a" + c + "\u0323\u0301"):
            if nfc.normalize_str(text) != unicodedata.normalize("NFC", text):
                yield code


def differences():
    assert unicodedata.unidata_version == "14.0.0"
    other = {}
    for name in "LMNPSZ":
        known = {c for c in filter(is_scalar, range(0x110000)) if unicodedata.category(chr(c))[0] == name}
        for code in matches(rf"\p{{{name}}}") ^ known:
            other.setdefault(code, set()).add(name)
    for code in composes_otherwise():
        other.setdefault(code, set()).add("NFC")
    return {code: "+".join(sorted(names)) for code, names in other.items()}


def write_differences(other):
    """Into the table of engine/tokenizer_unicode.c."""
    rows, first, last = [], None, None
    for code in sorted(other) + [None]:
        if last is not None and code == last + 1 and other[code] == other[first]:
            last = code
            continue
        if first is not None:
            rows.append(f"    {{0x{first:04X}, 0x{last:04X}, " + ("0" if other[first] == "NFC" else f"'{other[first]}'") + "},\n")
        first = last = code
    path = os.path.join(ROOT, "engine", "tokenizer_unicode.c")
    with open(path, encoding="utf-8") as f:
        head, rest = f.read().split("unicode_ranges[] = {\n")
    with open(path, "w", encoding="utf-8") as f:
        f.write(head + "unicode_ranges[] = {\n" + "".join(rows) + rest[rest.index("    {0, 0, 0},"):])


# --- ids -----------------------------------------------------------------------------------------------------------


def short_hash(data):
    return hashlib.sha256(data).hexdigest()[:16]


def write_ids(tokenizer, texts, path):
    with open(path, "w", encoding="utf-8") as f:
        for start in range(0, len(texts), 1000):
            for e in tokenizer.encode_batch(texts[start:start + 1000]):
                decoded = tokenizer.decode(e.ids, skip_special_tokens=False)
                f.write(json.dumps({"ids": e.ids, "decoded": short_hash(decoded.encode())}, separators=(",", ":")) + "\n")


def write_sweep(tokenizer, path):
    with open(path, "w", encoding="utf-8") as f:
        for first in range(0, 0x110000, 256):
            codes = [c for c in range(first, first + 256) if is_scalar(c)]
            ids = [e.ids for e in tokenizer.encode_batch([SWEEP.format(chr(c)) for c in codes])]
            f.write(f"{first:X} {short_hash(b''.join(struct.pack(f'<{len(i)}i', *i) for i in ids))}\n")


def main():
    if sys.argv[1:] == ["--unicode"]:
        write_differences(differences())
        return
    folder, out = sys.argv[1:3]
    shared = sys.argv[3] if len(sys.argv) > 3 else os.environ.get("RAAS_SHARED", "../shared")
    os.makedirs(out, exist_ok=True)
    rows = list(all_texts(shared))
    with open(os.path.join(out, "texts.jsonl"), "w", encoding="utf-8") as f:
        for kind, text in rows:
            f.write(json.dumps({"kind": kind, "text": text}, ensure_ascii=False) + "\n")
    paths = {name: os.path.join(os.path.abspath(folder), name, "tokenizer.json") for name in sorted(os.listdir(folder))}
    paths.update({name: os.path.join(ROOT, "models", name, "tokenizer.json") for name in sorted(os.listdir(os.path.join(ROOT, "models")))})
    paths = {name: path for name, path in paths.items() if os.path.exists(path)}
    for name, path in paths.items():
        tokenizer = Tokenizer.from_file(path)
        write_ids(tokenizer, [text for _, text in rows], os.path.join(out, f"{name}.jsonl"))
        write_sweep(tokenizer, os.path.join(out, f"{name}.sweep"))
    with open(os.path.join(out, "TOKENIZERS"), "w", encoding="utf-8") as f:
        f.writelines(f"{name} {path}\n" for name, path in paths.items())


if __name__ == "__main__":
    main()
