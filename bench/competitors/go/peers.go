// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

package main

import (
	"encoding/base64"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

const mostPeers = 500

// peers is what peers said of themselves, decoded once for each content of the header.
type peers struct {
	known map[string][]byte
}

func newPeers() *peers {
	return &peers{known: map[string][]byte{}}
}

// decode returns the serialized Struct in a header, or nil if there is none.
func (p *peers) decode(header string) []byte {
	if header == "" {
		return nil
	}
	if bytes, ok := p.known[header]; ok {
		return bytes
	}
	// Padded and unpadded base64 are both legal.
	bytes, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(header, "="))
	if err != nil || proto.Unmarshal(bytes, &structpb.Struct{}) != nil {
		return nil
	}
	if len(p.known) >= mostPeers {
		clear(p.known)
	}
	p.known[header] = bytes
	return bytes
}
