#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints tests/unit/answer_goldens.h from the packages that lamina's figures must agree with:

    python3 -m venv /tmp/v && /tmp/v/bin/pip install rouge_score==0.1.2 sacrebleu==2.6.0
    /tmp/v/bin/python tests/tools/golden_answers.py > tests/unit/answer_goldens.h

The test reads the header alone. `golden_answers.py 20000 build/tests/answerbatch` compares so many random cases instead, by hand.
"""
import random
import sys

import sacrebleu
from rouge_score import rouge_scorer
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

CASES = [
    ("The cat sat on the mat.", ["The cat sat on the mat."]),
    ("the cat is on the mat", ["The cat sat on the mat.", "There is a cat on the mat."]),
    ("The the the the the the the.", ["The cat is on the mat.", "There is a cat on the mat."]),
    ("It cost $1,234.56, i.e. 3-4 % more - or 5.", ["It cost $1,234.56, that is 3-4% more; or 5."]),
    ("Paris", ["The capital of France is Paris.", "Paris"]),
    ("", ["something"]),
    ("something", [""]),
    ("Grüße aus Köln, naïve café!", ["Grüsse aus Köln: naïve Cafés."]),
    ("\u6771\u4eac\u306f\u65e5\u672c\u306e\u9996\u90fd\u3002", ["\u6771\u4eac\u306f\u9996\u90fd\u3067\u3059\u3002"]),
    ("3\u00a0\u212a is \u0130stanbul\u2003cold\u3000now", ["3 K is istanbul cold now"]),
    ("a &amp; b &lt;skipped> &quot;c&quot; <skipped>d", ["a & b \"c\" d"]),
    ("line one-\nline two\nline three-\n", ["line oneline two line three-"]),
    ("x..y ,,z 1.a a.1 1,2,3 ... 5-6-7 --8", ["x . . y , , z 1 . a a.1 1,2,3 5 -6 -7"]),
    ("don't stop_me (now) {or} [ever] a/b\\c^d~e`f|g@h:i;j<k=l>m?n!o#p%q&r*s+t", ["don't stop _ me now"]),
    ("emoji \U0001f600 and e\u0301 combined \u001f split", ["emoji \U0001f600 and \u00e9 combined split"]),
    ("one two three four five six seven", ["seven six five four three two one", "one three five seven nine"]),
]
ALPHABET = ["a", "b", "the", "cat", "C", ".", ",", "-", " ", " ", " ", "1", "23", "\n", "&amp;", "\u00e9", "\u6771", "(", "'", "\u00a0",
            "<skipped>", "\u2003", "\"", "%", "\u212a", "\u0130", "\t", "\U0001f600", "\u001d"]


def rouge(answer, references):
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    return max(scorer.score(r, answer)["rougeL"].fmeasure for r in references)


def bleu(cases):
    """Of all cases together; a case with fewer references than another has None in the place of the others."""
    most = max(len(r) for _, r in cases)
    streams = [[r[i] if i < len(r) else None for _, r in cases] for i in range(most)]
    return sacrebleu.corpus_bleu([a for a, _ in cases], streams, force=True).score


def literal(text):
    return '"' + "".join(chr(b) if 32 <= b < 127 and b not in b'"\\?' else f"\\{b:03o}" for b in text.encode()) + '"'


def header():
    print("/* SPDX-License-Identifier: Apache-2.0\n * Written by tests/tools/golden_answers.py: figures of rouge_score 0.1.2 and "
          f"sacrebleu {sacrebleu.__version__}. */")
    print("#ifndef UNIT_ANSWER_GOLDENS_H\n#define UNIT_ANSWER_GOLDENS_H\n")
    print("struct answer_golden {\n    const char *answer, *reference[2], *tokens;\n    double rouge_l, bleu; /* bleu: of this answer "
          "alone, and of all up to this one */\n    double bleu_so_far;\n};\nstatic const struct answer_golden answer_goldens[] = {")
    tokens = Tokenizer13a()
    for i, (answer, references) in enumerate(CASES):
        texts = ", ".join(literal(r) for r in references)
        print(f"    {{{literal(answer)},\n     {{{texts}}},\n     {literal(tokens(answer.rstrip()))},")
        print(f"     {rouge(answer, references)!r}, {bleu([CASES[i]])!r}, {bleu(CASES[:i + 1])!r}}},")
    print("};\n\n#endif")


def check(count, program):
    """Random cases through the test program, which prints its figures for a line of hexadecimal texts."""
    import subprocess
    draw = random.Random(1)
    cases = [tuple(["".join(draw.choices(ALPHABET, k=draw.randrange(25))),
                    ["".join(draw.choices(ALPHABET, k=draw.randrange(25))) for _ in range(draw.randrange(1, 4))]])
             for _ in range(count)]
    lines = "".join(" ".join([a.encode().hex() or "-"] + [r.encode().hex() or "-" for r in rs]) + "\n" for a, rs in cases)
    got = subprocess.run([program], input=lines, capture_output=True, text=True, check=True).stdout.split("\n")
    for i, (a, rs) in enumerate(cases):
        f1, own, all_so_far = map(float, got[i].split())
        assert abs(f1 - rouge(a, rs)) < 1e-12, (a, rs, f1, rouge(a, rs))
        assert abs(own - bleu([cases[i]])) < 1e-9, (a, rs, own, bleu([cases[i]]))
    assert abs(all_so_far - bleu(cases)) < 1e-9, (all_so_far, bleu(cases))
    print(f"{count} random cases agree, {sum(float(g.split()[1]) > 0 for g in got if g)} of them with BLEU above 0; "
          f"BLEU of all {all_so_far}")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        check(int(sys.argv[1]), sys.argv[2])
    else:
        header()
