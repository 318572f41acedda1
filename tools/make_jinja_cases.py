#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/unit/jinja_cases.h: templates and what Python's jinja2 makes of them, in the environment transformers
uses (trim_blocks, lstrip_blocks, loop controls, generation tag, tojson without HTML escaping). Lists and dicts may be
changed by templates, so the sandbox is the mutable one. Needs python3-jinja2; the header is committed, tests do not.

    tools/make_jinja_cases.py > tests/unit/jinja_cases.h
"""
import copy
import datetime
import json

import jinja2
import jinja2.ext
import jinja2.sandbox

NOW = datetime.datetime(2025, 7, 10, 12, 0, 0)


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_same"), [], [], body).set_lineno(line)

    def _same(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    env = jinja2.sandbox.SandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


VARIABLES = {
    "s": "Hello World", "e": "", "u": "\u4f60\u597d W\u00f6rld \u00df", "n": None, "t": True, "f": False, "i": 7,
    "neg": -3, "x": 2.5, "big": 123456789012, "l": [3, 1, 2], "ls": ["b", "A", "c", "a"], "le": [],
    "d": {"a": 1, "b": [1, 2], "c": None, "items": 5}, "de": {},
    "msgs": [{"role": "user", "content": "hi", "n": 1}, {"role": "assistant", "content": None, "n": 3},
             {"role": "user", "content": "yo", "n": 2}],
    "nest": {"a": {"b": {"c": [{"k": "v"}]}}}, "q": "it's \"q\"", "esc": "a\n\t\\b\x7f\u200b\U0001F600",
    "html": "<b>&\"'", "lines": "one\n  two\n\nthree\n", "ws": "  a b\t c \n", "num": "42", "fl": "3.7",
    "tricky": [1, True, 1.0, "1", None, [1], 2],
}

ONE_LINE = r'''
{% for x in l %}{{ loop.index }},{{ loop.index0 }},{{ loop.revindex }},{{ loop.revindex0 }},{{ loop.first }},{{ loop.last }},{{ loop.length }},{{ loop.previtem }},{{ loop.nextitem }},{{ loop.cycle('a','b') }},{{ loop.changed(x>1) }},{{loop.depth}}{{loop.depth0}};{% endfor %}
{% for x in l if x > 1 %}{{ loop.index }}{{loop.length}}{{ loop.last }}{% else %}none{% endfor %}
{% for x in l %}{{ x }}{% continue %}{% else %}E{% endfor %}{% for x in l %}{% break %}{% else %}E{% endfor %}
{% for x in l %}{% if x > 2 %}{% continue %}{% endif %}{% else %}E{% endfor %}
{% for x in l if x > 10 %}{{ loop.index }}{% else %}none{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}
{% for k, v in d|dictsort %}{{ k }}={{ v }};{% endfor %}
{% for k in d %}{{ k }}{% endfor %}
{% for c in u %}[{{ c }}]{% endfor %}
{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% if x == 2 %}{% break %}{% endif %}{% endfor %}
{% set a = 1 %}{% for x in l %}{% set a = a + x %}{{ a }}{% endfor %}{{ a }}
{% set ns = namespace(a=1) %}{% for x in l %}{% set ns.a = ns.a + x %}{% endfor %}{{ ns.a }}{{ ns }}
{% macro m(a, b=2, *c) %}{% endmacro %}
{% macro m(a, b=2) %}{{ a }}-{{ b }}-{{ varargs }}-{{ kwargs }}{% endmacro %}{{ m(1) }}|{{ m(1,3,4,5) }}|{{ m(b=1,a=2,z=3) }}|{{ m() }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1,2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(c=2) }}
{% macro m(a) %}{{ s }}{{ a }}{% set s = 'in' %}{{ s }}{% endmacro %}{{ m(1) }}{{ s }}
{% macro m() %}{{ later }}{% endmacro %}{% set later = 5 %}{{ m() }}
{% for x in l %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}
{% macro f(n) %}{% if n > 0 %}{{ n }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(5) }}
{% call(x) m() %}{% endcall %}
{% macro m() %}<{{ caller(1) }}>{% endmacro %}{% call(x) m() %}{{ x }}{{ s }}{% endcall %}
{% macro m() %}<{{ caller is defined }}>{% endmacro %}{{ m() }}{% call m() %}{% endcall %}
{% set x %}a{{ i }}b{% endset %}{{ x }}{{ x|length }}
{% set x | upper | replace('A','z') %}a{{ i }}b{% endset %}{{ x }}
{% filter upper %}abc{{ s }}{% endfilter %}
{% filter replace('a','b')|upper %}abc{{ s }}{% endfilter %}
{% with a=1, b=2 %}{{ a }}{{ b }}{% endwith %}{{ a }}
{% with %}{% set z = 1 %}{{ z }}{% endwith %}{{ z }}
{% raw %}{{ x }} {% if %}{% endraw %}end
a {%- raw -%}  {{ x }}  {%- endraw -%} b
  {% if t %}
    yes
  {% endif %}
end
  {%+ if t %}
    yes
  {%+ endif +%}
end
{# comment #}
x
a {# c -#}  b
a {#- c #}  b
line1
  {# c #}
line2
{{ 'a' }}
{{ 'b' }}
{% if f %}a{% elif n %}b{% elif i == 7 %}c{% else %}d{% endif %}
{{ 'yes' if t else 'no' }}{{ 'yes' if f }}{{ ('yes' if f) is defined }}
{{ 1 if f else 2 if f else 3 }}
{{ 1 < 2 < 3 }}{{ 3 > 2 > 2 }}{{ 1 < 3 > 2 }}
{{ 2 ** 3 ** 2 }}{{ -2 ** 2 }}{{ 2 ** -1 }}{{ 2**0.5 }}
{{ 7 // 2 }}{{ -7 // 2 }}{{ 7 % -3 }}{{ -7 % 3 }}{{ 7.5 // 2 }}{{ -7.5 % 2 }}{{ 1/3 }}
{{ 1e16 }}{{ 1e15 }}{{ 1e-5 }}{{ 0.0001 }}{{ 1.0 }}{{ 123456789.123 }}{{ 1e100 }}{{ 0.1+0.2 }}{{ 1e22 }}{{ 5e-324 }}{{ 1.7976931348623157e308 }}
{{ 1e308 * 10 }}{{ -1e308*10 }}{{ 1_000 }}{{ 0x1F }}{{ 0b11 }}{{ 0o17 }}{{ 1_0.5 }}
{{ 'a' 'b' "c" }}{{ "\x41\u00e9\t|\\|\'|\"|\101|\q" }}
{{ 'a\
b' }}
{{ [1,2,3,] }}{{ (1,) }}{{ () }}{{ {'a':1,} }}{{ {} }}{{ 1,2 }}
{{ d.a }}{{ d['a'] }}{{ d.zz }}{{ d['zz'] }}{{ d.items is defined }}{{ d['items'] }}
{{ msgs[0].role }}{{ msgs.0.role }}{{ msgs[-1]['role'] }}{{ nest.a.b.c.0.k }}
{{ msgs|map(attribute='n')|sum }}{{ msgs|sum(attribute='n') }}{{ msgs|sum(attribute='n', start=10) }}
{{ msgs|selectattr('role','equalto','user')|map(attribute='content')|join(',') }}
{{ msgs|rejectattr('content')|list|length }}{{ msgs|selectattr('content','none')|list }}
{{ msgs|groupby('role') }}{% for g, items in msgs|groupby('role') %}{{ g }}:{{ items|length }}{% endfor %}{% for g in msgs|groupby('role') %}{{ g.grouper }}{{ g.list|length }}{% endfor %}
{{ msgs|sort(attribute='role,n')|map(attribute='n')|list }}{{ msgs|sort(attribute='n', reverse=true)|map(attribute='n')|list }}
{{ msgs|map('tojson')|join('|') }}{{ l|map('string')|map('length')|list }}{{ ls|map('replace','a','z')|list }}
{{ msgs|map(attribute='zz', default='D')|list }}{{ msgs|map(attribute='content', default='D')|list }}
{{ msgs|unique(attribute='role')|map(attribute='n')|list }}{{ ls|unique|list }}{{ ls|unique(true)|list }}
{{ ls|sort }}{{ ls|sort(case_sensitive=true) }}{{ ls|min }}{{ ls|max }}{{ msgs|max(attribute='n') }}
{{ l|batch(2)|list }}{{ l|batch(2,'x')|list }}{{ l|slice(2)|list }}{{ l|slice(2,'x')|list }}{{ range(10)|slice(3)|list }}{{ range(10)|slice(3,'-')|list }}
{{ s|replace('l','L') }}{{ s|replace('l','L',1) }}{{ s.replace('o','0') }}{{ s.replace('','-') }}{{ s.replace('l','L',2) }}
{{ s.split() }}{{ s.split('o') }}{{ s.split('o',1) }}{{ s.split(' ', maxsplit=1) }}{{ s.rsplit('o',1) }}{{ ws.split() }}{{ ws.rsplit(none,1) }}{{ ws.split(none,1) }}{{ 'aXXbXX'.rsplit('XX') }}{{ 'aXXXb'.rsplit('XX') }}{{'aXXXb'.split('XX')}}
{{ s.split('') }}
{{ s.partition(' ') }}{{ s.rpartition('l') }}{{ s.partition('zz') }}{{ s.rpartition('zz') }}
{{ s.find('o') }}{{ s.rfind('o') }}{{ s.find('zz') }}{{ s.find('o',5) }}{{ s.find('o',-3) }}{{ s.count('l') }}{{ s.count('') }}{{ u.find('W') }}{{ u.rfind('ß') }}{{ s.index('o') }}{{ s.find('') }}{{ s.rfind('') }}{{ s.find('',20) }}{{ s.count('l',3,4) }}
{{ s.index('zz') }}
{{ s.startswith('He') }}{{ s.startswith(('x','He')) }}{{ s.endswith('d') }}{{ s.startswith('o',4) }}{{ s.endswith('lo',0,5) }}{{ s.startswith('') }}
{{ s.removeprefix('He') }}{{ s.removesuffix('ld') }}{{ s.removeprefix('x') }}
{{ ','.join(ls) }}{{ ','.join('abc') }}{{ ','.join([]) }}
{{ ','.join(l) }}
{{ 'ab'.ljust(5) }}|{{ 'ab'.rjust(5,'*') }}|{{ 'ab'.center(5,'*') }}|{{ 'abc'.center(6,'*') }}|{{ '-5'.zfill(4) }}{{ '5'.zfill(4) }}{{ 'a'.ljust(3,'xx') }}
{{ s.upper().lower().title() }}{{ "they're bill's".title() }}{{ "they're bill's"|title }}{{ 'a-b c(d'|title }}
{{ lines.splitlines() }}{{ lines.splitlines(true) }}{{ 'a\r\nb\rc'.splitlines() }}
{{ '%s %d %5.2f %r %x %%' % ('a', 3, 2.5, 'q', 255) }}{{ '%(a)s' % {'a': 1} }}{{ '%s' % 'x' }}{{ '%05d|%-5d|%+d' % (3,3,3) }}{{ '%c%c' % ('a', 98) }}{{ '%e %g' % (1234.5, 0.0001) }}{{ '%s'|format('z') }}
{{ '%s' % () }}
{{ '%s %s' % (1,) }}
{{ '%s' % (1,2) }}
{{ 'x' % 5 }}
{{ '{} {}'.format(1, 'a') }}{{ '{0} {1} {0}'.format(1, 2) }}{{ '{a}'.format(a=5) }}{{ '{{}}'.format() }}{{ '{:>5}|{:<5}|{:05d}|{:.2f}'.format('a','b',42,3.14159) }}{{ '{!r}'.format('a') }}
{{ u|length }}{{ u[0] }}{{ u[1:3] }}{{ u[::-1] }}{{ u[-1] }}{{ u|reverse }}{{ u|upper }}{{ u|lower }}{{ u[::2] }}{{ u[7:1:-2] }}{{ u[100:] }}{{ u[:-100] }}
{{ l[5:] }}{{ l[-2:] }}{{ l[::-2] }}{{ l[:1:-1] }}{{ l[10:0:-1] }}{{ range(10)[2:8:3]|list }}{{ range(10)[::-1]|list }}{{ range(5)[1] }}{{ l[:none] }}
{{ l[::0] }}
{{ range(5) }}{{ range(1,5)|list }}{{ range(5,1,-2)|list }}{{ range(0)|list }}{{ range(0,10,3) }}{{ 3 in range(5) }}{{ range(3) == range(0,3) }}
{{ range(1000000) }}
{{ d }}{{ d.keys() }}{{ d.values() }}{{ d.items() }}{{ d|length }}{{ d|list }}{{ d.items()|list }}{{ d.keys()|list }}{{ 'a' in d.keys() }}{{ d|items|list }}
{{ d.get('a') }}{{ d.get('z') }}{{ d.get('z', 5) }}{{ d.get([]) }}
{{ d.pop('a') }}{{ d }}{{ d.pop('zz', 1) }}{{ d.update({'q':1}) }}{{ d }}{{ d.setdefault('w', 2) }}{{ d.setdefault('w', 3) }}{{ d.copy() == d }}{{ d.popitem() }}
{{ d.pop('zz') }}
{{ l.append(5) }}{{ l }}{{ l.pop() }}{{ l.pop(0) }}{{ l }}{{ l.insert(0, 9) }}{{ l }}{{ l.extend([1,1]) }}{{ l }}{{ l.remove(1) }}{{ l }}{{ l.count(1) }}{{ l.index(1) }}{{ l.reverse() }}{{ l }}{{ l.copy() }}{{ l.clear() }}{{ l }}
{{ l.pop(99) }}
{{ [].pop() }}
{{ dict(a=1, b=2) }}{{ dict([('x',1)]) }}{{ dict({'a':1}, b=3) }}{{ namespace({'a':1}, b=3) }}
{{ namespace(a=1).b }}{{ namespace(a=1).a }}{{ namespace(a=1)['a'] }}
{% set d.x = 1 %}
{% set zz.x = 1 %}
{{ 'a' in s }}{{ 'H' in s }}{{ '' in s }}{{ 1 in l }}{{ 'a' in d }}{{ 5 not in l }}{{ 1 in (1,2) }}{{ undef in l }}{{ 'a' in undef }}{{ none in tricky }}
{{ 1 in s }}
{{ 1 in 5 }}
{{ [] in d }}
{{ undef == undef2 }}{{ undef == none }}{{ undef != 1 }}{{ undef|default(1) }}{{ undef is none }}{{ not undef }}{{ undef|list }}{{ undef|length }}{{ undef|join }}{{ undef ~ 'x' }}{{ [undef] }}{% for x in undef %}{% else %}E{% endfor %}
{{ undef.x }}
{{ undef['x'] }}
{{ undef() }}
{{ undef + 1 }}
{{ undef < 1 }}
{{ undef|int }}
{{ undef|tojson }}
{{ d.zz.yy }}
{{ 1 == 1.0 }}{{ 1 == true }}{{ '1' == 1 }}{{ [1] == [1.0] }}{{ {'a':1} == {'a':1.0} }}{{ (1,) == [1] }}{{ none == false }}{{ 'a' < 'b' }}{{ [1,2] < [1,3] }}{{ 'ab' > 'a' }}{{ {1:2}[1.0] }}{{ {true: 'x'}[1] }}
{{ 1 < 'a' }}
{{ none < 1 }}
{{ {} < {} }}
{{ 9223372036854775807 }}{{ -9223372036854775807 }}
{{ true + true }}{{ true * 3 }}{{ -true }}{{ 'ab' * 2 }}{{ 2 * [1] }}{{ 'a' * -1 }}{{ [1] + [2] }}{{ (1,) + (2,) }}{{ 'a' * true }}
{{ [1] + (2,) }}
{{ 'a' + 1 }}
{{ 1 + 'a' }}
{{ 1 / 0 }}
{{ 1 % 0 }}
{{ 1.0 // 0 }}
{{ none + 1 }}
{{ tricky }}{{ tricky|string }}{{ tricky|tojson }}{{ tricky|join(',') }}{{ q }}{{ [q] }}{{ [esc] }}{{ [u] }}{{ ["a'b"] }}{{ ['a"b'] }}{{ ['\x00\x1f\x80\u200b\ufeff'] }}
{{ esc|tojson }}{{ u|tojson }}{{ u|tojson(ensure_ascii=true) }}{{ esc|tojson(ensure_ascii=True) }}{{ html|tojson }}{{ {'b':1,'a':2}|tojson(sort_keys=true) }}{{ d|tojson(indent=4) }}{{ []|tojson(indent=2) }}{{ {}|tojson(indent=2) }}{{ d|tojson(separators=(',',':')) }}{{ d|tojson(indent='\t') }}{{ {1:2,none:3,true:4,1.5:2}|tojson }}{{ [1.0, 1e20, 0.1]|tojson }}{{ (1,2)|tojson }}{{ d|tojson(false, 2) }}{{d|tojson(indent=0)}}
{{ {(1,2):1}|tojson }}
{{ d.items()|tojson }}
{{ range(3)|tojson }}
{{ l|map('string')|tojson }}
{{ {1:2,'a':1}|tojson(sort_keys=true) }}
{{ html|escape }}{{ html|e|e }}{{ html|safe }}{{ html|e ~ '<' }}{{ html|safe + '<' }}{{ '<' + html|safe }}{{ (html|safe)|upper + '<' }}{{ [html|safe] }}{{ html|forceescape }}{{ (html|safe).strip() + '<' }}{{ html|safe|string + '<' }}{{ html|safe|trim + '<' }}{{ html|safe|replace('b','c') + '<' }}{{ html|safe|lower|length }}
{{ lines|indent }}{{ lines|indent(2) }}{{ lines|indent(2, true) }}{{ lines|indent(2, first=true, blank=true) }}{{ lines|indent('> ') }}{{ lines|indent(width=3) }}{{ ''|indent }}{{ 'a'|indent(2,true) }}
{{ 5|indent }}
{{ s|truncate(8) }}{{ s|truncate(8,true) }}{{ s|truncate(8,false,'..',0) }}{{ s|truncate(20) }}{{ 'aaa bbb ccc ddd'|truncate(9) }}{{ 'aaabbbcccdddeee'|truncate(5, leeway=0) }}
{{ '3.7'|int }}{{ '0x1f'|int(base=16) }}{{ '0x1f'|int(0,16) }}{{ '1f'|int(0,16) }}{{ 'zz'|int(7) }}{{ none|int }}{{ '  5 '|int }}{{ '1_000'|int }}{{ '1__0'|int }}{{ 3.9|int }}{{ -3.9|int }}{{ '1e3'|int }}{{ '-7'|int }}{{ '+7'|int }}{{ '0b11'|int(0,2) }}{{ '0b11'|int(0,0) }}{{ true|int }}{{ 'inf'|int }}
{{ '1.5'|float }}{{ 'x'|float }}{{ 'x'|float(2) }}{{ '1e3'|float }}{{ 'inf'|float }}{{ 'nan'|float }}{{ '0x10'|float }}{{ ' 1.5 '|float }}{{ '1_0.5'|float }}{{ '-Infinity'|float }}{{ none|float }}{{ '.5'|float }}{{ '5.'|float }}{{ '.'|float }}{{ '1e'|float }}
{{ 42.55|round }}{{ 42.55|round(1,'floor') }}{{ 42|round }}{{ 2.5|round }}{{ 3.5|round }}{{ 2.675|round(2) }}{{ 1234|round(-2) }}{{ 1250.0|round(-2) }}{{ 42.1|round(0,'ceil') }}{{ 0.5|round|int }}{{ -0.4|round }}
{{ 'x'|round }}
{{ -5|abs }}{{ 5.5|abs }}{{ true|abs }}
{{ 'a b  c'|wordcount }}{{ u|wordcount }}{{ 'a/b c?d=é'|urlencode }}{{ {'a b':'c&d'}|urlencode }}{{ [('x','y z')]|urlencode }}
{{ strftime_now('%Y-%m-%d %H:%M:%S %d %B %Y %A %a %b %j %U %W %V %G %u %w %y %p %I %% %e %-d %D %F %T %R %c %x %X %Z%z %f %h %C %s|%_d|%k|%l|%^a|%r|%n|%t') }}
{% generation %}a{{ s }}{% set zq = 1 %}{% endgeneration %}{{ zq }}
{{ s is string and i is number }}{{ s is not none }}{{ i is odd or f }}{{ 4 is divisibleby 2 }}{{ 4 is divisibleby(3) }}{{ 'a' is in ['a'] }}{{ s is eq 'Hello World' }}{{ i is gt 3 }}{{ i is sameas 7 }}{{ none is sameas none }}{{ s is string is defined }}
{{ l|first }}{{ l|last }}{{ []|first }}{{ []|last }}{{ 'abc'|first }}{{ 'abc'|last }}{{ d|first }}{{ d|last }}
{{ l|map('string')|last }}
{% set x, y = 1, 2 %}{{ x }}{{ y }}{% set (a, b), c = (1, 2), 3 %}{{ a }}{{ b }}{{ c }}
{% set x, y = 1 %}
{% set x, y = [1] %}
{% set x, y = [1,2,3] %}
{% set true = 1 %}
{% for a, (b, c) in [(1,(2,3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% set g = l|map('string') %}{{ g|list }}{{ g|list }}{{ g is iterable }}{{ g is sequence }}{% if g %}T{% endif %}
{% set g = msgs|selectattr('role','eq','zz') %}{% if g %}T{% else %}F{% endif %}{{ g|first is defined }}
{{ (l|map('string'))[0] }}
{{ loop }}{% for a in [1] %}{% for b in [1,2] %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}
{% for a in l %}{% set outer = loop %}{% for b in [1] %}{{ outer.index }}{% endfor %}{% endfor %}
{% if %}{% endif %}
{% endif %}
{% if t %}
{{ a b }}
{{ }}
{{ a. }}
{{ a[ }}
{% unknown %}
{% for x in %}{% endfor %}
{% for x y in l %}{% endfor %}
{{ 'abc }}
{{ a|nofilter }}
{{ a is notest }}
{% if f %}{{ a|nofilter }}{% endif %}ok
{% if t %}{{ a|nofilter }}{% endif %}ok
{{ (a|nofilter) if f else 1 }}
{% break %}
{{ raise_exception('boom ' ~ i) }}
{{ a|first.b }}
{{ [1,2,3]|first|string + 'x' }}
{{ -1|abs }}{{ -l|length }}
{{ not t in l }}{{ not (t and f) }}{{ t and not f }}
{{ s[0]|lower ~ s[1:] }}{{ s[:5] ~ s[-1] }}{{ s.0 }}{{ s['0'] }}
{{ {'a':1}.a }}{{ {'a':{'b':2}}.a.b }}{{ [[1,2],[3]][0][1] }}{{ (1,2).0 }}
{{ msgs[0]['content'] is string }}{{ msgs[1].content is none }}{{ msgs[1].content or 'x' }}{{ msgs[1].tool_calls is defined }}{{ msgs[1].tool_calls }}{{ msgs[0].role == 'user' and 'a' or 'b' }}
{{ 'A' if msgs|selectattr('role','equalto','system')|list else 'B' }}
{{ msgs|length - 1 }}{{ msgs[msgs|length - 1].role }}{{ msgs[1:]|length }}{{ (msgs|last).role }}{{ msgs[::-1]|first == msgs|last }}
{{ s|upper|lower|title|replace('World','X')|trim|length }}
{{ x is defined and x > 2 }}{{ 2.50 }}{{ 3.0|int }}{{ 7|string + 's' }}{{ '7'|int + 1 }}
{{ ['a','b']|join(', ', attribute=none) }}{{ msgs|join(',', attribute='role') }}{{ msgs|join(',', 'role') }}
{{ 'abc'|list }}{{ 'abc'|map('upper')|join }}{{ 'abc'|reverse|string }}{{ 'abc'|select('in','ab')|list }}{{ l|select('odd')|list }}{{ l|reject('gt',1)|list }}{{ l|select('>', 1)|list }}
{{ d|dictsort(false,'value') }}
{{ {'b':2,'a':1}|dictsort(by='value') }}{{ {'b':2,'A':1}|dictsort }}{{ {'b':2,'A':1}|dictsort(true) }}{{ {'b':2,'a':1}|dictsort(reverse=true) }}
{% print s %}
{% set x = [] %}{% for i in range(3) %}{% set _ = x.append(i) %}{% endfor %}{{ x }}
{%- set a = {'x': [1]} -%}{%- set _ = a.x.append(2) -%}{{ a }}{%- set _ = a.update(y=3) -%}{{ a }}
{{ "a" if s == "x" else "b" ~ "c" }}{{ ("a" if s == "x" else "b") ~ "c" }}
{{ s|d('x')|upper }}{{ e|d('x') }}{{ e|d('x', true) }}{{ n|d('x') }}{{ n|d('x', boolean=true) }}
{{ s.foo }}{{ s.foo is defined }}{{ i.foo }}{{ n.foo }}{{ l.foo }}{{ n['foo'] }}{{ i[0] }}{{ l['0'] }}{{ l[99] }}{{ s[99] }}{{ l['x'] is defined }}
{{ n.foo.bar }}
{{ s.upper is callable }}{{ range is callable }}{{ s is callable }}
{{ m(1) if m is defined else 'nm' }}
{{ '\u00df'.upper() }}{{ 'ŉ'.upper() }}{{ 'İ'.lower()|length }}{{ 'ΑΣ'.lower() }}{{ 'ΑΣΑ'.lower() }}{{ 'ǆ'.title() }}{{ 'ﬁx'.title() }}{{ 'ﬁx'|title }}{{ 'ﬁx'.capitalize() }}{{ 'éa'.isalpha() }}{{ '²'.isdigit() }}{{ '²'.isdecimal() }}{{ '٣'.isdigit() }}{{ '½'.isalnum() }}{{ 'ª'.islower() }}{{ 'ǅ'.istitle() }}
{{ '\xa0a\u3000'.strip() == 'a' }}{{ '\x1ca'.strip() == 'a' }}{{ 'a\u200b'.strip()|length }}{{ 'xxaxx'.strip('x') }}{{ 'xyaxy'.strip('yx') }}{{ 'éaé'.strip('é') }}{{ 'xa'|trim('x') }}
'''

SEVERAL_LINES = [
    "  {{ 'c' }}  ",
    '  {% if t %}\n    yes\n  {% endif %}\nend',
    'a\n  {%+ if t %}\n    yes\n  {%+ endif +%}\nend',
    'x\n  {# c #}\n y\n',
    'x\r\ny\r{% if t %}\r\nz{% endif %}\n\n',
    '{% for x in l %}\n{{ x }}\n{% endfor %}\n',
    '{% for x in l -%}\n {{ x }} \n{%- endfor %}\n',
    '{{ s }}\n{{ s }}\n',
    '{{- s -}}\n  a',
    'a\n  {{- s }}\n',
    'a\n\t{%- if t %}\n b\n {%- endif %}\n',
    '{% set x %}\n a\n{% endset %}[{{ x }}]',
    '{% macro m() %}\n a\n{% endmacro %}[{{ m() }}]',
    'a {% if t %}b{% endif %} c',
    '  {% if t %}  b  {% endif %}  \n',
    '{% if t %}\n\n b{% endif %}\n\n',
    '{#- a -#}\n b {#- c #}\n\nd',
    '{% raw %}\n {% if %}\n  {% endraw %}\n x',
    'x {{ "a\nb" }}\n',
    '\n\n{% if t %}\nx\n{% endif %}',
    '{%if t%}a{%endif%}',
    '{{"a"}}{{"b"}}',
    '{{ {"a":{"b":1}} }}',
    '{{ {"a":{"b":1}}}}',
    '{{ "}}" }}',
    '{% if "%}" %}a{% endif %}',
    '{# {{ x }} {% y %} #}z',
    '{{ s }} {# unclosed',
    '{% if t',
    'a{{',
    '{',
    '{%',
    '}}',
    '%}',
    '{{ 1 }}}',
    '{ {{ 1 }} }',
    '{%- if t -%}   a   {%- else -%} b {%- endif -%}  ',
    '  \n {%- if t %} x{% endif %}',
    'a\n {{+ s }}',
    '{%+ if t %}a{%+ endif %}',
    '\t {% if t %}\n\t x\n\t {% endif %}\n',
    '\u3000{% if t %}x{% endif %}',
    'x\xa0{%- if t %}x{% endif -%}\u3000y',
    '{% if t %}\u2028{% endif %}',
]


def c_string(text, indent=5):
    """A C literal in lines of at most 110 columns; bytes above 0x7e as octal, which cannot run on into what follows."""
    pieces = []
    line = ""
    for b in text.encode("utf-8"):
        c = chr(b)
        out = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}.get(c)
        if out is None:
            out = c if 0x20 <= b <= 0x7E and c != "?" else "\\%03o" % b
        if len(line) + len(out) > 100:
            pieces.append(line)
            line = ""
        line += out
    pieces.append(line)
    return ("\n" + " " * indent).join('"%s"' % p for p in pieces)


def main():
    env = environment()
    print("/* SPDX-License-Identifier: Apache-2.0")
    print(" *")
    print(" * Made by tools/make_jinja_cases.py with jinja2 %s; do not edit. */" % jinja2.__version__)
    print("#ifndef TESTS_JINJA_CASES_H\n#define TESTS_JINJA_CASES_H\n")
    print("static const char jinja_case_variables[] =\n    %s;\n"
          % c_string(json.dumps(VARIABLES, ensure_ascii=False), 4))
    print("static const struct {\n    const char *source;\n    const char *output; /* NULL: an error */\n"
          "} jinja_cases[] = {")
    for source in [s for s in ONE_LINE.split("\n") if s] + SEVERAL_LINES:
        try:
            output = env.from_string(source).render(**copy.deepcopy(VARIABLES))
        except Exception:  # whatever Python raises, the template fails
            output = None
        print("    {%s,\n     %s}," % (c_string(source), "NULL" if output is None else c_string(output)))
    print("};\n\n#endif")


if __name__ == "__main__":
    main()
