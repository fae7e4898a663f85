// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

//! The few messages of Envoy's that this needs, and what this proxy says of itself.

use base64::engine::{general_purpose::STANDARD, Engine};
use prost::Message;
use prost_types::{value::Kind, Struct};

const METADATA_KEY: &str = "istio.io/metadata";

/// envoy.config.core.v3.Node, as far as it is of interest here.
#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    cluster: String,
    #[prost(message, optional, tag = "3")]
    metadata: Option<Struct>,
}

/// envoy.source.extensions.common.wasm.DeclarePropertyArguments.
#[derive(Clone, PartialEq, Message)]
struct DeclareProperty {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(string, tag = "4")]
    schema: String,
    #[prost(int32, tag = "5")]
    span: i32,
}

const STRING: i32 = 1;
const PROTOBUF: i32 = 3;
const DOWNSTREAM_REQUEST: i32 = 1;

pub fn declare_struct(name: &str) -> Vec<u8> {
    declare(name, PROTOBUF, "type.googleapis.com/google.protobuf.Struct")
}

pub fn declare_string(name: &str) -> Vec<u8> {
    declare(name, STRING, "")
}

fn declare(name: &str, kind: i32, schema: &str) -> Vec<u8> {
    let (name, schema) = (name.to_string(), schema.to_string());
    DeclareProperty {
        name,
        kind,
        schema,
        span: DOWNSTREAM_REQUEST,
    }
    .encode_to_vec()
}

/// The values of the two headers.
#[derive(Default)]
pub struct Identity {
    metadata: Option<String>,
    id: Option<String>,
}

impl Identity {
    pub fn metadata(&self, sends: bool) -> Option<&str> {
        self.metadata.as_deref().filter(|_| sends)
    }

    pub fn id(&self, sends: bool) -> Option<&str> {
        self.id.as_deref().filter(|_| sends)
    }
}

/// Reads a serialized Node. prost keeps a Struct's fields in order, so that all workers send the same bytes.
pub fn identity(bytes: &[u8]) -> Option<Identity> {
    let node = Node::decode(bytes).ok()?;
    let own = node
        .metadata
        .and_then(|mut metadata| metadata.fields.remove(METADATA_KEY));
    let metadata = match own.and_then(|value| value.kind) {
        Some(Kind::StructValue(own)) => Some(STANDARD.encode(own.encode_to_vec())),
        _ => None,
    };
    let id = if node.id.is_empty() {
        node.cluster
    } else {
        node.id
    };
    let id = if id.is_empty() { None } else { Some(id) };
    Some(Identity { metadata, id })
}
