#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes sure that a Docker engine answers, and compose. What is there is taken as it is; root on Debian or Ubuntu gets
# the distribution's packages, and a running dockerd; anybody else is told what is missing.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
log=${TMPDIR:-/tmp}/dockerd.log

engine_answers() {
  docker info >/dev/null 2>&1
}

compose_answers() {
  docker compose version >/dev/null 2>&1 || docker-compose version >/dev/null 2>&1
}

fail() {
  echo "$1" >&2
  exit 1
}

need_root_on_debian() {
  local id
  id=$(. /etc/os-release 2>/dev/null && echo "${ID:-}") || true
  [[ $(id -u) == 0 && ($id == debian || $id == ubuntu) ]] || fail "$1"
}

update_once() {
  [ -z "${updated:-}" ] || return 0
  updated=yes
  # A failure is not the end: what is needed may be in the lists already, and if not, the installation says so.
  apt-get update -qq || true
}

install() {
  update_once
  echo "==> Docker: apt-get install $*"
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null ||
    fail "apt-get could not install $*: install Docker with compose yourself, so that \`docker info\` works."
}

has_package() {
  update_once
  apt-cache policy "$1" | grep -q 'Candidate: [0-9]'
}

install_engine() {
  # Root certificates are for pulling images.
  install docker.io ca-certificates
  # The client has a package of its own since Debian 13.
  command -v docker >/dev/null || install docker-cli
}

# A killed engine leaves its process number behind, which may be another process's by now: dockerd would not start.
forget_the_dead() {
  local file
  for file in /var/run/docker.pid /var/run/docker/containerd/containerd.pid; do
    [ ! -f "$file" ] || grep -qsE 'dockerd|containerd' "/proc/$(cat "$file")/comm" || rm -f "$file"
  done
}

start_engine() {
  if [ -d /run/systemd/system ]; then
    systemctl start docker
  else
    echo "==> Docker: starting dockerd; its log is $log, \`kill \$(cat /var/run/docker.pid)\` ends it"
    forget_the_dead
    setsid nohup dockerd >"$log" 2>&1 </dev/null &
  fi
  for _ in $(seq 60); do
    engine_answers && return
    sleep 1
  done
  fail "The Docker engine was started but does not answer after 60 seconds: $log may say why."
}

if ! engine_answers; then
  [ -z "${DOCKER_HOST:-}" ] || fail "The Docker engine that DOCKER_HOST names ($DOCKER_HOST) does not answer: start it, or unset DOCKER_HOST."
  need_root_on_debian "No Docker engine answers: install Docker with compose and start it, so that \`docker info\` works for this user."
  command -v dockerd >/dev/null || install_engine
  start_engine
fi

if ! compose_answers; then
  need_root_on_debian "Docker has no compose here: install its compose plugin, so that \`docker compose version\` works."
  # Ubuntu calls the current one -v2; on Debian there is one package, whatever its version.
  if has_package docker-compose-v2; then install docker-compose-v2; else install docker-compose; fi
fi
