/* SPDX-License-Identifier: Apache-2.0
 *
 * Made by tools/make_tokenizer_cases.py with tokenizers 0.22.2; do not edit. Pieces are joined by '|'. */
#ifndef TESTS_TOKENIZER_CASES_H
#define TESTS_TOKENIZER_CASES_H

struct row {
    const char *component; /* JSON */
    const char *input;
    const char *expected;
};

struct whole_row {
    const char *json; /* tokenizer.json; NULL: the one before */
    const char *input;
    const char *ids;   /* special tokens added and parsed */
    const char *plain; /* special tokens neither added nor parsed */
};

static const struct row pretok_rows[] = {
    {"{\"type\":\"Split\",\"pattern\":{\"String\":\"-\"},\"behavior\":\"Removed\",\"invert\":false}",
     "the-final--countdown-",
     "the|final|countdown"},
    {"{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\s+\"},\"behavior\":\"Removed\",\"invert\":false}",
     "  a b\n c",
     "a|b|c"},
    {"{\"type\":\"Split\",\"pattern\":{\"String\":\"-\"},\"behavior\":\"Isolated\",\"invert\":false}",
     "the-final--countdown-",
     "the|-|final|-|-|countdown|-"},
    {"{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\s+\"},\"behavior\":\"Isolated\",\"invert\":false}",
     "  a b\n c",
     "  |a| |b|\n |c"},
    {"{\"type\":\"Split\",\"pattern\":{\"String\":\"-\"},\"behavior\":\"MergedWithPrevious\",\"invert\":false}",
     "the-final--countdown-",
     "the-|final-|-|countdown-"},
    {"{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\s+\"},\"behavior\":\"MergedWithPrevious\",\"invert\":fals"
     "e}",
     "  a b\n c",
     "  |a |b\n |c"},
    {"{\"type\":\"Split\",\"pattern\":{\"String\":\"-\"},\"behavior\":\"MergedWithNext\",\"invert\":false}",
     "the-final--countdown-",
     "the|-final|-|-countdown|-"},
    {"{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\s+\"},\"behavior\":\"MergedWithNext\",\"invert\":false}",
     "  a b\n c",
     "  a| b|\n c"},
    {"{\"type\":\"Split\",\"pattern\":{\"String\":\"-\"},\"behavior\":\"Contiguous\",\"invert\":false}",
     "the-final--countdown-",
     "the|-|final|--|countdown|-"},
    {"{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\s+\"},\"behavior\":\"Contiguous\",\"invert\":false}",
     "  a b\n c",
     "  |a| |b|\n |c"},
    {"{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\w+\"},\"behavior\":\"Removed\",\"invert\":true}",
     "ab, cd!",
     "ab|cd"},
    {"{\"type\":\"Split\",\"pattern\":{\"Regex\":\"x*\"},\"behavior\":\"Isolated\",\"invert\":false}",
     "axxb",
     "a|xx|b"},
    {"{\"type\":\"Split\",\"pattern\":{\"Regex\":\"x*\"},\"behavior\":\"MergedWithNext\",\"invert\":false}",
     "axxb",
     "a|xxb"},
    {"{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\"},\"behavior\":\"Isolated\",\"invert\":false}",
     "abc",
     "a|b|c"},
    {"{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\G\\\\d\"},\"behavior\":\"Isolated\",\"invert\":false}",
     "12a34",
     "1|2|a34"},
    {"{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":true}",
     "Hello  world \xc3\xa9\n I'll 42",
     "\xc4\xa0Hello|\xc4\xa0|\xc4\xa0world|\xc4\xa0\xc3\x83\xc2\xa9|\xc4\x8a|\xc4\xa0I|'ll|\xc4\xa0" "42"},
    {"{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":false}",
     "Hello  world \xc3\xa9\n I'll 42",
     "\xc4\xa0Hello\xc4\xa0\xc4\xa0world\xc4\xa0\xc3\x83\xc2\xa9\xc4\x8a\xc4\xa0I'll\xc4\xa0" "42"},
    {"{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true}",
     "Hello  world \xc3\xa9\n I'll 42",
     "Hello|\xc4\xa0|\xc4\xa0world|\xc4\xa0\xc3\x83\xc2\xa9|\xc4\x8a|\xc4\xa0I|'ll|\xc4\xa0" "42"},
    {"{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":false}",
     "Hello  world \xc3\xa9\n I'll 42",
     "Hello\xc4\xa0\xc4\xa0world\xc4\xa0\xc3\x83\xc2\xa9\xc4\x8a\xc4\xa0I'll\xc4\xa0" "42"},
    {"{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":true}",
     " x",
     "\xc4\xa0x"},
    {"{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\p{N}{1,3}\"},\""
     "behavior\":\"Isolated\",\"invert\":false},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offset"
     "s\":true,\"use_regex\":false}]}",
     "a12345 b",
     "a|123|45|\xc4\xa0" "b"},
    {"{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets"
     "\":true,\"use_regex\":false},{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\""
     "String\":\"\\u0120\"},\"behavior\":\"MergedWithNext\",\"invert\":false}]}]}",
     "a b c",
     "\xc4\xa0" "a|\xc4\xa0" "b|\xc4\xa0" "c"},
    {"{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":\"always\",\"split\":true}",
     "Hey my  friend",
     "\xe2\x96\x81Hey|\xe2\x96\x81my|\xe2\x96\x81|\xe2\x96\x81" "friend"},
    {"{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":\"first\",\"split\":true}",
     "Hey my  friend",
     "\xe2\x96\x81Hey|\xe2\x96\x81my|\xe2\x96\x81|\xe2\x96\x81" "friend"},
    {"{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":\"never\",\"split\":true}",
     "Hey my  friend",
     "Hey|\xe2\x96\x81my|\xe2\x96\x81|\xe2\x96\x81" "friend"},
    {"{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":\"always\",\"split\":false}",
     "Hey my  friend",
     "\xe2\x96\x81Hey\xe2\x96\x81my\xe2\x96\x81\xe2\x96\x81" "friend"},
    {"{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":\"first\",\"split\":false}",
     "Hey my  friend",
     "\xe2\x96\x81Hey\xe2\x96\x81my\xe2\x96\x81\xe2\x96\x81" "friend"},
    {"{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":\"never\",\"split\":false}",
     "Hey my  friend",
     "Hey\xe2\x96\x81my\xe2\x96\x81\xe2\x96\x81" "friend"},
    {"{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":\"always\",\"split\":true}",
     " Hey",
     "\xe2\x96\x81Hey"},
    {"{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":\"always\",\"split\":true}",
     "\xe2\x96\x81Hey",
     "\xe2\x96\x81Hey"},
    {"{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"WhitespaceSplit\"},{\"type\":\"Metaspace\",\"replace"
     "ment\":\"\\u2581\",\"prepend_scheme\":\"first\",\"split\":true}]}",
     "Hey my friend",
     "\xe2\x96\x81Hey|my|friend"},
    {"{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"WhitespaceSplit\"},{\"type\":\"Metaspace\",\"replace"
     "ment\":\"\\u2581\",\"prepend_scheme\":\"always\",\"split\":true}]}",
     "Hey my friend",
     "\xe2\x96\x81Hey|\xe2\x96\x81my|\xe2\x96\x81" "friend"},
    {"{\"type\":\"Metaspace\",\"replacement\":\"_\",\"add_prefix_space\":true}",
     "a b",
     "_a|_b"},
    {"{\"type\":\"Metaspace\",\"replacement\":\"_\",\"add_prefix_space\":false,\"prepend_scheme\":\"never\"}",
     "a b",
     "a|_b"},
    {"{\"type\":\"Digits\",\"individual_digits\":true}",
     "ab12c\xef\xbc\x93\xe2\x85\xab\xc2\xbd 4",
     "ab|1|2|c|\xef\xbc\x93|\xe2\x85\xab|\xc2\xbd| |4"},
    {"{\"type\":\"Digits\",\"individual_digits\":false}",
     "ab12c\xef\xbc\x93\xe2\x85\xab\xc2\xbd 4",
     "ab|12|c|\xef\xbc\x93\xe2\x85\xab\xc2\xbd| |4"},
    {"{\"type\":\"Punctuation\",\"behavior\":\"Removed\"}",
     "Hi!! you?a\xe2\x80\xa6" "b",
     "Hi| you|a|b"},
    {"{\"type\":\"Punctuation\",\"behavior\":\"Isolated\"}",
     "Hi!! you?a\xe2\x80\xa6" "b",
     "Hi|!|!| you|?|a|\xe2\x80\xa6|b"},
    {"{\"type\":\"Punctuation\",\"behavior\":\"MergedWithPrevious\"}",
     "Hi!! you?a\xe2\x80\xa6" "b",
     "Hi!|!| you?|a\xe2\x80\xa6|b"},
    {"{\"type\":\"Punctuation\",\"behavior\":\"MergedWithNext\"}",
     "Hi!! you?a\xe2\x80\xa6" "b",
     "Hi|!|! you|?a|\xe2\x80\xa6" "b"},
    {"{\"type\":\"Punctuation\",\"behavior\":\"Contiguous\"}",
     "Hi!! you?a\xe2\x80\xa6" "b",
     "Hi|!!| you|?|a|\xe2\x80\xa6|b"},
    {"{\"type\":\"Whitespace\"}",
     "a_b, c\xc2\xa0" "d--e 1\xef\xbc\x92",
     "a_b|,|c|d|--|e|1\xef\xbc\x92"},
    {"{\"type\":\"WhitespaceSplit\"}",
     " a,\xe3\x80\x80" "b\xc2\x85" "c ",
     "a,|b|c"},
    {"{\"type\":\"CharDelimiterSplit\",\"delimiter\":\"x\"}",
     "axbxxc",
     "a|b|c"},
    {"{\"type\":\"FixedLength\",\"length\":3}",
     "abcd\xc3\xa9" "fgh",
     "abc|d\xc3\xa9" "f|gh"},
    {"{\"type\":\"BertPreTokenizer\"}",
     "Hey, you don't!  ok",
     "Hey|,|you|don|'|t|!|ok"},
};
static const struct row norm_rows[] = {
    {"{\"type\":\"NFC\"}",
     "e\xcc\x81 \xc3\xa9 \xef\xac\x81 \xc3\x85 \xea\xb0\x81 \xc2\xb2 a\xcc\x95\xcc\xb4\xe0\xa2\x98",
     "\xc3\xa9 \xc3\xa9 \xef\xac\x81 \xc3\x85 \xea\xb0\x81 \xc2\xb2 a\xcc\xb4\xcc\x95\xe0\xa2\x98"},
    {"{\"type\":\"NFD\"}",
     "e\xcc\x81 \xc3\xa9 \xef\xac\x81 \xc3\x85 \xea\xb0\x81 \xc2\xb2 a\xcc\x95\xcc\xb4\xe0\xa2\x98",
     "e\xcc\x81 e\xcc\x81 \xef\xac\x81 A\xcc\x8a \xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8 \xc2\xb2 a\xcc\xb4\xcc\x95"
     "\xe0\xa2\x98"},
    {"{\"type\":\"NFKC\"}",
     "e\xcc\x81 \xc3\xa9 \xef\xac\x81 \xc3\x85 \xea\xb0\x81 \xc2\xb2 a\xcc\x95\xcc\xb4\xe0\xa2\x98",
     "\xc3\xa9 \xc3\xa9 fi \xc3\x85 \xea\xb0\x81 2 a\xcc\xb4\xcc\x95\xe0\xa2\x98"},
    {"{\"type\":\"NFKD\"}",
     "e\xcc\x81 \xc3\xa9 \xef\xac\x81 \xc3\x85 \xea\xb0\x81 \xc2\xb2 a\xcc\x95\xcc\xb4\xe0\xa2\x98",
     "e\xcc\x81 e\xcc\x81 fi A\xcc\x8a \xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8 2 a\xcc\xb4\xcc\x95\xe0\xa2\x98"},
    {"{\"type\":\"Lowercase\"}",
     "\xc3\x80" "B \xc4\xb0 \xce\xa3\xcf\x82 \xe1\xba\x9e",
     "\xc3\xa0" "b i\xcc\x87 \xcf\x83\xcf\x82 \xc3\x9f"},
    {"{\"type\":\"Prepend\",\"prepend\":\"\\u2581\"}",
     "a",
     "\xe2\x96\x81" "a"},
    {"{\"type\":\"Prepend\",\"prepend\":\"\\u2581\"}",
     "",
     ""},
    {"{\"type\":\"Replace\",\"pattern\":{\"String\":\"ab\"},\"content\":\"x\"}",
     "ababa",
     "xxa"},
    {"{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" {2,}\"},\"content\":\" \"}",
     "a   b  c",
     "a b c"},
    {"{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"y*\"},\"content\":\"-\"}",
     "ayb",
     "-a-b-"},
    {"{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":false}",
     " \xe3\x80\x80" "a b ",
     "a b "},
    {"{\"type\":\"Strip\",\"strip_left\":false,\"strip_right\":true}",
     " a b\n ",
     " a b"},
    {"{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":true}",
     "   ",
     ""},
    {"{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFD\"},{\"type\":\"StripAccents\"},{\"type\":\"Lowerca"
     "se\"}]}",
     "\xc3\x89\xc3\x80 \xc3\xb1",
     "ea n"},
    {"{\"type\":\"ByteLevel\"}",
     "\xc3\xa9 \n",
     "\xc3\x83\xc2\xa9\xc4\xa0\xc4\x8a"},
};
static const struct row decoder_rows[] = {
    {"{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"\\u2581\"},\"content"
     "\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":"
     "1,\"stop\":0}]}",
     "\xe2\x96\x81Hello|\xe2\x96\x81w|<0xC3>|<0xA9>|<0xFF>|!",
     "Hello w\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd!"},
    {"{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"\\u2581\"},\"content"
     "\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":"
     "1,\"stop\":0}]}",
     "<0xE2>|<0x82>|<0xAC>|\xe2\x96\x81" "a",
     "\xe2\x82\xac a"},
    {"{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"\\u2581\"},\"content"
     "\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":"
     "1,\"stop\":0}]}",
     "<0x20>|\xe2\x96\x81|x",
     " x"},
    {"{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"\\u2581\"},\"content"
     "\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}]}",
     "\xe2\x96\x81" "a|<0xE2>|<0x82>",
     " a\xef\xbf\xbd\xef\xbf\xbd"},
    {"{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":true}",
     "\xc4\xa0h|\xc3\x83|\xc2\xa9|!|\xc3\x83|a|\xe6\x97\xa5",
     " h\xc3\xa9!\xef\xbf\xbd" "a\xe6\x97\xa5"},
    {"{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":true}",
     "\xc3\xa6\xc4\xb9|\xc2\xa5|\xc3\xa6",
     "\xe6\x97\xa5\xef\xbf\xbd"},
    {"{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":\"always\",\"split\":true}",
     "\xe2\x96\x81Hey|\xe2\x96\x81my|\xe2\x96\x81\xe2\x96\x81x",
     "Hey my  x"},
    {"{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":\"never\",\"split\":true}",
     "\xe2\x96\x81Hey|\xe2\x96\x81my",
     " Hey my"},
    {"{\"type\":\"ByteFallback\"}",
     "a|<0x61>|<0xff>|<0x+1>|<0xG1>",
     "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd<0xG1>"},
    {"{\"type\":\"Fuse\"}",
     "a| b",
     "a b"},
    {"{\"type\":\"Strip\",\"content\":\"_\",\"start\":2,\"stop\":1}",
     "___a_|_b__|c",
     "_ab_c"},
    {"{\"type\":\"BPEDecoder\",\"suffix\":\"</w>\"}",
     "he|llo</w>|you</w>",
     "hello you"},
    {"{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"[ab]+\"},\"content\":\"-\"}",
     "xaby|ba",
     "x-y-"},
    {"{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":tr"
     "ue,\"use_regex\":true},{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]}",
     "\xc4\xa0|\xc4\xa0" "a",
     " a"},
    {"null",
     "a|b c",
     "a b c"},
    {"{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":0"
     ",\"stop\":1}]}",
     "a| ",
     "a"},
};
static const struct whole_row whole_rows[] = {
    {"{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"continuing_subword_"
     "prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":fal"
     "se,\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"d\":3,\"e\":4,\"f\":5,\"g\":6,\"h\":7,\"i\":8,\"j\":9,\"k\":10,\"l"
     "\":11,\"m\":12,\"n\":13,\"o\":14,\"p\":15,\"q\":16,\"r\":17,\"s\":18,\"t\":19,\"u\":20,\"v\":21,\"w\":22,"
     "\"x\":23,\"y\":24,\"z\":25,\" \":26,\"A\":27,\"B\":28,\"C\":29,\"_\":30,\"<unk>\":31,\"ab\":32,\"abc\":33,"
     "\"bc\":34,\"cd\":35,\"de\":36,\"cde\":37,\"abcde\":38},\"merges\":[\"b c\",\"a b\",\"a bc\",\"c d\",\"d e"
     "\",\"c de\",\"ab cde\"]}}",
     "abcde", "33 36", "33 36"},
    {NULL,
     "abcd", "33 3", "33 3"},
    {NULL,
     "bcbc", "34 34", "34 34"},
    {NULL,
     "aabbcc", "0 32 34 2", "0 32 34 2"},
    {NULL,
     "", "", ""},
    {NULL,
     "abc abc", "33 26 33", "33 26 33"},
    {"{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"continuing_subword_"
     "prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":fal"
     "se,\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"d\":3,\"e\":4,\"f\":5,\"g\":6,\"h\":7,\"i\":8,\"j\":9,\"k\":10,\"l"
     "\":11,\"m\":12,\"n\":13,\"o\":14,\"p\":15,\"q\":16,\"r\":17,\"s\":18,\"t\":19,\"u\":20,\"v\":21,\"w\":22,"
     "\"x\":23,\"y\":24,\"z\":25,\" \":26,\"A\":27,\"B\":28,\"C\":29,\"_\":30,\"<unk>\":31,\"ab\":32,\"abc\":33,"
     "\"bc\":34,\"cd\":35,\"de\":36,\"cde\":37,\"abcde\":38},\"merges\":[[\"b\",\"c\"],[\"a\",\"bc\"]]}}",
     "abcab", "33 0 1", "33 0 1"},
    {"{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"continuing_subword_"
     "prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":tru"
     "e,\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"d\":3,\"e\":4,\"f\":5,\"g\":6,\"h\":7,\"i\":8,\"j\":9,\"k\":10,\"l"
     "\":11,\"m\":12,\"n\":13,\"o\":14,\"p\":15,\"q\":16,\"r\":17,\"s\":18,\"t\":19,\"u\":20,\"v\":21,\"w\":22,"
     "\"x\":23,\"y\":24,\"z\":25,\" \":26,\"A\":27,\"B\":28,\"C\":29,\"_\":30,\"<unk>\":31,\"ab\":32,\"abc\":33,"
     "\"bc\":34,\"cd\":35,\"de\":36,\"cde\":37,\"abcde\":38},\"merges\":[\"b c\"]}}",
     "abcde", "38", "38"},
    {NULL,
     "abcdea", "0 34 3 4 0", "0 34 3 4 0"},
    {"{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":\"<unk>\",\"continuing_sub"
     "word_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":true,\"byte_fallback\":false,\"ignore_merges\""
     ":false,\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"d\":3,\"e\":4,\"f\":5,\"g\":6,\"h\":7,\"i\":8,\"j\":9,\"k\":10"
     ",\"l\":11,\"m\":12,\"n\":13,\"o\":14,\"p\":15,\"q\":16,\"r\":17,\"s\":18,\"t\":19,\"u\":20,\"v\":21,\"w\":"
     "22,\"x\":23,\"y\":24,\"z\":25,\" \":26,\"A\":27,\"B\":28,\"C\":29,\"_\":30,\"<unk>\":31,\"ab\":32,\"abc\":"
     "33,\"bc\":34,\"cd\":35,\"de\":36,\"cde\":37,\"abcde\":38},\"merges\":[\"b c\",\"a b\",\"a bc\",\"c d\",\"d"
     " e\",\"c de\",\"ab cde\"]}}",
     "a\xc3\xa9\xc3\x80" "b\xe6\x97\xa5", "0 31 1 31", "0 31 1 31"},
    {"{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":\"<unk>\",\"continuing_sub"
     "word_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges"
     "\":false,\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"d\":3,\"e\":4,\"f\":5,\"g\":6,\"h\":7,\"i\":8,\"j\":9,\"k\":"
     "10,\"l\":11,\"m\":12,\"n\":13,\"o\":14,\"p\":15,\"q\":16,\"r\":17,\"s\":18,\"t\":19,\"u\":20,\"v\":21,\"w"
     "\":22,\"x\":23,\"y\":24,\"z\":25,\" \":26,\"A\":27,\"B\":28,\"C\":29,\"_\":30,\"<unk>\":31,\"ab\":32,\"abc"
     "\":33,\"bc\":34,\"cd\":35,\"de\":36,\"cde\":37,\"abcde\":38},\"merges\":[\"b c\",\"a b\",\"a bc\",\"c d\","
     "\"d e\",\"c de\",\"ab cde\"]}}",
     "a\xc3\xa9\xc3\x80" "b\xe6\x97\xa5", "0 31 31 1 31", "0 31 31 1 31"},
    {"{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"continuing_subword_"
     "prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":fal"
     "se,\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"d\":3,\"e\":4,\"f\":5,\"g\":6,\"h\":7,\"i\":8,\"j\":9,\"k\":10,\"l"
     "\":11,\"m\":12,\"n\":13,\"o\":14,\"p\":15,\"q\":16,\"r\":17,\"s\":18,\"t\":19,\"u\":20,\"v\":21,\"w\":22,"
     "\"x\":23,\"y\":24,\"z\":25,\" \":26,\"A\":27,\"B\":28,\"C\":29,\"_\":30,\"<unk>\":31,\"ab\":32,\"abc\":33,"
     "\"bc\":34,\"cd\":35,\"de\":36,\"cde\":37,\"abcde\":38},\"merges\":[\"b c\",\"a b\",\"a bc\",\"c d\",\"d e"
     "\",\"c de\",\"ab cde\"]}}",
     "a\xc3\xa9\xc3\x80" "b\xe6\x97\xa5", "32", "32"},
    {"{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":\"<unk>\",\"continuing_sub"
     "word_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":true,\"ignore_merges\""
     ":false,\"vocab\":{\"<unk>\":0,\"a\":1,\"b\":2,\"<0xC3>\":3,\"<0xA9>\":4,\"ab\":5,\"<0x0A>\":6},\"merges\":"
     "[\"a b\"]}}",
     "a\xc3\xa9" "b", "1 3 4 2", "1 3 4 2"},
    {"{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":\"<unk>\",\"continuing_sub"
     "word_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":true,\"byte_fallback\":true,\"ignore_merges\":"
     "false,\"vocab\":{\"<unk>\":0,\"a\":1,\"b\":2,\"<0xC3>\":3,\"<0xA9>\":4,\"ab\":5,\"<0x0A>\":6},\"merges\":["
     "\"a b\"]}}",
     "a\xc3\xa9" "b", "1 3 4 2", "1 3 4 2"},
    {"{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":\"<unk>\",\"continuing_sub"
     "word_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":true,\"ignore_merges\""
     ":false,\"vocab\":{\"<unk>\":0,\"a\":1,\"b\":2,\"<0xC3>\":3,\"<0xA9>\":4,\"ab\":5,\"<0x0A>\":6},\"merges\":"
     "[\"a b\"]}}",
     "a\xe6\x97\xa5\xc3\xa9\xe6\x97\xa5" "b", "1 3 4 0 0 2", "1 3 4 0 0 2"},
    {"{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":\"<unk>\",\"continuing_sub"
     "word_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":true,\"byte_fallback\":true,\"ignore_merges\":"
     "false,\"vocab\":{\"<unk>\":0,\"a\":1,\"b\":2,\"<0xC3>\":3,\"<0xA9>\":4,\"ab\":5,\"<0x0A>\":6},\"merges\":["
     "\"a b\"]}}",
     "a\xe6\x97\xa5\xc3\xa9\xe6\x97\xa5" "b", "1 3 4 0 2", "1 3 4 0 2"},
    {"{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":\"<unk>\",\"continuing_sub"
     "word_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":true,\"ignore_merges\""
     ":false,\"vocab\":{\"<unk>\":0,\"a\":1,\"b\":2,\"<0xC3>\":3,\"<0xA9>\":4,\"ab\":5,\"<0x0A>\":6},\"merges\":"
     "[\"a b\"]}}",
     "\xe6\x97\xa5\xe6\x97\xa5", "0 0", "0 0"},
    {"{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":\"<unk>\",\"continuing_sub"
     "word_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":true,\"byte_fallback\":true,\"ignore_merges\":"
     "false,\"vocab\":{\"<unk>\":0,\"a\":1,\"b\":2,\"<0xC3>\":3,\"<0xA9>\":4,\"ab\":5,\"<0x0A>\":6},\"merges\":["
     "\"a b\"]}}",
     "\xe6\x97\xa5\xe6\x97\xa5", "0", "0"},
    {"{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":\"<unk>\",\"continuing_sub"
     "word_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":true,\"ignore_merges\""
     ":false,\"vocab\":{\"<unk>\":0,\"a\":1,\"b\":2,\"<0xC3>\":3,\"<0xA9>\":4,\"ab\":5,\"<0x0A>\":6},\"merges\":"
     "[\"a b\"]}}",
     "\n", "6", "6"},
    {"{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":\"<unk>\",\"continuing_sub"
     "word_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":true,\"byte_fallback\":true,\"ignore_merges\":"
     "false,\"vocab\":{\"<unk>\":0,\"a\":1,\"b\":2,\"<0xC3>\":3,\"<0xA9>\":4,\"ab\":5,\"<0x0A>\":6},\"merges\":["
     "\"a b\"]}}",
     "\n", "6", "6"},
    {"{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":\"<unk>\",\"continuing_sub"
     "word_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":true,\"ignore_merges\""
     ":false,\"vocab\":{\"<unk>\":0,\"a\":1,\"b\":2,\"<0xC3>\":3,\"<0xA9>\":4,\"ab\":5,\"<0x0A>\":6},\"merges\":"
     "[\"a b\"]}}",
     "\xc3\xa9", "3 4", "3 4"},
    {"{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":\"<unk>\",\"continuing_sub"
     "word_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":true,\"byte_fallback\":true,\"ignore_merges\":"
     "false,\"vocab\":{\"<unk>\":0,\"a\":1,\"b\":2,\"<0xC3>\":3,\"<0xA9>\":4,\"ab\":5,\"<0x0A>\":6},\"merges\":["
     "\"a b\"]}}",
     "\xc3\xa9", "3 4", "3 4"},
    {"{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"continuing_subword_"
     "prefix\":\"##\",\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":f"
     "alse,\"vocab\":{\"a\":0,\"b\":1,\"##b\":2,\"##c\":3,\"a##b\":4,\"ab\":5,\"abc\":6,\"##bc\":7},\"merges\":["
     "\"a ##b\",\"ab ##c\"]}}",
     "abc", "6", "6"},
    {"{\"version\":\"1.0\",\"pre_tokenizer\":{\"type\":\"WhitespaceSplit\"},\"model\":{\"type\":\"BPE\",\"dropou"
     "t\":null,\"unk_token\":null,\"continuing_subword_prefix\":null,\"end_of_word_suffix\":\"</w>\",\"fuse_unk"
     "\":false,\"byte_fallback\":false,\"ignore_merges\":false,\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"b</w>\":3,\""
     "ab</w>\":4,\"c</w>\":5},\"merges\":[\"a b</w>\"]}}",
     "ab ab c", "4 4 5", "4 4 5"},
    {"{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"continuing_subword_"
     "prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":fal"
     "se,\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"aa\":3,\"ba\":4},\"merges\":[\"a b\",\"b a\",\"a a\",\"a b\"]}}",
     "ababaa", "0 4 4 0", "0 4 4 0"},
    {"{\"version\":\"1.0\",\"added_tokens\":[{\"id\":32,\"content\":\"<s>\",\"single_word\":false,\"lstrip\":fal"
     "se,\"rstrip\":false,\"normalized\":false,\"special\":true},{\"id\":33,\"content\":\"</s>\",\"single_word\""
     ":false,\"lstrip\":false,\"rstrip\":true,\"normalized\":false,\"special\":true},{\"id\":99,\"content\":\"<x"
     ">\",\"single_word\":false,\"lstrip\":true,\"rstrip\":false,\"normalized\":false,\"special\":false},{\"id\""
     ":7,\"content\":\"<xy>\",\"single_word\":true,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"spec"
     "ial\":false},{\"id\":8,\"content\":\"bc\",\"single_word\":true,\"lstrip\":true,\"rstrip\":true,\"normalize"
     "d\":false,\"special\":false},{\"id\":5,\"content\":\"<s><s>\",\"single_word\":false,\"lstrip\":false,\"rst"
     "rip\":false,\"normalized\":false,\"special\":false}],\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_to"
     "ken\":null,\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallba"
     "ck\":false,\"ignore_merges\":false,\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"d\":3,\"e\":4,\"f\":5,\"g\":6,\"h"
     "\":7,\"i\":8,\"j\":9,\"k\":10,\"l\":11,\"m\":12,\"n\":13,\"o\":14,\"p\":15,\"q\":16,\"r\":17,\"s\":18,\"t"
     "\":19,\"u\":20,\"v\":21,\"w\":22,\"x\":23,\"y\":24,\"z\":25,\" \":26,\"A\":27,\"B\":28,\"C\":29,\"_\":30,"
     "\"<unk>\":31,\"<s>\":32,\"</s>\":33},\"merges\":[]}}",
     "<s>a</s>  b", "32 0 33 1", "18 0 18 26 26 1"},
    {NULL,
     "a  <x> b", "0 34 26 1", "0 34 26 1"},
    {NULL,
     "<xy>", "35", "35"},
    {NULL,
     "a<xy>", "0 23 24", "0 23 24"},
    {NULL,
     "_<xy>", "30 23 24", "30 23 24"},
    {NULL,
     " <xy> ", "26 35 26", "26 35 26"},
    {NULL,
     "a bc d", "0 36 3", "0 36 3"},
    {NULL,
     "abcd", "0 1 2 3", "0 1 2 3"},
    {NULL,
     "bc", "36", "36"},
    {NULL,
     "  bc  bc ", "36 36", "36 36"},
    {NULL,
     "<s><s><s>", "37 32", "37 18"},
    {NULL,
     "<x><x>", "34 34", "34 34"},
    {NULL,
     "</s> <x>a", "33 34 0", "18 34 0"},
    {NULL,
     "a <x", "0 26 23", "0 26 23"},
    {NULL,
     "\xc3\xa9<xy>\xc3\xa9", "23 24", "23 24"},
    {NULL,
     "a</s>", "0 33", "0 18"},
    {"{\"version\":\"1.0\",\"added_tokens\":[{\"id\":40,\"content\":\"Day\",\"single_word\":false,\"lstrip\":fal"
     "se,\"rstrip\":false,\"normalized\":true,\"special\":false},{\"id\":41,\"content\":\"[X]\",\"single_word\":"
     "false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true},{\"id\":42,\"content\":\"k "
     "m\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":true,\"special\":true}],\"norma"
     "lizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Lowercase\"},{\"type\":\"Prepend\",\"prepend\""
     ":\"\\u2581\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\\u2581\"}]},\"model\":{"
     "\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"continuing_subword_prefix\":null,\"end_of_word_suff"
     "ix\":null,\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":false,\"vocab\":{\"a\":0,\"b\":1,\""
     "c\":2,\"d\":3,\"e\":4,\"f\":5,\"g\":6,\"h\":7,\"i\":8,\"j\":9,\"k\":10,\"l\":11,\"m\":12,\"n\":13,\"o\":14"
     ",\"p\":15,\"q\":16,\"r\":17,\"s\":18,\"t\":19,\"u\":20,\"v\":21,\"w\":22,\"x\":23,\"y\":24,\"z\":25,\" \":"
     "26,\"A\":27,\"B\":28,\"C\":29,\"_\":30,\"<unk>\":31,\"\\u2581\":32,\"\\u2581a\":33},\"merges\":[\"\\u2581 "
     "a\"]}}",
     "a day", "33 34", "33 34"},
    {NULL,
     "DAY", "34", "34"},
    {NULL,
     "a Day b", "33 34 32 1", "33 34 32 1"},
    {NULL,
     "Day a", "34 33", "34 33"},
    {NULL,
     "[X]a[x]", "35 33 23", "32 23 0 23"},
    {NULL,
     "a k m", "33 36", "33 32 10 32 12"},
    {NULL,
     "k m", "36", "32 10 32 12"},
    {NULL,
     " [X] Day", "32 32 35 32 34", "32 32 23 34"},
    {"{\"version\":\"1.0\",\"post_processor\":{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\",\"a"
     "dd_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":true},{\"type\":\"TemplateProcessing\",\"single"
     "\":[{\"SpecialToken\":{\"id\":\"B\",\"type_id\":0}},{\"SpecialToken\":{\"id\":\"C\",\"type_id\":0}},{\"Seq"
     "uence\":{\"id\":\"A\",\"type_id\":0}},{\"SpecialToken\":{\"id\":\"C\",\"type_id\":0}}],\"pair\":[{\"Sequen"
     "ce\":{\"id\":\"A\",\"type_id\":0}},{\"Sequence\":{\"id\":\"B\",\"type_id\":1}}],\"special_tokens\":{\"B\":"
     "{\"id\":\"B\",\"ids\":[1,2],\"tokens\":[\"b\",\"c\"]},\"C\":{\"id\":\"C\",\"ids\":[3],\"tokens\":[\"d\"]}}"
     "}]},\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"continuing_subword_prefix\":null,\"e"
     "nd_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":false,\"vocab\":{\"a"
     "\":0,\"b\":1,\"c\":2,\"d\":3,\"e\":4,\"f\":5,\"g\":6,\"h\":7,\"i\":8,\"j\":9,\"k\":10,\"l\":11,\"m\":12,\""
     "n\":13,\"o\":14,\"p\":15,\"q\":16,\"r\":17,\"s\":18,\"t\":19,\"u\":20,\"v\":21,\"w\":22,\"x\":23,\"y\":24,"
     "\"z\":25,\" \":26,\"A\":27,\"B\":28,\"C\":29,\"_\":30,\"<unk>\":31,\"<s>\":32,\"</s>\":33},\"merges\":[]}}",
     "xy", "1 2 3 23 24 3", "23 24"},
    {NULL,
     "", "1 2 3 3", ""},
    {"{\"version\":\"1.0\",\"post_processor\":{\"type\":\"RobertaProcessing\",\"sep\":[\"</s>\",33],\"cls\":[\"<"
     "s>\",32],\"trim_offsets\":true,\"add_prefix_space\":false},\"model\":{\"type\":\"BPE\",\"dropout\":null,\""
     "unk_token\":null,\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_"
     "fallback\":false,\"ignore_merges\":false,\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"d\":3,\"e\":4,\"f\":5,\"g\":"
     "6,\"h\":7,\"i\":8,\"j\":9,\"k\":10,\"l\":11,\"m\":12,\"n\":13,\"o\":14,\"p\":15,\"q\":16,\"r\":17,\"s\":18"
     ",\"t\":19,\"u\":20,\"v\":21,\"w\":22,\"x\":23,\"y\":24,\"z\":25,\" \":26,\"A\":27,\"B\":28,\"C\":29,\"_\":"
     "30,\"<unk>\":31,\"<s>\":32,\"</s>\":33},\"merges\":[]}}",
     "xy", "32 23 24 33", "23 24"},
    {"{\"version\":\"1.0\",\"added_tokens\":[{\"id\":33,\"content\":\"<s>\",\"single_word\":false,\"lstrip\":fal"
     "se,\"rstrip\":false,\"normalized\":false,\"special\":true}],\"pre_tokenizer\":{\"type\":\"Metaspace\",\"re"
     "placement\":\"\\u2581\",\"prepend_scheme\":\"first\",\"split\":false},\"model\":{\"type\":\"BPE\",\"dropou"
     "t\":null,\"unk_token\":null,\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":fa"
     "lse,\"byte_fallback\":false,\"ignore_merges\":false,\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"d\":3,\"e\":4,\"f"
     "\":5,\"g\":6,\"h\":7,\"i\":8,\"j\":9,\"k\":10,\"l\":11,\"m\":12,\"n\":13,\"o\":14,\"p\":15,\"q\":16,\"r\":"
     "17,\"s\":18,\"t\":19,\"u\":20,\"v\":21,\"w\":22,\"x\":23,\"y\":24,\"z\":25,\" \":26,\"A\":27,\"B\":28,\"C"
     "\":29,\"_\":30,\"<unk>\":31,\"\\u2581\":32,\"<s>\":33},\"merges\":[]}}",
     "a b", "32 0 32 1", "32 0 32 1"},
    {NULL,
     "<s>a", "33 0", "32 18 0"},
    {NULL,
     "<s> a", "33 32 0", "32 18 32 0"},
    {NULL,
     " a", "32 0", "32 0"},
    {NULL,
     "a<s>b", "32 0 33 1", "32 0 18 1"},
    {"{\"version\":\"1.0\",\"added_tokens\":[{\"id\":33,\"content\":\"<s>\",\"single_word\":false,\"lstrip\":fal"
     "se,\"rstrip\":false,\"normalized\":false,\"special\":true}],\"normalizer\":{\"type\":\"Strip\",\"strip_lef"
     "t\":true,\"strip_right\":false},\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"pr"
     "epend_scheme\":\"first\",\"split\":false},\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,"
     "\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":false,"
     "\"ignore_merges\":false,\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"d\":3,\"e\":4,\"f\":5,\"g\":6,\"h\":7,\"i\":8"
     ",\"j\":9,\"k\":10,\"l\":11,\"m\":12,\"n\":13,\"o\":14,\"p\":15,\"q\":16,\"r\":17,\"s\":18,\"t\":19,\"u\":2"
     "0,\"v\":21,\"w\":22,\"x\":23,\"y\":24,\"z\":25,\" \":26,\"A\":27,\"B\":28,\"C\":29,\"_\":30,\"<unk>\":31,"
     "\"\\u2581\":32,\"<s>\":33},\"merges\":[]}}",
     " a", "0", "0"},
    {NULL,
     "a", "32 0", "32 0"},
    {NULL,
     "<s> a", "33 0", "32 18 32 0"},
};

#endif
