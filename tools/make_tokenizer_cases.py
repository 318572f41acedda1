#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/unit/tokenizer_cases.h: what the Python package `tokenizers` (0.22.2) does with every component of
tokenizer.json on small inputs. Run by hand when a component is added:

    python3 tools/make_tokenizer_cases.py > tests/unit/tokenizer_cases.h
"""
import json
import re

from tokenizers import Tokenizer

print("""/* SPDX-License-Identifier: Apache-2.0
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
""")
def tk(**k):
    d={"version":"1.0","truncation":None,"padding":None,"added_tokens":[],"normalizer":None,"pre_tokenizer":None,"post_processor":None,"decoder":None,
       "model":{"type":"BPE","dropout":None,"unk_token":None,"continuing_subword_prefix":None,"end_of_word_suffix":None,"fuse_unk":False,"byte_fallback":False,"ignore_merges":False,"vocab":{},"merges":[]}}
    m=k.pop('model',{}); d.update(k); d['model'].update(m); return d
def wrap(lit, width=106):
    """Cuts a C string literal into lines, never inside an escape."""
    if len(lit) <= width:
        return lit
    units = re.findall(r'\\x[0-9a-f]{2}|\\.|" "|.', lit[1:-1])
    lines, line = [], ""
    for u in units:
        if len(line) + len(u) > width:
            lines.append(line)
            line = ""
            if u == '" "':
                continue
        line += u
    return "\n     ".join('"%s"' % x for x in lines + [line])


def c(s):
    b=s.encode() if isinstance(s,str) else s
    out='"';hexed=False
    for x in b:
        ch=chr(x)
        if ch=='"': out+='\\"';hexed=False
        elif ch=='\\': out+='\\\\';hexed=False
        elif ch=='\n': out+='\\n';hexed=False
        elif ch=='\t': out+='\\t';hexed=False
        elif 32<=x<127:
            if hexed and ch in '0123456789abcdefABCDEF': out+='" "'
            out+=ch;hexed=False
        else: out+='\\x%02x'%x;hexed=True
    return wrap(out+'"')
J=lambda o: json.dumps(o,ensure_ascii=True,separators=(',',':'))
def sp(pat,beh,inv=False): return {"type":"Split","pattern":pat,"behavior":beh,"invert":inv}
pre=[]
for b in ["Removed","Isolated","MergedWithPrevious","MergedWithNext","Contiguous"]:
    pre.append((sp({"String":"-"},b),"the-final--countdown-"))
    pre.append((sp({"Regex":"\\s+"},b),"  a b\n c"))
pre.append((sp({"Regex":"\\w+"},"Removed",True),"ab, cd!"))
pre.append((sp({"Regex":"x*"},"Isolated"),"axxb"))
pre.append((sp({"Regex":"x*"},"MergedWithNext"),"axxb"))
pre.append((sp({"Regex":""},"Isolated"),"abc"))
pre.append((sp({"Regex":"\\G\\d"},"Isolated"),"12a34"))
BL=lambda a,u:{"type":"ByteLevel","add_prefix_space":a,"trim_offsets":True,"use_regex":u}
for a in (True,False):
    for u in (True,False):
        pre.append((BL(a,u),"Hello  world é\n I'll 42"))
pre.append((BL(True,True)," x"))
pre.append(({"type":"Sequence","pretokenizers":[sp({"Regex":"\\p{N}{1,3}"},"Isolated"),BL(False,False)]},"a12345 b"))
pre.append(({"type":"Sequence","pretokenizers":[BL(True,False),{"type":"Sequence","pretokenizers":[sp({"String":"\u0120"},"MergedWithNext")]}]},"a b c"))
MS=lambda s,sc:{"type":"Metaspace","replacement":"▁","prepend_scheme":sc,"split":s}
for s in (True,False):
    for scm in ("always","first","never"): pre.append((MS(s,scm),"Hey my  friend"))
pre.append((MS(True,"always")," Hey"))
pre.append((MS(True,"always"),"▁Hey"))
pre.append(({"type":"Sequence","pretokenizers":[{"type":"WhitespaceSplit"},MS(True,"first")]},"Hey my friend"))
pre.append(({"type":"Sequence","pretokenizers":[{"type":"WhitespaceSplit"},MS(True,"always")]},"Hey my friend"))
pre.append(({"type":"Metaspace","replacement":"_","add_prefix_space":True},"a b"))
pre.append(({"type":"Metaspace","replacement":"_","add_prefix_space":False,"prepend_scheme":"never"},"a b"))
for i in (True,False): pre.append(({"type":"Digits","individual_digits":i},"ab12c３Ⅻ½ 4"))
for b in ["Removed","Isolated","MergedWithPrevious","MergedWithNext","Contiguous"]: pre.append(({"type":"Punctuation","behavior":b},"Hi!! you?a…b"))
pre.append(({"type":"Whitespace"},"a_b, c\u00a0d--e 1２"))
pre.append(({"type":"WhitespaceSplit"}," a,\u3000b\u0085c "))
pre.append(({"type":"CharDelimiterSplit","delimiter":"x"},"axbxxc"))
pre.append(({"type":"FixedLength","length":3},"abcdéfgh"))
pre.append(({"type":"BertPreTokenizer"},"Hey, you don't!  ok"))
print("static const struct row pretok_rows[] = {")
for comp,text in pre:
    t=dict(comp)
    if t['type']=='CharDelimiterSplit': pass
    tok=Tokenizer.from_str(json.dumps(tk(pre_tokenizer=comp)))
    got=[x[0] for x in tok.pre_tokenizer.pre_tokenize_str(text)]
    print("    {%s,\n     %s,\n     %s},"%(c(J(comp)),c(text),c('|'.join(got))))
print("};")
norm=[]
for f in ("NFC","NFD","NFKC","NFKD"): norm.append(({"type":f},"e\u0301 é ﬁ Å \uac01 ² a\u0315\u0334\u0898"))
norm+= [({"type":"Lowercase"},"ÀB İ Σς ẞ"),({"type":"Prepend","prepend":"▁"},"a"),({"type":"Prepend","prepend":"▁"},""),
({"type":"Replace","pattern":{"String":"ab"},"content":"x"},"ababa"),({"type":"Replace","pattern":{"Regex":" {2,}"},"content":" "},"a   b  c"),
({"type":"Replace","pattern":{"Regex":"y*"},"content":"-"},"ayb"),
({"type":"Strip","strip_left":True,"strip_right":False}," \u3000a b "),({"type":"Strip","strip_left":False,"strip_right":True}," a b\n "),({"type":"Strip","strip_left":True,"strip_right":True},"   "),
({"type":"Sequence","normalizers":[{"type":"NFD"},{"type":"StripAccents"},{"type":"Lowercase"}]},"ÉÀ ñ"),({"type":"ByteLevel"},"é \n")]
print("static const struct row norm_rows[] = {")
for comp,text in norm:
    tok=Tokenizer.from_str(json.dumps(tk(normalizer=comp)))
    print("    {%s,\n     %s,\n     %s},"%(c(J(comp)),c(text),c(tok.normalizer.normalize_str(text))))
print("};")
dec=[]
S=lambda *d:{"type":"Sequence","decoders":list(d)}
R={"type":"Replace","pattern":{"String":"▁"},"content":" "}; BF={"type":"ByteFallback"}; F={"type":"Fuse"}; ST={"type":"Strip","content":" ","start":1,"stop":0}
D=[(S(R,BF,F,ST),["▁Hello","▁w","<0xC3>","<0xA9>","<0xFF>","!"]),(S(R,BF,F,ST),["<0xE2>","<0x82>","<0xAC>","▁a"]),(S(R,BF,F,ST),["<0x20>","▁","x"]),(S(R,BF,F),["▁a","<0xE2>","<0x82>"]),
(BL(True,True),["Ġh","Ã","©","!","Ã","a","日"]),(BL(True,True),["æĹ","¥","æ"]),(MS(True,"always"),["▁Hey","▁my","▁▁x"]),(MS(True,"never"),["▁Hey","▁my"]),
(BF,["a","<0x61>","<0xff>","<0x+1>","<0xG1>"]),(F,["a"," b"]),({"type":"Strip","content":"_","start":2,"stop":1},["___a_","_b__","c"]),({"type":"BPEDecoder","suffix":"</w>"},["he","llo</w>","you</w>"]),
({"type":"Replace","pattern":{"Regex":"[ab]+"},"content":"-"},["xaby","ba"]),(S(BL(True,True),ST),["Ġ","Ġa"]),(None,["a","b c"]),(S(F,{"type":"Strip","content":" ","start":0,"stop":1}),["a"," "])]
print("static const struct row decoder_rows[] = {")
for comp,toks in D:
    tok=Tokenizer.from_str(json.dumps(tk(decoder=comp)))
    out=tok.decoder.decode(toks) if comp else ' '.join(toks)
    print("    {%s,\n     %s,\n     %s},"%(c(J(comp)) if comp else '"null"',c('|'.join(toks)),c(out)))
print("};")
# whole tokenizers
def at(i,ct,**k):
    d=dict(id=i,content=ct,single_word=False,lstrip=False,rstrip=False,normalized=False,special=False); d.update(k); return d
V=lambda l:{t:i for i,t in enumerate(l)}
abc=list("abcdefghijklmnopqrstuvwxyz ABC_")+["<unk>"]
W=[]
bpe=dict(vocab=V(abc+["ab","abc","bc","cd","de","cde","abcde"]),merges=["b c","a b","a bc","c d","d e","c de","ab cde"])
T0=tk(model=bpe)
for t in ("abcde","abcd","bcbc","aabbcc","","abc abc"): W.append((T0,t))
W.append((tk(model=dict(bpe,merges=[["b","c"],["a","bc"]])),"abcab"))
W.append((tk(model=dict(bpe,ignore_merges=True,merges=["b c"])),"abcde"))
W.append((tk(model=dict(bpe,ignore_merges=True,merges=["b c"])),"abcdea"))
for fuse in (True,False):
    W.append((tk(model=dict(bpe,unk_token="<unk>",fuse_unk=fuse)),"aéÀb日"))
W.append((tk(model=dict(bpe)),"aéÀb日"))
byt=dict(vocab=V(["<unk>","a","b","<0xC3>","<0xA9>","ab","<0x0A>"]),merges=["a b"],unk_token="<unk>",byte_fallback=True)
for t in ("aéb","a日é日b","日日","\n","é"):
    W.append((tk(model=byt),t)); W.append((tk(model=dict(byt,fuse_unk=True)),t))
W.append((tk(model=dict(vocab=V(["a","b","##b","##c","a##b","ab","abc","##bc"]),merges=["a ##b","ab ##c"],continuing_subword_prefix="##")),"abc"))
W.append((tk(model=dict(vocab=V(["a","b","c","b</w>","ab</w>","c</w>"]),merges=["a b</w>"],end_of_word_suffix="</w>"),pre_tokenizer={"type":"WhitespaceSplit"}),"ab ab c"))
W.append((tk(model=dict(vocab=V(["a","b","ab","aa","ba"]),merges=["a b","b a","a a","a b"])),"ababaa"))
full=tk(model=dict(vocab=V(abc+["<s>","</s>"]),merges=[]),added_tokens=[at(32,"<s>",special=True),at(33,"</s>",special=True,rstrip=True),at(99,"<x>",lstrip=True),at(7,"<xy>",single_word=True),at(8,"bc",lstrip=True,rstrip=True,single_word=True),at(5,"<s><s>")])
for t in ("<s>a</s>  b","a  <x> b","<xy>","a<xy>","_<xy>"," <xy> ","a bc d","abcd","bc","  bc  bc ","<s><s><s>","<x><x>","</s> <x>a","a <x","é<xy>é","a</s>"):
    W.append((full,t))
nrm=tk(model=dict(vocab=V(abc+["▁","▁a"]),merges=["▁ a"]),normalizer={"type":"Sequence","normalizers":[{"type":"Lowercase"},{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]},added_tokens=[at(40,"Day",normalized=True),at(41,"[X]",special=True),at(42,"k m",normalized=True,special=True)])
for t in ("a day","DAY","a Day b","Day a","[X]a[x]","a k m","k m"," [X] Day"): W.append((nrm,t))
post=tk(model=dict(vocab=V(abc+["<s>","</s>"]),merges=[]),post_processor={"type":"Sequence","processors":[{"type":"ByteLevel","add_prefix_space":True,"trim_offsets":True,"use_regex":True},{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"B","type_id":0}},{"SpecialToken":{"id":"C","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"C","type_id":0}}],"pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":1}}],"special_tokens":{"B":{"id":"B","ids":[1,2],"tokens":["b","c"]},"C":{"id":"C","ids":[3],"tokens":["d"]}}}]})
W.append((post,"xy")); W.append((post,""))
W.append((tk(model=dict(vocab=V(abc+["<s>","</s>"]),merges=[]),post_processor={"type":"RobertaProcessing","sep":["</s>",33],"cls":["<s>",32],"trim_offsets":True,"add_prefix_space":False}),"xy"))
meta=tk(model=dict(vocab=V(abc+["▁","<s>"]),merges=[]),pre_tokenizer=MS(False,"first"),added_tokens=[at(33,"<s>",special=True)])
for t in ("a b","<s>a","<s> a"," a","a<s>b"): W.append((meta,t))
meta2=dict(meta,normalizer={"type":"Strip","strip_left":True,"strip_right":False})
for t in (" a","a","<s> a"): W.append((meta2,t))
print("static const struct whole_row whole_rows[] = {")
last=None
for d,text in W:
    js=json.dumps(d)
    tok=Tokenizer.from_str(js)
    p=tok.encode(text).ids
    tok.encode_special_tokens=True
    q=tok.encode(text,add_special_tokens=False).ids
    s=J({k:v for k,v in d.items() if v is not None and v!=[] and k not in()} )
    name=c(s)
    print("    {%s,\n     %s, \"%s\", \"%s\"},"%(name if s!=last else "NULL",c(text),' '.join(map(str,p)),' '.join(map(str,q))))
    last=s
print("};")
print("\n#endif")
