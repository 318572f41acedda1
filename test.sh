#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Everything that proves this tree: installs what is missing, builds, runs all tests. Ends with "N passed, N failed" and,
# when some could not run here, ", N skipped". Writes only under build/. Arguments go to tools/run_tests.py (--help).
set -u
cd "$(dirname "$0")" || exit 1
tools/install_deps.sh test || { echo "0 passed, 1 failed"; exit 1; }
exec python3 tools/run_tests.py "$@"
