// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

// Peer metadata exchange with the Go SDK of Proxy-Wasm, as its community writes filters: contexts of the SDK, structpb
// for the metadata, a map of decoded peers. The benchmark compares the project's own filter with it.
package main

import (
	"encoding/binary"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

const (
	metadataHeader = "x-istio-peer-metadata"
	idHeader       = "x-istio-peer-id"

	downstream   = "envoy.wasm.metadata_exchange.downstream"
	downstreamID = "envoy.wasm.metadata_exchange.downstream_id"
	upstream     = "envoy.wasm.metadata_exchange.upstream"
	upstreamID   = "envoy.wasm.metadata_exchange.upstream_id"
)

// Values of envoy.config.core.v3.TrafficDirection.
const (
	inbound  = 1
	outbound = 2
)

// The SDK's reactor: Envoy calls what the SDK exports, never main.
func main() {}

func init() {
	proxywasm.SetPluginContext(func(uint32) types.PluginContext { return &plugin{peers: newPeers()} })
}

type plugin struct {
	types.DefaultPluginContext
	own   identity
	peers *peers
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	node, err := proxywasm.GetProperty([]string{"xds", "node"})
	if err == nil {
		p.own, err = readIdentity(node)
	}
	if err != nil {
		proxywasm.LogErrorf("the host does not say which node this is: %v", err)
		return types.OnPluginStartStatusFailed
	}
	for _, declaration := range [][]byte{
		declareStruct(downstream), declareString(downstreamID), declareStruct(upstream), declareString(upstreamID),
	} {
		// Declared already by another configuration in this VM: as good.
		_, _ = proxywasm.CallForeignFunction("declare_property", declaration)
	}
	return types.OnPluginStartStatusOK
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext {
	return &stream{plugin: p}
}

type stream struct {
	types.DefaultHttpContext
	plugin             *plugin
	direction          uint64
	hadMetadata, hadID bool
}

func (s *stream) OnHttpRequestHeaders(int, bool) types.Action {
	s.direction = listenerDirection()
	if s.direction != outbound {
		var metadata, id string
		metadata, s.hadMetadata = found(proxywasm.GetHttpRequestHeader(metadataHeader))
		id, s.hadID = found(proxywasm.GetHttpRequestHeader(idHeader))
		s.publish(metadata, downstream, id, downstreamID)
	}
	if s.direction != inbound {
		setRequestHeader(metadataHeader, s.plugin.own.metadata)
		setRequestHeader(idHeader, s.plugin.own.id)
		return types.ActionContinue
	}
	if s.hadMetadata {
		setRequestHeader(metadataHeader, "")
	}
	if s.hadID {
		setRequestHeader(idHeader, "")
	}
	return types.ActionContinue
}

func (s *stream) OnHttpResponseHeaders(int, bool) types.Action {
	if s.direction != inbound {
		metadata, _ := found(proxywasm.GetHttpResponseHeader(metadataHeader))
		id, _ := found(proxywasm.GetHttpResponseHeader(idHeader))
		s.publish(metadata, upstream, id, upstreamID)
	}
	var metadata, id string
	if s.hadMetadata {
		metadata = s.plugin.own.metadata
	}
	if s.hadID {
		id = s.plugin.own.id
	}
	setResponseHeader(metadataHeader, metadata)
	setResponseHeader(idHeader, id)
	return types.ActionContinue
}

// publish passes on to other filters what the peer says of itself.
func (s *stream) publish(metadata, name, id, idName string) {
	if bytes := s.plugin.peers.decode(metadata); bytes != nil {
		set(name, bytes)
	}
	if id != "" {
		set(idName, []byte(id))
	}
}

func listenerDirection() uint64 {
	value, err := proxywasm.GetProperty([]string{"xds", "listener_direction"})
	if err != nil || len(value) != 8 {
		return 0
	}
	return binary.LittleEndian.Uint64(value)
}

// found tells an absent header from an empty one.
func found(value string, err error) (string, bool) {
	return value, err == nil
}

// setRequestHeader leaves our value in place of all copies, or no copy if there is no value.
func setRequestHeader(name, value string) {
	if value == "" {
		logFailure(proxywasm.RemoveHttpRequestHeader(name))
	} else {
		logFailure(proxywasm.ReplaceHttpRequestHeader(name, value))
	}
}

func setResponseHeader(name, value string) {
	if value == "" {
		logFailure(proxywasm.RemoveHttpResponseHeader(name))
	} else {
		logFailure(proxywasm.ReplaceHttpResponseHeader(name, value))
	}
}

func set(name string, value []byte) {
	logFailure(proxywasm.SetProperty([]string{name}, value))
}

func logFailure(err error) {
	if err != nil {
		proxywasm.LogErrorf("a host call failed: %v", err)
	}
}
