#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes sure that there is what tests with certificates and network namespaces need: openssl, ip, iptables, setpriv. What
# is there is taken as it is; root on Debian or Ubuntu gets the distribution's packages; anybody else is told what is missing.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

fail() {
  echo "$1" >&2
  exit 1
}

declare -A package=([openssl]=openssl [ip]=iproute2 [iptables]=iptables [setpriv]=util-linux)

missing=()
for tool in "${!package[@]}"; do
  command -v "$tool" >/dev/null || missing+=("${package[$tool]}")
done
[ ${#missing[@]} -gt 0 ] || exit 0

id=$(. /etc/os-release 2>/dev/null && echo "${ID:-}") || true
[[ $(id -u) == 0 && ($id == debian || $id == ubuntu) ]] ||
  fail "The tests need ${missing[*]}: install what these are called on your system."
echo "==> network tools: apt-get install ${missing[*]}"
# A failure of the update is not the end: the lists may have all that is needed.
apt-get update -qq || true
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
  fail "apt-get could not install ${missing[*]}: install them yourself."
