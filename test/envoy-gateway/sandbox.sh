#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the metadata-exchange authors
# A machine on which Envoy Gateway finds what its pods have: a network of its own, /certs, and the name of its service.
# `unshare --net --mount --pid --fork` runs this; it stays until it is killed. FOLDER has `certs` and `hosts`, and
# `root`, which becomes the tree of files. Nothing of the machine around it is changed.
set -euo pipefail
folder=$1
root=$folder/root
mount -t tmpfs none "$root"
for each in /*; do
  if [ -L "$each" ]; then
    cp -a "$each" "$root"
  elif [ -d "$each" ] && [ "$each" != /proc ]; then
    mkdir "$root$each"
    mount --rbind "$each" "$root$each"
  fi
done
mkdir "$root/proc" "$root/certs"
mount -t proc none "$root/proc"
mount --bind "$folder/certs" "$root/certs"
mount --bind "$folder/hosts" "$root/etc/hosts"
ip link set lo up
echo ready
exec chroot "$root" sleep infinity
