#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the benchmark sends requests with: h2load, Debian's package nghttp2-client. Installs it as root on Debian or Ubuntu.
set -euo pipefail

command -v h2load >/dev/null && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "==> h2load: installing the package nghttp2-client"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq nghttp2-client >/dev/null
else
  echo "make bench needs h2load: install the package nghttp2-client (nghttp2 elsewhere)" >&2
  exit 1
fi
