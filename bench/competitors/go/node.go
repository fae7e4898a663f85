// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

package main

import (
	"encoding/base64"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

const metadataKey = "istio.io/metadata"

// identity is what this proxy says of itself: the values of the two headers, empty if there is none.
type identity struct {
	metadata, id string
}

// readIdentity reads a serialized envoy.config.core.v3.Node: 1 id, 2 cluster, 3 metadata. Its generated type would
// bring all of Envoy's configuration into the module.
func readIdentity(node []byte) (identity, error) {
	var id, cluster string
	metadata := &structpb.Struct{}
	for len(node) > 0 {
		number, kind, size := protowire.ConsumeTag(node)
		if size < 0 {
			return identity{}, protowire.ParseError(size)
		}
		node = node[size:]
		size = protowire.ConsumeFieldValue(number, kind, node)
		if size < 0 {
			return identity{}, protowire.ParseError(size)
		}
		if kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(node)
			switch number {
			case 1:
				id = string(value)
			case 2:
				cluster = string(value)
			case 3:
				if err := proto.Unmarshal(value, metadata); err != nil {
					return identity{}, err
				}
			}
		}
		node = node[size:]
	}
	if id == "" {
		id = cluster
	}
	own := metadata.GetFields()[metadataKey].GetStructValue()
	if own == nil {
		return identity{id: id}, nil
	}
	// All workers send the same bytes.
	bytes, err := proto.MarshalOptions{Deterministic: true}.Marshal(own)
	return identity{metadata: base64.StdEncoding.EncodeToString(bytes), id: id}, err
}

// Fields of envoy.source.extensions.common.wasm.DeclarePropertyArguments, and the values used here.
const (
	nameField   = 1
	typeField   = 3
	schemaField = 4
	spanField   = 5

	stringType        = 1
	protobufType      = 3
	downstreamRequest = 1
)

func declareStruct(name string) []byte {
	return declare(name, protobufType, "type.googleapis.com/google.protobuf.Struct")
}

func declareString(name string) []byte {
	return declare(name, stringType, "")
}

func declare(name string, kind uint64, schema string) []byte {
	var message []byte
	message = protowire.AppendTag(message, nameField, protowire.BytesType)
	message = protowire.AppendString(message, name)
	message = protowire.AppendTag(message, typeField, protowire.VarintType)
	message = protowire.AppendVarint(message, kind)
	message = protowire.AppendTag(message, schemaField, protowire.BytesType)
	message = protowire.AppendString(message, schema)
	message = protowire.AppendTag(message, spanField, protowire.VarintType)
	return protowire.AppendVarint(message, downstreamRequest)
}
