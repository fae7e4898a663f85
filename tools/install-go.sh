#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the metadata-exchange authors
# Says where there is a Go that builds test/istio/go and tools/go. One of the usual places if it is new enough or can
# get itself what it lacks; else the distribution's, which install-packages.sh installs where it may, and with that,
# where it is too old, the toolchain that Go publishes as a module, at .cache/go/toolchain.
set -euo pipefail
cd "$(dirname "$0")/.."
toolchain=go1.26.8
own=.cache/go/toolchain

say() {
  echo "$1" >&2
}

fail() {
  say "$1"
  exit 1
}

# An old Go does not understand the version in go.mod, or may not switch to it.
serves() {
  command -v "$1" >/dev/null && (cd test/istio/go && "$1" list -m) >/dev/null 2>&1
}

answer() {
  command -v "$1"
  exit
}

for go in go /usr/local/go/bin/go "$PWD/$own/bin/go"; do
  ! serves "$go" || answer "$go"
done

old=$(command -v go || command -v /usr/lib/go/bin/go) || {
  tools/install-packages.sh go >&2 ||
    fail "Go 1.26 or later will do, or 1.21 or later with GOTOOLCHAIN=auto, so that \`go version\` works."
  old=/usr/lib/go/bin/go
  ! serves "$old" || answer "$old"
}

platform=$("$old" env GOOS)-$("$old" env GOARCH)
say "==> Go: $old is too old; downloading $toolchain for $platform as a module"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
folder=$(cd "$work" && "$old" mod init toolchain 2>/dev/null &&
  "$old" mod download -json "golang.org/toolchain@v0.0.1-$toolchain.$platform" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p') || true
[ -n "$folder" ] || fail "The toolchain could not be downloaded: install Go 1.26 or later yourself."
rm -rf "$own" "$own.new"
mkdir -p "$(dirname "$own")"
cp -r "$folder" "$own.new"
# Modules have no executable files, and may not be written.
chmod -R u+w "$own.new"
chmod +x "$own.new"/bin/* "$own.new"/pkg/tool/*/*
mv "$own.new" "$own"
serves "$PWD/$own/bin/go" || fail "The Go at $own does not build test/istio/go."
answer "$PWD/$own/bin/go"
