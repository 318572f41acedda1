/* SPDX-License-Identifier: Apache-2.0
 *
 * torch checkpoints (pytorch_model.bin): which tensor lies where. Two containers, told apart by their first bytes:
 *
 *     zip:     <top>/data.pkl, <top>/data/<key> (a storage each), <top>/byteorder ...       (torch 1.6 and later)
 *     legacy:  pickles of magic number, protocol, system, object, list of keys; then for each key, in the order of that
 *              list, [u64 LE: elements] [elements]
 *
 * A pickle is a program for a stack machine that may call anything. Here it is read as data: globals are compared with
 * a short list of names as text (torch_globals.c), nothing is imported, called or built, and what is not on the list is
 * refused by name. Rules: reference/reliability.md 5.8. Pure. */
#ifndef FORMAT_TORCH_FILE_H
#define FORMAT_TORCH_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/span.h"
#include "base/status.h"
#include "format/torch_zip.h"

enum { TORCH_MAX_RANK = 8, TORCH_MAX_PICKLE = 100000000 };

/* A tensor is a view: its element [i, j, ...] stands at offset + (i * strides[0] + j * strides[1] + ...) * item_bytes
 * of the file. Strides are never negative; every element lies inside the tensor's storage, so inside the file. */
struct torch_tensor {
    const char *name;      /* keys of nested dictionaries joined by dots; 0-ended, in the arena; "" for a lone tensor */
    char dtype[12];        /* as safetensors spells it */
    uint32_t rank, item_bytes;
    uint64_t shape[TORCH_MAX_RANK];
    uint64_t strides[TORCH_MAX_RANK]; /* in elements */
    uint64_t elements;
    uint64_t offset;       /* of the first element, from the start of the FILE */
    uint64_t bytes;        /* elements * item_bytes; below 2^53 */
    bool contiguous;       /* rows follow each other: the tensor is the span [offset, offset + bytes) */
};

struct torch_tensors {
    uint32_t count;
    struct torch_tensor *list; /* sorted by name, no name twice; in the arena */
    uint64_t skipped;          /* values that are no tensors, and what stands beside a "state_dict" */
};

/* Sets the arena's limit: the tables cost at most eight times the pickle and 1 MiB, and as much again while reading.
 * Time is linear in the pickle but for sorting. DAMAGED: not what it says it is, or a view that leaves its storage;
 * UNSUPPORTED: refers to anything but tensors, big-endian, compressed, or a data type without a name here. */
lamina_status torch_file_read(const struct torch_input *in, struct arena *arena, struct torch_tensors *out,
                              struct lamina_error *err);

#endif
