// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

//! Peer metadata exchange with the Rust SDK of Proxy-Wasm, as its community writes filters: contexts of the SDK, prost
//! for protobuf, a map of decoded peers. The benchmark compares the project's own filter with it.

mod node;
mod peers;

use std::cell::RefCell;
use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, Bytes, ContextType, LogLevel};

use node::Identity;
use peers::Peers;

const METADATA_HEADER: &str = "x-istio-peer-metadata";
const ID_HEADER: &str = "x-istio-peer-id";

const DOWNSTREAM: &str = "envoy.wasm.metadata_exchange.downstream";
const DOWNSTREAM_ID: &str = "envoy.wasm.metadata_exchange.downstream_id";
const UPSTREAM: &str = "envoy.wasm.metadata_exchange.upstream";
const UPSTREAM_ID: &str = "envoy.wasm.metadata_exchange.upstream_id";

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Warn);
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

#[derive(Default)]
struct Root {
    identity: Rc<Identity>,
    peers: Rc<RefCell<Peers>>,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        let node = self.get_property(vec!["xds", "node"]);
        let identity = node.and_then(|bytes| node::identity(&bytes));
        match identity {
            Some(identity) => self.identity = Rc::new(identity),
            None => {
                log::error!("the host does not say which node this is");
                return false;
            }
        }
        for declaration in [
            node::declare_struct(DOWNSTREAM),
            node::declare_string(DOWNSTREAM_ID),
            node::declare_struct(UPSTREAM),
            node::declare_string(UPSTREAM_ID),
        ] {
            // Declared already by another configuration in this VM: as good.
            let _ = self.call_foreign_function("declare_property", Some(&declaration));
        }
        true
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream {
            identity: Rc::clone(&self.identity),
            peers: Rc::clone(&self.peers),
            direction: Direction::Unspecified,
            had_metadata: false,
            had_id: false,
        }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Unspecified,
    Inbound,
    Outbound,
}

struct Stream {
    identity: Rc<Identity>,
    peers: Rc<RefCell<Peers>>,
    direction: Direction,
    had_metadata: bool,
    had_id: bool,
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        self.direction = self.listener_direction();
        if self.direction != Direction::Outbound {
            let metadata = self.get_http_request_header_bytes(METADATA_HEADER);
            let id = self.get_http_request_header_bytes(ID_HEADER);
            self.had_metadata = metadata.is_some();
            self.had_id = id.is_some();
            self.publish(metadata, DOWNSTREAM, id, DOWNSTREAM_ID);
        }
        let sends = self.direction != Direction::Inbound;
        if sends || self.had_metadata {
            self.set_http_request_header(METADATA_HEADER, self.identity.metadata(sends));
        }
        if sends || self.had_id {
            self.set_http_request_header(ID_HEADER, self.identity.id(sends));
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        if self.direction != Direction::Inbound {
            let metadata = self.get_http_response_header_bytes(METADATA_HEADER);
            let id = self.get_http_response_header_bytes(ID_HEADER);
            self.publish(metadata, UPSTREAM, id, UPSTREAM_ID);
        }
        // None removes: what is not answered must not pass either.
        self.set_http_response_header(METADATA_HEADER, self.identity.metadata(self.had_metadata));
        self.set_http_response_header(ID_HEADER, self.identity.id(self.had_id));
        Action::Continue
    }
}

impl Stream {
    fn listener_direction(&self) -> Direction {
        let value = self.get_property(vec!["xds", "listener_direction"]);
        match value.and_then(|bytes| Some(i64::from_le_bytes(bytes.try_into().ok()?))) {
            Some(1) => Direction::Inbound,
            Some(2) => Direction::Outbound,
            _ => Direction::Unspecified,
        }
    }

    /// Passes on to other filters what the peer says of itself.
    fn publish(&self, metadata: Option<Bytes>, name: &str, id: Option<Bytes>, id_name: &str) {
        if let Some(header) = metadata {
            if let Some(bytes) = self.peers.borrow_mut().decode(header) {
                self.set_property(vec![name], Some(&bytes));
            }
        }
        if let Some(id) = id {
            if !id.is_empty() {
                self.set_property(vec![id_name], Some(&id));
            }
        }
    }
}
