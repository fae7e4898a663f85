#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes sure that these commands are there: install-tools.sh openssl ip iptables ... Root on Debian or Ubuntu gets the
# distribution's packages; anybody else is told what is missing.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

fail() {
  echo "$1" >&2
  exit 1
}

package_of() {
  case $1 in
    ip) echo iproute2 ;;
    setpriv) echo util-linux ;;
    *) echo "$1" ;;
  esac
}

missing=
for tool in "$@"; do
  command -v "$tool" >/dev/null || missing+=" $(package_of "$tool")"
done
[ -n "$missing" ] || exit 0

id=$(. /etc/os-release 2>/dev/null && echo "${ID:-}") || true
[[ $(id -u) == 0 && ($id == debian || $id == ubuntu) ]] ||
  fail "Not installed here, and needed:$missing (the names of Debian's packages). Install them."
echo "==> apt-get install$missing"
# A failure of the update is not the end: the lists may have all that is needed.
apt-get update -qq || true
# shellcheck disable=SC2086 # several words on purpose
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
  fail "apt-get could not install$missing: install them yourself."
