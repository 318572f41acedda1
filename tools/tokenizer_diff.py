#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares lamina's tokenizer with its references on random multilingual strings.

    tools/tokenizer_diff.py --tokbatch PATH DIRECTORY [DIRECTORY ...] [-n 100000] [--seed 1] [--slow]

What DIRECTORY holds decides the reference: tokenizer.json, or vocab.json with merges.txt: the package `tokenizers`; a
SentencePiece model (tokenizer.model, spiece.model, ice_text.model): the package `sentencepiece`; a rank file (the same names,
tiktoken.model, *.tiktoken): the package `tiktoken`. With --slow a SentencePiece model is compared with the tokenizer class that
the tokenizer_config.json beside it names, from `transformers` 4.x (5.x has no such classes); a class that is not part of it runs
from the Python file in DIRECTORY, so use --slow on directories you trust.

tokbatch is tests/tools/tokbatch.c. Compared per string: ids with special tokens added, ids with special tokens parsed, ids with
special tokens as plain text, decoded text with and without special tokens; tokbatch itself compares streamed with whole decoding.
Exits 1 at any difference.

Strings hold only characters that Python's unicodedata knows as assigned (Python 3.11: Unicode 14), because the two sides
carry different Unicode versions; --any drops that limit. sentencepiece 0.2.3 adds the scores of a Unigram path in another
order than all releases before, so equal paths can come out differently; compare with 0.2.1. The releases 0.23.x of tokenizers
decode added tokens that are matched after normalisation by their normalised text (so "<s>" of Llama-2 is not skipped);
compare with 0.22.2.
"""
import argparse
import base64
import glob
import json
import os
import random
import re
import struct
import subprocess
import sys
import threading
import unicodedata

QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
         r"|\s+(?!\S)|\s+")
LLAMA3 = QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)
UPPER, LOWER, TAIL = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K = "|".join([rf"[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]*[{LOWER}]+{TAIL}", rf"[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]+[{LOWER}]*{TAIL}",
                  r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
NOT_HAN = r"&&[^\p{Han}]"
KIMI = "|".join([r"[\p{Han}]+", rf"[^\r\n\p{{L}}\p{{N}}]?[{UPPER}{NOT_HAN}]*[{LOWER}{NOT_HAN}]+{TAIL}",
                 rf"[^\r\n\p{{L}}\p{{N}}]?[{UPPER}{NOT_HAN}]+[{LOWER}{NOT_HAN}]*{TAIL}", r"\p{N}{1,3}",
                 r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
# Rank files by number of ranks: pattern, whether text is brought to NFC first, and the special tokens of a file alone.
RANK_FILES = {
    151643: (QWEN2, True, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] + [f"<|extra_{i}|>" for i in range(205)]),
    151329: (LLAMA3, False, ["<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>",
                             "<|assistant|>", "<|observation|>", "<|begin_of_image|>", "<|end_of_image|>",
                             "<|begin_of_video|>", "<|end_of_video|>"]),
    163584: (KIMI, False, ["[BOS]", "[EOS]", "<|im_end|>", "<|im_user|>", "<|im_assistant|>"]),
    128000: (LLAMA3, False, ["<|begin_of_text|>", "<|end_of_text|>"]),
    200000: (O200K, False, ["<|begin_of_text|>", "<|end_of_text|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>",
                            "<|header_start|>", "<|header_end|>", "<|eom|>", "<|eot|>", "<|step|>"]),
    199998: (O200K, False, [None, "<|endoftext|>"] + [None] * 18 + ["<|endofprompt|>"]),
    100256: (LLAMA3, False, [None, "<|endoftext|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"]),
}
VOCABULARIES = ["tokenizer.model", "spiece.model", "ice_text.model", "tiktoken.model", "*.tiktoken"]

# Characters that got a combining class or a decomposition after Unicode 9: lamina's NFC follows the tables of `tokenizers`, which
# are that old, while Python's follow its release.
LATE = re.compile("["
                  "\u07fd\u0898-\u089f\u08ca-\u08d3\u09fe\u0c3c\u0d3b-\u0d3c\u0eba\u1715\u1abf-\u1ace\u1df6-\u1dfa\u32ff"
                  "\ua7f2-\ua7f4\ua82c\uab69\U00010781-\U00010785\U00010787-\U000107b0\U000107b2-\U000107ba"
                  "\U00010d24-\U00010d27\U00010eab-\U00010eac\U00010efd-\U00010eff\U00010f46-\U00010f50\U00010f82-\U00010f85"
                  "\U00011070\U0001133b\U0001145e\U00011839-\U0001183a\U00011938\U0001193d-\U0001193e\U00011943\U000119e0"
                  "\U00011a34\U00011a47\U00011a99\U00011d42\U00011d44-\U00011d45\U00011d97\U00011f41-\U00011f42"
                  "\U00016ff0-\U00016ff1\U0001e030-\U0001e06d\U0001e08f\U0001e130-\U0001e136\U0001e2ae\U0001e2ec-\U0001e2ef"
                  "\U0001e4ec-\U0001e4ef\U0001f16c\U0001fbf0-\U0001fbf9"
                  "]")

RANGES = [
    (0x20, 0x7F, 30), (0xA0, 0x250, 6), (0x250, 0x370, 2), (0x370, 0x400, 3), (0x400, 0x530, 5), (0x530, 0x590, 1),
    (0x590, 0x600, 2), (0x600, 0x700, 4), (0x700, 0x900, 1), (0x900, 0x980, 4), (0x980, 0xE00, 3), (0xE00, 0x1000, 3),
    (0x1000, 0x1100, 1), (0x1100, 0x1200, 2), (0x1200, 0x1E00, 2), (0x1E00, 0x2000, 2), (0x2000, 0x2070, 4),
    (0x2070, 0x2C00, 4), (0x2C00, 0x3000, 1), (0x3000, 0x3040, 3), (0x3040, 0x3100, 5), (0x3100, 0x3400, 2),
    (0x3400, 0x4E00, 1), (0x4E00, 0xA000, 10), (0xA000, 0xAC00, 1), (0xAC00, 0xD7B0, 5), (0xE000, 0xE100, 1),
    (0xF900, 0xFB00, 2), (0xFB00, 0xFE00, 2), (0xFE00, 0xFFFE, 3), (0x10000, 0x11000, 1), (0x1D400, 0x1D800, 2),
    (0x1F000, 0x1FB00, 5), (0x20000, 0x2A6E0, 2), (0x2F800, 0x2FA20, 1), (0xE0000, 0xE01F0, 1), (0x300, 0x370, 3),
]
WORDS = """the of and to in is that for it with as was on be at by this have from or one had not but what all were when we
there can an your which their said if do will each about how up out them then she many some so these would other into has
more her two like him see time could no make than first been its who now people my made over did down only way find use may
I'm you'RE it's WE'LL don't they'd ſ'ſ 'S 'T l'été naïve Straße ΣΊΣΥΦΟΣ İstanbul ıi ﬁnal Ⅻ ½ ² ① 3.14 1,000,000 0x7fff 2024-01-01
int main(void) { return 0; } for(i=0;i<n;i++) def f(x): \treturn x**2 #include <stdio.h> https://example.com/?a=b&c=d <br/>
привет мир как дела 你好世界 今天天气很好 こんにちは 世界 カタカナ 안녕하세요 세계 مرحبا بالعالم שלום עולם नमस्ते दुनिया สวัสดีชาวโลก ქართული
Ελληνικά Հայերեն বাংলা தமிழ் ລາວ မြန်မာ ខ្មែរ አማርኛ ᏣᎳᎩ 𐍈𐌰𐌽 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 🙂 👩\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈 🇩🇪🇫🇷 👍🏽 ☕ ❤️ é
e\u0301 ñ n\u0303 Å A\u030a 각 각 ﷽ \u200f\u200e \u200b \ufeff \u00ad
""".split()
SPACES = [" ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", " \n", "\n ", "\u00a0", "\u3000", "\u2009", "\u2028",
          "\u0085", "\x0b", "        ",
          "\t\t", " \t ", "▁", " ▁"]
CONTROLS = [chr(c) for c in (0, 1, 7, 8, 0x1B, 0x1F, 0x7F, 0x80, 0x9F, 0xAD, 0xFFFD, 0x200D, 0x200C, 0x202E, 0x2066)]


def make_strings(count, seed, specials, any_unicode):
    rng = random.Random(seed)
    weights = [w for _, _, w in RANGES]

    def character():
        while True:
            low, high, _ = rng.choices(RANGES, weights)[0]
            c = rng.randrange(low, high)
            if 0xD800 <= c < 0xE000:
                continue
            if any_unicode or unicodedata.category(chr(c)) != "Cn":
                return chr(c)

    def piece():
        kind = rng.random()
        if kind < 0.38:
            return rng.choice(WORDS)
        if kind < 0.62:
            return rng.choice(SPACES)
        if kind < 0.72:
            low, high, _ = rng.choices(RANGES, weights)[0]
            text = "".join(chr(c) for c in (rng.randrange(low, high) for _ in range(rng.randrange(1, 9)))
                           if not 0xD800 <= c < 0xE000)
            return "".join(c for c in text if any_unicode or unicodedata.category(c) != "Cn")
        if kind < 0.80:
            return character()
        if kind < 0.86:
            return str(rng.randrange(10 ** rng.randrange(1, 12)))
        if kind < 0.89:
            return rng.choice(CONTROLS)
        if kind < 0.92:
            return rng.choice("!?.,;:-_*/\\'\"()[]{}<>|@#$%^&+=~`") * rng.randrange(1, 12)
        if kind < 0.95 and specials:
            return rng.choice(specials)
        if kind < 0.97:
            return rng.choice([unicodedata.normalize(f, rng.choice(WORDS)) for f in ("NFC", "NFD", "NFKC", "NFKD")])
        return "<0x%02X>" % rng.randrange(256) if kind < 0.975 else rng.choice(WORDS).upper()

    out = ["", " ", "  ", "\n", "\0", "▁", "a"]
    while len(out) < count:
        n = min(1 + int(rng.expovariate(0.11)), 80)
        text = "".join(piece() for _ in range(n))
        if rng.random() < 0.01:
            text *= rng.randrange(2, 20)
        out.append(text)
    return out


class Fast:
    """The package `tokenizers`."""

    def __init__(self, tok):
        self.tok = tok
        self.specials = [t.content for t in tok.get_added_tokens_decoder().values()]

    def answer(self, part):
        tok = self.tok
        tok.encode_special_tokens = False
        added = [e.ids for e in tok.encode_batch(part, add_special_tokens=True)]
        parsed = [e.ids for e in tok.encode_batch(part, add_special_tokens=False)]
        tok.encode_special_tokens = True
        plain = [e.ids for e in tok.encode_batch(part, add_special_tokens=False)]
        tok.encode_special_tokens = False
        return added, parsed, plain, tok.decode_batch(added, skip_special_tokens=False), tok.decode_batch(added)


class Pieces:
    """A SentencePiece model alone: special tokens in the text are text, none are added."""

    def __init__(self, path):
        import sentencepiece
        self.model = sentencepiece.SentencePieceProcessor(model_file=path)
        self.specials = [self.model.id_to_piece(i) for i in range(self.model.get_piece_size())
                         if self.model.is_control(i) or self.model.is_unknown(i)][:20]

    def answer(self, part):
        ids = self.model.encode(part)
        texts = self.model.decode(ids)
        return ids, ids, ids, texts, texts


class Ranks:
    """A rank file with the pattern and special tokens of its vocabulary. The prefix of a text is not compared."""

    def __init__(self, ranks, config):
        import tiktoken
        pattern, self.nfc, names = RANK_FILES[len(ranks)]
        listed = {t["content"]: int(i) for i, t in config.get("added_tokens_decoder", {}).items()}
        self.table = listed or {name: len(ranks) + i for i, name in enumerate(names) if name}
        self.hidden = {int(i) for i, t in config.get("added_tokens_decoder", {}).items() if t["special"]}
        self.hidden = self.hidden or set(self.table.values())
        self.specials = list(self.table)[:40]
        self.encoding = tiktoken.Encoding("file", pat_str=pattern, mergeable_ranks=ranks, special_tokens=self.table)

    def answer(self, part):
        if self.nfc:
            part = [unicodedata.normalize("NFC", text) for text in part]
        parsed = [self.encoding.encode(text, allowed_special="all") for text in part]
        plain = [self.encoding.encode_ordinary(text) for text in part]
        whole = [self.encoding.decode(ids) for ids in parsed]
        bare = [self.encoding.decode([i for i in ids if i not in self.hidden]) for ids in parsed]
        return None, parsed, plain, whole, bare


class Slow:
    """A tokenizer class in Python."""

    def __init__(self, directory):
        import transformers
        self.tok = transformers.AutoTokenizer.from_pretrained(directory, use_fast=False, trust_remote_code=True)
        self.tok.clean_up_tokenization = lambda text: text  # some classes insist on it; lamina shows what the model wrote
        self.specials = list(self.tok.added_tokens_encoder)
        # Not shown: some classes do not call their frame special. A config that lists it says itself whether it is.
        self.frame = set(self.tok.build_inputs_with_special_tokens([])) - set(self.listed(directory))

    @staticmethod
    def listed(directory):
        with open(os.path.join(directory, "tokenizer_config.json"), encoding="utf-8") as f:
            return [int(i) for i in json.load(f).get("added_tokens_decoder", {})]

    def answer(self, part):
        tok = self.tok
        added = [tok.encode(text) for text in part]
        parsed = [tok.encode(text, add_special_tokens=False) for text in part]
        plain = [tok.encode(text, add_special_tokens=False, split_special_tokens=True) for text in part]
        whole = [tok.decode(ids, clean_up_tokenization_spaces=False) for ids in added]
        bare = [tok.decode([i for i in ids if i not in self.frame], skip_special_tokens=True,
                           clean_up_tokenization_spaces=False) for ids in added]
        return added, parsed, plain, whole, bare


def read_ranks(path):
    """Token to rank, or None when the file is something else."""
    ranks = {}
    with open(path, "rb") as f:
        for line in f:
            part = line.split()
            if len(part) != 2 or not part[1].isdigit():
                return None
            ranks[base64.b64decode(part[0])] = int(part[1])
    return ranks


def build(directory, config):
    """What vocab.json and merges.txt mean, put together from parts."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    added = {int(i): t for i, t in config.get("added_tokens_decoder", {}).items()}
    llama3 = added.get(128000, {}).get("content") == "<|begin_of_text|>"
    qwen2 = config.get("tokenizer_class", "").startswith("Qwen2")
    model = models.BPE.from_file(os.path.join(directory, "vocab.json"), os.path.join(directory, "merges.txt"),
                                 ignore_merges=llama3)
    tok = Tokenizer(model)
    if qwen2:
        tok.normalizer = normalizers.NFC()
    pattern = LLAMA3 if llama3 else QWEN2 if qwen2 else None
    if pattern:
        tok.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    else:
        tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    if added:
        tok.add_tokens([AddedToken(t["content"], single_word=t["single_word"], lstrip=t["lstrip"], rstrip=t["rstrip"],
                                   normalized=t["normalized"], special=t["special"]) for _, t in sorted(added.items())])
    else:
        tok.add_special_tokens(["<|endoftext|>"])
    if llama3:
        tok.post_processor = processors.TemplateProcessing(
            single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 128000)])
    return tok


def reference(directory, slow):
    path = os.path.join(directory, "tokenizer.json")
    if os.path.exists(path):
        from tokenizers import Tokenizer
        return Fast(Tokenizer.from_file(path))
    config = {}
    path = os.path.join(directory, "tokenizer_config.json")
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            config = json.load(f)
    found = [p for name in VOCABULARIES for p in glob.glob(os.path.join(directory, name))]
    if not found:
        return Fast(build(directory, config))
    if slow:
        return Slow(directory)
    ranks = read_ranks(found[0])
    return Ranks(ranks, config) if ranks else Pieces(found[0])


def ask(tokbatch, directory, strings):
    proc = subprocess.Popen([tokbatch, directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def feed():
        for s in strings:
            data = s.encode("utf-8")
            proc.stdin.write(struct.pack("<I", len(data)) + data)
        proc.stdin.close()

    writer = threading.Thread(target=feed)
    writer.start()
    for _ in strings:
        lines = [proc.stdout.readline() for _ in range(5)]
        if not lines[4]:
            break
        yield ([[int(x) for x in line.split()] for line in lines[:3]]
               + [bytes.fromhex(line.strip().decode()) for line in lines[3:]])
    writer.join()
    if proc.wait() != 0:
        sys.exit("tokbatch failed on " + directory)


def compare(args, directory):
    ref = reference(directory, args.slow)
    strings = make_strings(args.n, args.seed, ref.specials, args.any)
    if getattr(ref, "nfc", False):
        strings = [LATE.sub("", text) for text in strings]
    differences = 0
    answers = ask(args.tokbatch, directory, strings)
    for begin in range(0, len(strings), 2000):
        part = strings[begin:begin + 2000]
        columns = ref.answer(part)
        for i, text in enumerate(part):
            got = next(answers, None)
            if got is None:
                sys.exit(f"{directory}: tokbatch stopped at string {begin + i}: {text!r}")
            want = [c and (c[i].encode() if isinstance(c[i], str) else c[i]) for c in columns]
            for name, w, g in zip(("ids", "ids parsed", "ids plain", "decoded", "decoded bare"), want, got):
                if w is not None and w != g:
                    differences += 1
                    if differences <= 10:
                        print(f"{directory}: {name} of {text!r}\n  expected {w}\n  got      {g}")
    for _ in answers:
        pass
    print(f"{directory}: {len(strings)} strings, seed {args.seed}: {differences} differences", flush=True)
    return differences


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directories", nargs="+")
    parser.add_argument("--tokbatch", required=True)
    parser.add_argument("-n", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--slow", action="store_true", help="SentencePiece models: the class in tokenizer_config.json")
    parser.add_argument("--any", action="store_true", help="unassigned characters too")
    args = parser.parse_args()
    total = sum(compare(args, d) for d in args.directories)
    sys.exit(1 if total else 0)


if __name__ == "__main__":
    main()
