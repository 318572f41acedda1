#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs what is missing to build (and with "test" to test) lamina on Debian and Ubuntu; elsewhere says what is needed.
#     tools/install_deps.sh build|test
# Output goes to stderr. Exit 1 when something needed is still missing; what only some tests want is asked for, not needed.
set -u
exec >&2
what=${1:-build}
need=() want=()

command_needs() { command -v "$1" >/dev/null 2>&1 || need+=("$2"); }
library_needs() { pkg-config --exists "$1" 2>/dev/null || need+=("$2"); }
command_wants() { command -v "$1" >/dev/null 2>&1 || want+=("$2"); }

find_missing() {
    need=() want=()
    command_needs cc build-essential
    command_needs meson meson
    command_needs ninja ninja-build
    command_needs python3 python3
    command_needs pkg-config pkg-config
    library_needs libxxhash libxxhash-dev
    library_needs libcrypto libssl-dev
    library_needs libcurl libcurl4-openssl-dev
    library_needs libedit libedit-dev
    library_needs libmicrohttpd libmicrohttpd-dev
    library_needs oniguruma libonig-dev
    library_needs libutf8proc libutf8proc-dev
    pkg-config --exists liburing 2>/dev/null || want+=(liburing-dev)
    if [ "$what" = test ]; then
        library_needs cmocka libcmocka-dev
        command_needs objdump binutils
        command_wants clang clang
        command_wants aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
        command_wants qemu-aarch64-static qemu-user-static
        command_wants setpriv util-linux
        command_wants mandoc mandoc
    fi
}

find_missing
[ $((${#need[@]} + ${#want[@]})) -gt 0 ] || exit 0
packages=("${need[@]}" "${want[@]}")
echo "missing here: ${packages[*]}"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        as_root=(sudo -n)
    else
        echo "not root and no sudo without a password; install them yourself: apt-get install ${packages[*]}"
        [ ${#need[@]} -eq 0 ]
        exit
    fi
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "no apt-get here; the names above are those of Debian's packages"
    [ ${#need[@]} -eq 0 ]
    exit
fi
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq || true
if [ ${#need[@]} -gt 0 ]; then
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${need[@]}" >/dev/null || true
fi
for package in "${want[@]}"; do
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$package" >/dev/null ||
        echo "could not install $package; what wants it is left out"
done
find_missing
if [ ${#need[@]} -gt 0 ]; then
    echo "still missing: ${need[*]}"
    exit 1
fi
