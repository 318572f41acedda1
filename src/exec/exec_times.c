/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the time of passes goes, part by part: the embedding, every layer, the head. The stream and the device count for
 * themselves; between two parts only the thread that runs passes is awake, so differences of their totals belong to one part. */
#include "exec/exec_priv.h"

static void totals_now(const struct exec *e, struct exec_part *t) {
    struct stream_stats stream;
    struct dev_times times = {0};
    struct dev_caps caps;
    stream_statistics(e->stream, &stream);
    e->o.dev->table->times(e->o.dev, &times);
    e->o.dev->table->caps(e->o.dev, &caps);
    *t = (struct exec_part){
        .pass_ns = sys_now_ns(),
        .compute_ns = times.compute_ns,
        .read_wait_ns = stream.wait_ns / caps.workers,
        .verify_ns = stream.verify_ns / caps.workers,
    };
}

void exec_times_begin(struct exec *e) {
    totals_now(e, &e->mark);
}

void exec_times_end(struct exec *e, uint32_t part) {
    struct exec_part before = e->mark;
    struct exec_part *sum = &e->parts[part];
    totals_now(e, &e->mark);
    sum->pass_ns += e->mark.pass_ns - before.pass_ns;
    sum->compute_ns += e->mark.compute_ns - before.compute_ns;
    sum->read_wait_ns += e->mark.read_wait_ns - before.read_wait_ns;
    sum->verify_ns += e->mark.verify_ns - before.verify_ns;
}

bool exec_part_times(const struct exec *e, uint32_t part, struct exec_part *out) {
    if (part >= e->desc->layers + 2) {
        return false;
    }
    *out = e->parts[part];
    return true;
}
