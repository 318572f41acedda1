/* SPDX-License-Identifier: Apache-2.0
 * Shared by quant_open.c, which proves the shapes of a quantised matrix, quant_rows.c, which reads it, and quant_bnb.c. */
#ifndef FORMAT_QUANT_MATRIX_PRIV_H
#define FORMAT_QUANT_MATRIX_PRIV_H

#include "format/quant_matrix.h"

/* A zero point as it is stored. */
unsigned quant_zero_code(const struct quant_matrix *m, uint64_t row, uint64_t group);

/* Says what the tensor is and what was expected. Returns DAMAGED. */
lamina_status quant_unfit(const char *name, const char *what, const struct quant_tensor *t, const char *expected,
                          struct lamina_error *err);
/* The tensor is there, of one of the data types ("F32 F16"), and as long as its shape says. */
lamina_status quant_tensor_check(const char *name, const char *what, const struct quant_tensor *t, const char *dtypes,
                                 struct lamina_error *err);

#endif
