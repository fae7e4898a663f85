#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes sure that what the project runs beside Node is on the machine:
#   install-packages.sh docker ip h2load           fails if one of them is missing and cannot be installed
#   install-packages.sh h2load -- rust go          the same, but what comes after `--` may stay missing
# Root on Debian or Ubuntu gets the distribution's packages; one line says which, before anything is installed.
# INSTALL=0 forbids that. Who may not install is told what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

fail() {
  echo "$*" >&2
  exit 1
}

# Whether a Rust compiler here has a standard library for WebAssembly.
has_rust() {
  local rustc folder
  for rustc in rustc /usr/bin/rustc; do
    folder=$("$rustc" --print target-libdir --target wasm32-unknown-unknown) || continue
    compgen -G "$folder/libstd-*.rlib" && return
  done
  return 1
}

is_here() {
  case $1 in
    # Where DOCKER_HOST names an engine, it is that one that has to answer: see start-docker.sh.
    docker) [ -n "${DOCKER_HOST:-}" ] || docker info || { command -v docker && command -v dockerd; } ;;
    compose) docker compose version || docker-compose version ;;
    # One that is too old will do: it can download a newer one.
    go) command -v go /usr/local/go/bin/go /usr/lib/go/bin/go .cache/go/toolchain/bin/go ;;
    rust) has_rust ;;
    # Debian keeps the server out of the way of commands, in a folder of its version.
    postgres) compgen -G '/usr/lib/postgresql/*/bin/postgres' && command -v psql ;;
    redis) command -v redis-server && command -v redis-cli && command -v redis-benchmark ;;
    # Any will do; Ubuntu's own package needs snap.
    chromium) command -v chromium chromium-browser google-chrome ;;
    *) command -v "$1" ;;
  esac >/dev/null 2>&1
}

# Whether the distribution has a package.
exists() {
  apt-cache policy "$1" 2>/dev/null | grep -q 'Candidate: [0-9]'
}

packages_of() {
  case $1 in
    docker)
      # Root certificates are for pulling images.
      echo docker.io ca-certificates
      # The client has a package of its own since Debian 13.
      command -v docker >/dev/null || ! exists docker-cli || echo docker-cli
      ;;
    # Ubuntu calls the current one -v2; on Debian there is one package, whatever its version.
    compose) if exists docker-compose-v2; then echo docker-compose-v2; else echo docker-compose; fi ;;
    ip) echo iproute2 ;;
    setpriv) echo util-linux ;;
    h2load) echo nghttp2-client ;;
    go) echo golang-go ca-certificates ;;
    postgres) echo postgresql ;;
    redis) echo redis-server redis-tools ;;
    # Its letters are those of the pictures in the documentation.
    chromium) echo chromium fonts-inter ;;
    rust) echo rustc cargo libstd-rust-dev-wasm32 lld gcc libc6-dev ;;
    *) echo "$1" ;;
  esac
}

# Of these the ones that are not here.
missing_of() {
  local each
  for each in "$@"; do is_here "$each" || echo "$each"; done
}

is_installed() {
  dpkg-query --show --showformat='${Status}' "$1" 2>/dev/null | grep -q 'install ok installed'
}

# The packages of these that are not installed, on one line.
wanted_for() {
  local each package
  for each in "$@"; do
    for package in $(packages_of "$each"); do
      is_installed "$package" || echo "$package"
    done
  done | sort -u | xargs
}

may_install() {
  local id
  id=$(. /etc/os-release 2>/dev/null && echo "${ID:-}") || true
  [[ ${INSTALL:-} != 0 && $(id -u) == 0 && ($id == debian || $id == ubuntu) ]]
}

# shellcheck disable=SC2086 # here and below: several words on purpose
install() {
  [ -z "$1" ] || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $1 >/dev/null
}

needed='' optional='' may_stay=
for each in "$@"; do
  if [ "$each" = -- ]; then
    may_stay=yes
  elif ! is_here "$each"; then
    if [ -n "$may_stay" ]; then optional+=" $each"; else needed+=" $each"; fi
  fi
done
[ -n "$needed$optional" ] || exit 0

# shellcheck disable=SC2086
if may_install; then
  # A failure is not the end: the lists may have all that is needed.
  apt-get update -qq >/dev/null || true
  packages=$(wanted_for $needed $optional)
  if [ -n "$packages" ]; then
    echo "==> system packages, to be installed now by apt-get: $packages (INSTALL=0 forbids it)"
    install "$packages" || install "$(wanted_for $needed)" || true
  fi
  needed=$(missing_of $needed)
fi
# shellcheck disable=SC2086
[ -z "$needed" ] || fail "Missing here, and needed:" $needed "(Debian's packages: $(wanted_for $needed)). Install them."
