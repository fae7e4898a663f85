#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes sure that a Docker engine answers. One that is there is taken as it is; root gets a running dockerd; anybody
# else is told what to do. install-packages.sh installs it.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
log=${TMPDIR:-/tmp}/dockerd.log

engine_answers() {
  docker info >/dev/null 2>&1
}

fail() {
  echo "$1" >&2
  exit 1
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

! engine_answers || exit 0
[ -z "${DOCKER_HOST:-}" ] || fail "No Docker engine answers at DOCKER_HOST=$DOCKER_HOST: start it, or unset that."
[ "$(id -u)" = 0 ] || fail "No Docker engine answers: start it, so that \`docker info\` works for this user."
start_engine
