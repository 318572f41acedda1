#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Debian packages of the commit at hand, by dpkg-buildpackage and the recipe in packaging/debian.
#     tools/package_deb.sh [DIR]     packages go to DIR (default: build/deb)
# Needs debhelper and what the recipe's Build-Depends name; the changelog is made from the version and the commit, in the name of
# DEBFULLNAME and DEBEMAIL where they are set.
set -eu
cd "$(dirname "$0")/.."
out=$(mkdir -p "${1:-build/deb}" && cd "${1:-build/deb}" && pwd)
if ! command -v dpkg-buildpackage >/dev/null 2>&1 || ! command -v dh >/dev/null 2>&1; then
    echo "package_deb: dpkg-buildpackage or dh is missing: apt-get install dpkg-dev debhelper" >&2
    exit 1
fi
version=$(sed -n "s/^  version: '\(.*\)',$/\1/p" meson.build)
stamp=$(git log -1 --format=%ct)
tree=$(mktemp -d "$out/tree.XXXXXX")
trap 'rm -rf "$tree"' EXIT
mkdir "$tree/lamina-$version"
git archive HEAD | tar -x -C "$tree/lamina-$version"
cd "$tree/lamina-$version"
cp -R packaging/debian debian
{
    echo "lamina ($version) unstable; urgency=medium"
    echo
    echo "  * The tree as of this version; its history is the list of changes."
    echo
    echo " -- ${DEBFULLNAME:-lamina developers} <${DEBEMAIL:-lamina@localhost}>  $(date -u -R -d "@$stamp")"
} >debian/changelog
SOURCE_DATE_EPOCH=$stamp dpkg-buildpackage -b -us -uc
mv "$tree"/*.deb "$tree"/*.buildinfo "$tree"/*.changes "$out/"
ls -l "$out"/*.deb >&2
