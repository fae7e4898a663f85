#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the mesh's init container does, once, inside a pod's network namespace: from then on the application's traffic
# passes the sidecar, both ways, and neither side needs to know.
#
#   init-iptables.sh            inbound by REDIRECT, as Open Service Mesh does
#   init-iptables.sh --tproxy   inbound by TPROXY: addresses stay as they are
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# The sidecar's own traffic is known by its group.
SIDECAR=1500
INBOUND=15003
OUTBOUND=15001

# Outbound: everything but what the sidecar sends, and what stays in the pod.
iptables -t nat -N PROXY_OUTPUT
iptables -t nat -A OUTPUT -p tcp -j PROXY_OUTPUT
iptables -t nat -A PROXY_OUTPUT -m owner --gid-owner "$SIDECAR" -j RETURN
iptables -t nat -A PROXY_OUTPUT -d 127.0.0.0/8 -j RETURN
iptables -t nat -A PROXY_OUTPUT -p tcp -j REDIRECT --to-ports "$OUTBOUND"

# Inbound: whatever comes from outside.
if [ "${1:-}" = --tproxy ]; then
  iptables -t mangle -N PROXY_INBOUND
  iptables -t mangle -A PREROUTING -i eth0 -p tcp -j PROXY_INBOUND
  # Answers to connections that the pod itself opened.
  iptables -t mangle -A PROXY_INBOUND -m conntrack --ctdir REPLY -j RETURN
  iptables -t mangle -A PROXY_INBOUND -p tcp -j TPROXY --on-port "$INBOUND" --tproxy-mark 1
  # What is marked is for this machine, whatever its address.
  ip rule add fwmark 1 lookup 100
  ip route add local 0.0.0.0/0 dev lo table 100
else
  iptables -t nat -N PROXY_INBOUND
  iptables -t nat -A PREROUTING -i eth0 -p tcp -j PROXY_INBOUND
  iptables -t nat -A PROXY_INBOUND -p tcp -j REDIRECT --to-ports "$INBOUND"
fi
