#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright the metadata-exchange authors
#
# Starts an Envoy that knows who it is:  start.sh ENVOY -c BOOTSTRAP …
# Envoy merges the node that the generator writes into the bootstrap. If peers would not be told all of it, nothing is
# started.
set -eu
node=$("$(dirname "$0")/../../cli/metadata-exchange.js" node)
exec "$@" --config-yaml "$node"
