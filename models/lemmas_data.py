"""Token rows of the lemmas generator for training and evaluation, made by the project's own C code."""
import ctypes
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ["models/lemmas_tokens.c", "datasets/lemmas.c", "datasets/problem.c", "base/err.c"]
LAWS = ["lru", "birth", "uniform", "periodic"]
PARAM = np.dtype([("steps", "i8"), ("lifetime", "f8"), ("phoenix", "f8"), ("reuse", "i4"), ("seed", "i8")], align=True)


class Lemmas:
    """Fills rows of token ids; safe to call from several threads at once (the work is outside the GIL)."""

    def __init__(self, tokenizer_file):
        self.tokenizer = Tokenizer.from_file(str(tokenizer_file))
        self.folder = tempfile.TemporaryDirectory()
        library = f"{self.folder.name}/lemmas_tokens.so"
        subprocess.run(["cc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-ffp-contract=off", "-fPIC", "-shared", "-I.",
                        *SOURCES, "-o", library], check=True, cwd=ROOT)
        self.library = ctypes.CDLL(library)
        self.library.tokens_open.restype = ctypes.c_void_p
        # id 0 is the end token, which no text holds
        self.texts = [b""] + [self.tokenizer.decode([i]).encode() for i in range(1, self.tokenizer.get_vocab_size())]
        n = len(self.texts)
        sizes = [len(t) if t.isascii() else 0 for t in self.texts]  # bytes of half characters are not in the text
        self.vocabulary = ctypes.c_void_p(self.library.tokens_open(
            (ctypes.c_char_p * n)(*self.texts), (ctypes.c_uint32 * n)(*sizes), n))

    def rows(self, params, index, width):
        """params: PARAM array; index: problem numbers. -> ids uint16 [rows, width], prompt and total lengths."""
        params, index = np.ascontiguousarray(params, PARAM), np.ascontiguousarray(index, np.int64)
        n = len(params)
        ids, prompt, total = np.empty((n, width), np.uint16), np.empty(n, np.int32), np.empty(n, np.int32)
        pointer = lambda a: ctypes.c_void_p(a.ctypes.data)
        bad = self.library.tokens_fill(self.vocabulary, pointer(params), pointer(index), n, width,
                                       pointer(ids), pointer(prompt), pointer(total))
        if bad >= 0:
            raise ValueError(f"problem {index[bad]} of {params[bad]} does not fit {width} tokens of this vocabulary")
        return ids, prompt, total

    def problems(self, n, width, steps=16, lifetime=4.0, phoenix=0.1, reuse="lru", seed=1, first=0):
        params = np.zeros(n, PARAM)
        params["steps"], params["lifetime"], params["phoenix"] = steps, lifetime, phoenix
        params["reuse"], params["seed"] = LAWS.index(reuse), seed
        return self.rows(params, np.arange(first, first + n), width)
