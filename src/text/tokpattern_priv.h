/* SPDX-License-Identifier: Apache-2.0
 *
 * The patterns that byte-level vocabularies without a tokenizer.json split text with, by the name of the vocabulary that
 * brought them. They come from the sources of those tokenizers: tiktoken (MIT) and the classes named in toktiktoken.c.
 */
#ifndef TEXT_TOKPATTERN_PRIV_H
#define TEXT_TOKPATTERN_PRIV_H

#define TOK_PATTERN_CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define TOK_PATTERN_TAIL        "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* Words with one other character in front, digits one by one. */
#define TOK_PATTERN_QWEN2                                                                                              \
    TOK_PATTERN_CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" TOK_PATTERN_TAIL

/* The same with digits in threes; cl100k_base is this one. */
#define TOK_PATTERN_LLAMA3                                                                                             \
    TOK_PATTERN_CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" TOK_PATTERN_TAIL

/* Words are cut where capitals begin, and carry their contraction. */
#define TOK_PATTERN_UPPER "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}"
#define TOK_PATTERN_LOWER "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}"
#define TOK_PATTERN_O200K                                                                                              \
    "[^\\r\\n\\p{L}\\p{N}]?[" TOK_PATTERN_UPPER "]*[" TOK_PATTERN_LOWER "]+" TOK_PATTERN_CONTRACTION "?"               \
    "|[^\\r\\n\\p{L}\\p{N}]?[" TOK_PATTERN_UPPER "]+[" TOK_PATTERN_LOWER "]*" TOK_PATTERN_CONTRACTION "?"              \
    "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" TOK_PATTERN_TAIL

/* Likewise, and runs of Han characters stand alone. */
#define TOK_PATTERN_KIMI                                                                                               \
    "[\\p{Han}]+"                                                                                                      \
    "|[^\\r\\n\\p{L}\\p{N}]?[" TOK_PATTERN_UPPER "&&[^\\p{Han}]]*[" TOK_PATTERN_LOWER "&&[^\\p{Han}]]+"                \
    TOK_PATTERN_CONTRACTION "?"                                                                                        \
    "|[^\\r\\n\\p{L}\\p{N}]?[" TOK_PATTERN_UPPER "&&[^\\p{Han}]]+[" TOK_PATTERN_LOWER "&&[^\\p{Han}]]*"                \
    TOK_PATTERN_CONTRACTION "?"                                                                                        \
    "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" TOK_PATTERN_TAIL

#endif
