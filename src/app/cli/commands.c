/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of commands. The build's writer of manual pages and completion has the words of it alone (CLI_WORDS_ONLY).
 */
#include "app/cli/cli.h"

#ifdef CLI_WORDS_ONLY
#define RUNS(function) NULL
#else
#define RUNS(function) function
#endif

const struct cli_command cli_commands[CMD_COUNT] = {
    [CMD_RUN] = {"run", "MODEL [TEXT]", "answer TEXT once; reads stdin when TEXT is not given", 1, 2, RUNS(cmd_run)},
    [CMD_CHAT] = {"chat", "MODEL", "talk with the model; /help lists what can be done", 1, 1, RUNS(cmd_chat)},
    [CMD_SERVE] = {"serve", "MODEL", "answer over HTTP: OpenAI's and others' interfaces, and a page", 1, 1, RUNS(cmd_serve)},
    [CMD_PULL] = {"pull", "ORG/NAME[@REV]", "fetch a model from the hub into its cache, or what is missing of it", 1, 1,
                  RUNS(cmd_pull)},
    [CMD_SPLIT] = {"split", "MODEL", "make or complete the model's store", 1, 1, RUNS(cmd_split)},
    [CMD_PLAN] = {"plan", "MODEL", "say what a run will take, without running", 1, 1, RUNS(cmd_plan)},
    [CMD_VERIFY] = {"verify", "MODEL", "check every byte of the model's store", 1, 1, RUNS(cmd_verify)},
    [CMD_SHOW] = {"show", "MODEL", "describe the model's store: files, matrices, tiles", 1, 1, RUNS(cmd_show)},
    [CMD_LS] = {"ls", "", "the models of the hub's cache and the stores of the home", 0, 0, RUNS(cmd_ls)},
    [CMD_RM] = {"rm", "ORG/NAME|STORE", "remove a model from the hub's cache, or a store", 1, 1, RUNS(cmd_rm)},
    [CMD_PS] = {"ps", "", "the processes that hold a model, and the memory they take", 0, 0, RUNS(cmd_ps)},
    [CMD_BENCH] = {"bench", "MODEL", "measure a matrix of configurations and say which to choose", 1, 1, RUNS(cmd_bench)},
    [CMD_BENCH_CELL] = {"bench-cell", "MODEL", NULL, 1, 1, RUNS(cmd_bench_cell)},
    [CMD_BENCH_TASKS] = {"bench-tasks", "MODEL", NULL, 1, 1, RUNS(cmd_bench_tasks)},
    [CMD_BENCH_TEXT] = {"bench-text", "MODEL FILE", NULL, 2, 2, RUNS(cmd_bench_text)},
    [CMD_FAMILIES] = {"families", "[DIR]", "the supported model families; with a checkpoint, the one that reads it", 0, 1,
                      RUNS(cmd_families)},
    [CMD_DOCTOR] = {"doctor", "[PATH]", "what this machine and the drive under PATH can do, and what to mend", 0, 1,
                    RUNS(cmd_doctor)},
    [CMD_LOGITS] = {"logits", "MODEL", "logits and greedy tokens for given ids", 1, 1, RUNS(cmd_logits)},
    [CMD_PPL] = {"ppl", "MODEL FILE", "perplexity of the text in FILE", 2, 2, RUNS(cmd_ppl)},
    [CMD_KL] = {"kl", "MODEL FILE", "how far a model is from a reference, on the text in FILE", 2, 2, RUNS(cmd_kl)},
    [CMD_TOKENIZE] = {"tokenize", "MODEL", "text on stdin to token ids", 1, 1, RUNS(cmd_tokenize)},
    [CMD_DETOKENIZE] = {"detokenize", "MODEL", "token ids on stdin to text", 1, 1, RUNS(cmd_detokenize)},
    [CMD_TEMPLATE] = {"template", "MODEL", "a JSON list of messages on stdin to the prompt text", 1, 1, RUNS(cmd_template)},
    [CMD_COMPLETION] = {"completion", "bash|zsh|fish", "print a shell completion script", 1, 1, RUNS(cmd_completion)},
    [CMD_VERSION] = {"version", "", "print the version", 0, 0, RUNS(cmd_version)},
};
