#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The tarball of a release, from the commit at hand: the program with its libraries inside, but libc's own, which dlopen needs, and
# those that the system has as shared ones only (Debian's Oniguruma), which go beside it into lib; the shared library, header,
# pkg-config file, manual pages, completion; and the licences of all libraries in it. The same commit built by the same compiler
# gives the same bytes.
#     tools/release.sh [DIR]     lamina-VERSION-OS-CPU.tar.gz and its .sha256 go to DIR (default: build/release)
# Run it on the oldest system that it shall serve: libc's symbols are those of the system that builds.
set -eu
export LC_ALL=C TZ=UTC
cd "$(dirname "$0")/.."
out=$(mkdir -p "${1:-build/release}" && cd "${1:-build/release}" && pwd)
version=$(sed -n "s/^  version: '\(.*\)',$/\1/p" meson.build)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
name=lamina-$version-$(uname -s | tr '[:upper:]' '[:lower:]')-$(uname -m)
work=$(mktemp -d "$out/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
umask 022
mkdir "$work/source"
git archive HEAD | tar -x -C "$work/source"
meson setup "$work/build" "$work/source" --prefix=/ --libdir=lib --buildtype=release -Dtests=disabled -Dprefer_static=true -Db_lto=false \
    -Dc_args="-ffile-prefix-map=$work/source=. -ffile-prefix-map=../source=. -g0" -Dc_link_args='-Wl,-rpath,$ORIGIN/../lib,--build-id=none' >&2
ninja -C "$work/build" installed >&2
DESTDIR="$work/$name" meson install -C "$work/build" --no-rebuild --quiet >&2
cp "$work/source/LICENSE" "$work/source/README.md" "$work/$name/"
allowed='linux-vdso|ld-linux|libc\.so|libm\.so|libdl\.so|libpthread\.so|librt\.so'
needed() { ldd "$@" | sed -n 's/^\t\([^ ]*\) => \(\/[^ ]*\) .*/\1 \2/p' | grep -Ev "^($allowed)|liblamina" | sort -u; }
needed "$work/$name/bin/lamina" "$work/$name/lib/liblamina.so" | while read -r library path; do
    cp -L "$path" "$work/$name/lib/$library"
    echo "$path" >>"$work/linked"
    echo "release: $library goes along; its static archive is not here" >&2
done
# Their licences ask that they come along: one file for each package that an archive of the link or a copied library is of.
licences=$work/$name/licenses
mkdir "$licences"
tr ' ' '\n' <"$work/build/build.ninja" | grep '^/.*\.a$' >>"$work/linked"
xargs realpath <"$work/linked" | sort -u | while read -r file; do
    package=$(dpkg -S "$file" | sed -n '1s/:.*//p')
    if [ -z "$package" ] || ! cp -L "/usr/share/doc/$package/copyright" "$licences/$package.txt"; then
        echo "release: $file is in the tarball, and the licence of its package \"$package\" is not on this machine" >&2
        exit 1
    fi
done
strip --strip-unneeded "$work/$name"/bin/* "$work/$name"/lib/*.so.*
if needed "$work/$name/bin/lamina" | grep -v " $work/" >&2; then
    echo "release: the program still needs the libraries above from the system" >&2
    exit 1
fi
tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=ustar -C "$work" -cf - "$name" |
    gzip -9n >"$out/$name.tar.gz"
(cd "$out" && sha256sum "$name.tar.gz" | tee "$name.tar.gz.sha256")
