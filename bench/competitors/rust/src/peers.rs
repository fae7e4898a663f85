// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

//! What peers said of themselves, decoded once for each content of the header.

use std::collections::HashMap;
use std::rc::Rc;

use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, Engine, GeneralPurpose, GeneralPurposeConfig};
use prost::Message;
use prost_types::Struct;

/// Padded and unpadded base64 are both legal.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const MOST_PEERS: usize = 500;

#[derive(Default)]
pub struct Peers {
    known: HashMap<Vec<u8>, Rc<[u8]>>,
}

impl Peers {
    /// The serialized Struct in a header, if there is one.
    pub fn decode(&mut self, header: Vec<u8>) -> Option<Rc<[u8]>> {
        if header.is_empty() {
            return None;
        }
        if let Some(bytes) = self.known.get(&header) {
            return Some(Rc::clone(bytes));
        }
        let bytes: Rc<[u8]> = BASE64.decode(&header).ok()?.into();
        Struct::decode(&*bytes).ok()?;
        if self.known.len() >= MOST_PEERS {
            self.known.clear();
        }
        self.known.insert(header, Rc::clone(&bytes));
        Some(bytes)
    }
}
