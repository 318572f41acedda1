/* SPDX-License-Identifier: Apache-2.0
 *
 * Names of tokenizers in GGUF files and what they stand for. Where llama.cpp quotes the pattern of a model's own
 * tokenizer.json beside what its regular expressions can do, it is that pattern, else llama.cpp's. Unicode forms are not in
 * these files; a row has NFC where the tokenizer of the models it was named after has it.
 *
 * Data only. An unknown name is refused by the caller: a wrong pattern shows in no error, just in worse answers. */
#include "format/gguf_tokenizer_priv.h"

/* ---- kinds ---- */

static const struct gguf_kind kinds[] = {
    {"llama", GGUF_PIECES, .bos = 1, .eos = 2, .unk = 0, .pad = -1, .sep = -1, .add_bos = true, .space_prefix = true},
    {"t5", GGUF_UNIGRAM, .bos = -1, .eos = 1, .unk = 2, .pad = 0, .sep = -1, .add_eos = true},
    {"gpt2", GGUF_BYTES, .bos = 11, .eos = 11, .unk = -1, .pad = -1, .sep = -1},
    {"gemma4", GGUF_MARKS, .bos = -1, .eos = -1, .unk = -1, .pad = -1, .sep = -1},
    {"bert", GGUF_WORDS, .bos = 101, .eos = -1, .unk = 100, .pad = 0, .sep = 102, .add_bos = true, .add_eos = true},
};

const struct gguf_kind *gguf_kind_of(struct span model) {
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (span_is(model, kinds[i].model)) {
            return &kinds[i];
        }
    }
    return NULL;
}

/* ---- patterns (Oniguruma's syntax) ---- */

#define ENDINGS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define TAIL    "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define OTHERS  "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
#define WORD    "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"

#define GPT2    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
/* Digits one by one, and in threes. */
#define SINGLES ENDINGS "|" WORD "|\\p{N}" OTHERS TAIL
#define THREES  ENDINGS "|" WORD "|\\p{N}{1,3}" OTHERS TAIL

/* Words are cut where capitals begin. */
#define UPPER "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}"
#define LOWER "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}"
#define CAPITALS(ending, digits, stops)                                                                                \
    "[^\\r\\n\\p{L}\\p{N}]?[" UPPER "]*[" LOWER "]+" ending "|[^\\r\\n\\p{L}\\p{N}]?[" UPPER "]+[" LOWER "]*" ending   \
    "|" digits "| ?[^\\s\\p{L}\\p{N}]+" stops TAIL
#define O200K   CAPITALS(ENDINGS "?", "\\p{N}{1,3}", "[\\r\\n/]*")
#define NO_HAN  "&&[^\\p{Han}]"
#define KIMI                                                                                                           \
    "[\\p{Han}]+|[^\\r\\n\\p{L}\\p{N}]?[" UPPER NO_HAN "]*[" LOWER NO_HAN "]+" ENDINGS "?"                             \
    "|[^\\r\\n\\p{L}\\p{N}]?[" UPPER NO_HAN "]+[" LOWER NO_HAN "]*" ENDINGS "?|\\p{N}{1,3}" OTHERS TAIL

/* Letters with a case as one model lists them. */
#define CASED                                                                                                         \
    "A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}\\x{1c4}-\\x{293}"                   \
    "\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}\\x{37f}\\x{386}\\x{388}-\\x{38a}"            \
    "\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}\\x{48a}-\\x{52f}\\x{531}-\\x{556}"                   \
    "\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}"                 \
    "\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}\\x{1f18}-\\x{1f1d}"                 \
    "\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}\\x{1f5b}\\x{1f5d}"                            \
    "\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{1fc4}"                           \
    "\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}\\x{1ff2}-\\x{1ff4}"                 \
    "\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{2124}"                   \
    "\\x{2126}\\x{2128}\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}\\x{2139}\\x{213c}-\\x{213f}"                            \
    "\\x{2145}-\\x{2149}\\x{214e}\\x{2183}\\x{2184}\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}"                            \
    "\\x{2ceb}-\\x{2cee}\\x{2cf2}\\x{2cf3}\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}"                  \
    "\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}"                 \
    "\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}"                                \
    "\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}\\x{118a0}-\\x{118df}"                            \
    "\\x{1e900}-\\x{1e943}"
#define SIGNS      "!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}"
#define EAST_ASIAN "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+"
#define HAN_KANA   "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+"
#define SIGN_WORD  "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
#define MARK_WORD  "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
#define BY_SIGNS   SIGN_WORD MARK_WORD "| ?[\\p{P}\\p{S}]+[\\r\\n]*" TAIL
#define BY_LINES   SIGN_WORD MARK_WORD "| ?[\\p{P}\\p{S}]+|[\\r\\n]|\\s+(?!\\S)|\\s+"
#define ASIAN_SCRIPTS                                                                                                  \
    "[\\x{4e00}-\\x{9fff}\\x{3400}-\\x{4dbf}\\x{f900}-\\x{faff}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}"                 \
    "\\x{ff65}-\\x{ff9f}\\x{2f00}-\\x{2fdf}\\x{e40}-\\x{e7f}\\x{e80}-\\x{eff}\\x{1780}-\\x{17ff}"                      \
    "\\x{1000}-\\x{109f}\\x{aa60}-\\x{aa7f}\\x{a9e0}-\\x{a9ff}\\x{ac00}-\\x{d7af}\\x{1100}-\\x{11ff}]+"
#define SCRIPT_RUNS                                                                                                    \
    "[\\x{ac00}-\\x{d7a3}\\x{3131}-\\x{318e}]+|[\\x{ff01}\\x{2026}\\x{201c}\\x{201d}\\x{2018}\\x{2019}\\x{2014}"       \
    "\\x{ff1a}\\x{ff1b}\\x{ff0c}\\x{3001}-\\x{303f}\\x{fe30}-\\x{fe4f}]+|[\\x{3105}-\\x{312f}]+|" HAN_KANA
/* Everything up to punctuation of several scripts. */
#define TO_STOPS  " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})]+"
/* A number's digits in threes from its end. */
#define FROM_END(digit, end) digit "{1,3}(?=(?:" digit "{3})*" end ")"
#define HALVING                                                                                                        \
    "|\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)|\\s{64}(?!\\S)|\\s{32}(?!\\S)|\\s{16}(?!\\S)|\\s{8}(?!\\S)"      \
    "|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}"

/* ---- names ---- */

static const struct gguf_pre pres[] = {
    {.names = " default ", .cuts = {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {.names = " gpt-2 phi-2 jina-es jina-de jina-v2-es jina-v2-de jina-v1-en jina-v2-code roberta-bpe gigachat a.x-4.0 "
              "mellum modern-bert jais exaone4 trillion granite-docling ",
     .cuts = {GPT2}},
    {.names = " mpt olmo ", .cuts = {GPT2}, .nfc = true},
    {.names = " starcoder refact smollm codeshell exaone minerva-7b mellum2 ", .cuts = {"\\p{N}", GPT2}},
    {.names = " command-r ", .cuts = {"\\p{N}", GPT2}, .nfc = true},
    {.names = " falcon ", .cuts = {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]"}},
    {.names = " llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano ",
     .cuts = {THREES},
     .ignore_merges = true,
     .add_bos = true},
    {.names = " dbrx smaug-bpe chatglm-bpe glm4 ", .cuts = {THREES}},
    {.names = " qwen2 deepseek-r1-qwen ", .cuts = {SINGLES}, .nfc = true},
    {.names = " stablelm2 megrez hunyuan kormo f2llmv2 grok-2 solar-open ", .cuts = {SINGLES}},
    {.names = " qwen35 ",
     .cuts = {ENDINGS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*" TAIL},
     .nfc = true},
    {.names = " ufakzeka ", .cuts = {WORD "|\\p{N}" OTHERS TAIL}},
    {.names = " laguna ", .cuts = {"[^\\n]+|[\\n]+", SINGLES}},
    {.names = " minicpm5 ", .cuts = {"\\p{N}{1,3}", ENDINGS "|" WORD "|\\p{N}+" OTHERS TAIL}, .ignore_merges = true},
    {.names = " deepseek-llm ",
     .cuts = {"[\\r\\n]", "\\s?[" CASED "]+", "\\s?[" SIGNS "]+", "\\s+$", EAST_ASIAN, "\\p{N}+"}},
    {.names = " deepseek-coder ", .cuts = {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", EAST_ASIAN, "\\p{N}"}},
    {.names = " deepseek-v3 hunyuan-dense joyai-llm hy_v4 ", .cuts = {"\\p{N}{1,3}", HAN_KANA, BY_SIGNS}},
    {.names = " spark2_5 ", .cuts = {"\\p{N}{1,3}", HAN_KANA, BY_LINES, "\\p{N}"}},
    {.names = " youtu ", .cuts = {SCRIPT_RUNS, CAPITALS(ENDINGS "?", "\\p{N}", "[\\r\\n/]*")}, .ignore_merges = true},
    {.names = " poro-chat bloom gpt3-finnish ", .cuts = {TO_STOPS}},
    {.names = " viking ", .cuts = {TO_STOPS, "\\p{N}"}},
    {.names = " tekken ", .cuts = {CAPITALS("", "\\p{N}", "[\\r\\n/]*")}, .ignore_merges = true, .add_bos = true},
    {.names = " gpt-4o llama4 kanana2 talkie minimax-m2 ", .cuts = {O200K}},
    {.names = " granite-embed-multi-97m ", .cuts = {O200K}, .ignore_merges = true},
    {.names = " tiny_aya cohere2moe ", .cuts = {FROM_END("\\d", "\\b"), O200K}},
    {.names = " kimi-k2 ", .cuts = {KIMI}},
    {.names = " superbpe ", .cuts = {"\\p{N}+", FROM_END("\\d", "(?!\\d)")}},
    {.names = " afmoe ", .cuts = {FROM_END("\\p{N}", "(?!\\p{N})"), ASIAN_SCRIPTS, BY_SIGNS}},
    {.names = " bailingmoe bailingmoe2 llada-moe ",
     .cuts = {"'(?i:[sdmt]|ll|ve|re)|" WORD "|\\p{N}" OTHERS "|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"}},
    {.names = " seed-coder ", .cuts = {ENDINGS "|" WORD "|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+" TAIL}},
    {.names = " exaone-moe ",
     .cuts = {ENDINGS "|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?"
              "|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"}},
    {.names = " jais-2 ", .cuts = {ENDINGS "|" WORD "|\\p{N}{1,3}" OTHERS "|\\s*[\\r\\n]+" HALVING}},
    {.names = " chameleon ",
     .cuts = {"<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )", "\\p{N}",
              "[\\p{P}!-/:-@\\[-`{-~]", GPT2},
     .add_bos = true},
    {.names = " gemma4 granite-embed-multi-311m ", .cuts = {NULL}, .marks = true, .add_bos = true},
    {.names = " sarvam-moe ", .cuts = {NULL}, .marks = true},
};

const struct gguf_pre *gguf_pre_of(struct span name) {
    bool one = name.len > 0 && memchr(name.ptr, ' ', name.len) == NULL;
    for (size_t i = 0; one && i < ARRAY_LEN(pres); i++) {
        struct span names = span_of_text(pres[i].names);
        for (size_t at = 0; at + name.len + 2 <= names.len; at++) {
            if (names.ptr[at] == ' ' && names.ptr[at + 1 + name.len] == ' ' &&
                span_equal(span_sub(names, at + 1, name.len), name)) {
                return &pres[i];
            }
        }
    }
    return NULL;
}

/* ---- the rest ---- */

/* The loader knows these for what they do, whatever model they were first made for. */
const char *gguf_class_name(bool tight) {
    return tight ? "GemmaTokenizer" : "PreTrainedTokenizerFast";
}

static bool holds(struct span text, const char *word) {
    size_t len = strlen(word);
    for (size_t at = 0; at + len <= text.len; at++) {
        size_t i = 0;
        while (i < len && (text.ptr[at + i] | (text.ptr[at + i] >= 'A' && text.ptr[at + i] <= 'Z' ? 0x20 : 0)) == word[i]) {
            i++;
        }
        if (i == len) {
            return true;
        }
    }
    return false;
}

bool gguf_eats_blanks(struct span model_name, struct span token) {
    return (holds(model_name, "phi-3") || holds(model_name, "phi3")) && !span_is(token, "<unk>") &&
           !span_is(token, "<s>") && !span_is(token, "<|endoftext|>");
}

const char *gguf_end_text(unsigned index) {
    static const char *const texts[] = {
        "<|eot_id|>", "<|eom_id|>",    "<|eot|>",         "<|EOT|>",             "<EOT>",       "_<EOT>",
        "[EOT]",      "[EOS]",         "<eos>",           "</s>",                "[e~[",        "<|end_of_text|>",
        "<|im_end|>", "<|endoftext|>", "<end_of_turn>",   "<end_of_utterance>",  "<turn|>",     "<|tool_response>",
        "<|end|>",    "<|return|>",    "<|call|>",        "<|calls|>",           "<|flush|>",
        "<\357\275\234end\342\226\201of\342\226\201sentence\357\275\234>",
    };
    return index < ARRAY_LEN(texts) ? texts[index] : NULL;
}
