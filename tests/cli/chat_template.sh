#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A chat template of the user's in place of the model's: from a file, by name, from the environment, and what is wrong with one.
# shellcheck source=tests/cli/lib/tap.bash
. "$(dirname "$0")/lib/tap.bash"
make_model "$scratch/model" --tokenizer --layers 2
model=$scratch/model
turn='[{"role":"user","content":"Hi"}]'
cd "$scratch" || exit 1
case $lamina in /*) ;; *) lamina=$OLDPWD/$lamina ;; esac

printf '%s' "{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}{{ word }}" >mine.jinja
printf '%s\n' 'one' '{% if x %}' '  {{ 1 + }}' '{% endif %}' >broken.jinja
printf '%s\n' 'one' '{% if x %}' >open.jinja
: >empty.jinja
printf '%s' 'A{{ messages[0].content }}' >chatglm

input=$turn prints 'template: the model'"'"'s own' '<|user|>Hi<s>' "$lamina" template "$model"
input=$turn prints 'template: a file' '[user]Hi</s>' "$lamina" template "$model" --chat-template mine.jinja
input=$turn prints 'template: by the environment' '[user]Hi</s>' env LAMINA_CHAT_TEMPLATE=mine.jinja "$lamina" template "$model"
input=$turn prints 'template: a flag is stronger than the environment' '[user]Hi</s>' \
    env LAMINA_CHAT_TEMPLATE=none.jinja "$lamina" template "$model" --chat-template mine.jinja
input=$turn prints 'template: with variables' '[user]Hi</s>!' \
    "$lamina" template "$model" --chat-template mine.jinja --chat-template-kwargs '{"word": "!"}'
input=$turn prints 'template: a built-in format' 'Hi' "$lamina" template "$model" --chat-template chatglm
input=$turn prints 'template: a file of the same name' 'AHi' "$lamina" template "$model" --chat-template ./chatglm
"$lamina" split "$model" -o "$scratch/store" >/dev/null 2>&1
input=$turn prints 'template: of a store' '[user]Hi</s>' "$lamina" template "$scratch/store" --chat-template mine.jinja

for command in 'template MODEL' 'run MODEL Hi -n 2'; do
    name=${command%% *}
    input=$turn
    # shellcheck disable=SC2086
    {
        refuses "$name: no such file" 3 "lamina: chat template none.jinja: there is no such file, and no built-in chat format of this \
name (there are chatml, baichuan, baichuan2, chatglm, chatglm3, chatglm2, internlm, llama2)" \
            "$lamina" ${command//MODEL/$model} --chat-template none.jinja
        fails "$name: a mistake has line and column" 8 'broken\.jinja: chat template: line 3, column 10: ' \
            "$lamina" ${command//MODEL/$model} --chat-template broken.jinja
        fails "$name: a block left open" 8 'open\.jinja: chat template: line [23], column [0-9]+: ' \
            "$lamina" ${command//MODEL/$model} --chat-template open.jinja
        refuses "$name: an empty file" 8 'lamina: chat template empty.jinja: the file is empty' \
            "$lamina" ${command//MODEL/$model} --chat-template empty.jinja
        fails "$name: a folder" 9 'is a directory' "$lamina" ${command//MODEL/$model} --chat-template "$scratch"
        refuses "$name: a format whose tokens are not there" 9 \
            'lamina: chat format chatml: this tokenizer has no token <|im_start|>; give a file with a template' \
            "$lamina" ${command//MODEL/$model} --chat-template chatml
        fails "$name: no value" 2 'chat-template' "$lamina" ${command//MODEL/$model} --chat-template
    }
done
input=

run() { "$lamina" run "$model" "$@" -n 6 --temp 0 --ignore-eos -q; }
go run 'Hi' --chat-template mine.jinja --json
[ "$status" -eq 0 ] && grep -q 'prompt_tokens": 9,' <<<"$out"
ok 'run: the prompt is what the template makes of it, end token and all'
mine=$(run 'Hi' --chat-template mine.jinja)
[ -n "$mine" ] && [ "$mine" != "$(run 'Hi')" ] && [ "$mine" = "$(LAMINA_CHAT_TEMPLATE=mine.jinja run 'Hi')" ]
ok 'run: another answer, and the same one by the environment'
[ "$(run 'Hi' --raw)" = "$(run 'Hi' --raw --chat-template broken.jinja)" ]
ok 'run: --raw wins'

printf '%s\n' '{"prompt": "Hi", "answer": "x"}' >tasks
go "$lamina" bench "$model" --tasks tasks -p 0 -n 2 -r 1 --memory 24MiB --chat-template broken.jinja --format json
[ "$status" -ne 0 ] && grep -q 'broken.jinja: chat template: line 3' "$scratch/stdout" "$scratch/stderr"
ok 'bench: tasks are asked by the template'
go "$lamina" bench "$model" --tasks tasks -p 0 -n 2 -r 1 --memory 24MiB --chat-template mine.jinja --format json
[ "$status" -eq 0 ]
ok 'bench: with a template that can be read'
fails 'a command that renders nothing has no such option' 2 'chat-template' "$lamina" plan "$model" --chat-template mine.jinja
finish
