-- SPDX-License-Identifier: Apache-2.0
-- Copyright the metadata-exchange authors
--
-- Peer metadata exchange in an Envoy Lua filter alone, without Wasm. The benchmark compares the project's own filter
-- with it. What the client's or server's Struct says becomes dynamic metadata:
--
--   filter_metadata["envoy.wasm.metadata_exchange.downstream"]      the client's Struct, field by field
--   filter_metadata["envoy.wasm.metadata_exchange.downstream_id"]   { id = the client's id }
--   filter_metadata["envoy.wasm.metadata_exchange.upstream"]        the server's, and so on
--
-- Lua can read neither the node's metadata nor the listener's direction: whoever deploys this writes them here, the
-- metadata as the base64 of the serialized Struct. Envoy 1.40 is needed: `base64Decode` is new there.

local DIRECTION = "@DIRECTION@"
local OWN_METADATA = "@METADATA@"
local OWN_ID = "@ID@"

local METADATA_HEADER = "x-istio-peer-metadata"
local ID_HEADER = "x-istio-peer-id"
local DOWNSTREAM = "envoy.wasm.metadata_exchange.downstream"
local UPSTREAM = "envoy.wasm.metadata_exchange.upstream"

-- What the response must know of the request: the sum of what it had.
local REQUEST = "metadata_exchange.request"
local HAD_METADATA, HAD_ID = 1, 2

local MOST_PEERS = 500
local MOST_NESTING = 100

local byte, sub = string.byte, string.sub
local floor, ldexp = math.floor, math.ldexp

-- The functions below raise an error at what is malformed; `decode` catches it.

local function varint(text, at, stop)
  local value, scale = 0, 1
  for i = at, at + 9 do
    if i > stop then break end
    local b = byte(text, i)
    if b < 128 then return value + b * scale, i + 1 end
    value = value + (b - 128) * scale
    scale = scale * 128
  end
  error("varint")
end

-- An iterator over the fields of a message: where the next field is, the number, the wire type, and the value: a
-- number for varints, else where its bytes begin.
local function next_field(range, at)
  local text, stop = range.text, range.stop
  if at > stop then return nil end
  local tag, value, after
  tag, at = varint(text, at, stop)
  local wire = tag % 8
  if wire == 0 then
    value, after = varint(text, at, stop)
  elseif wire == 1 then
    value, after = at, at + 8
  elseif wire == 2 then
    local size
    size, value = varint(text, at, stop)
    after = value + size
  elseif wire == 5 then
    value, after = at, at + 4
  else
    error("wire type")
  end
  if after > stop + 1 then error("length") end
  return after, floor(tag / 8), wire, value
end

local function each_field(text, at, stop)
  return next_field, { text = text, stop = stop }, at
end

local function double(text, at)
  local b1, b2, b3, b4, b5, b6, b7, b8 = byte(text, at, at + 7)
  local sign = b8 < 128 and 1 or -1
  local exponent = (b8 % 128) * 16 + floor(b7 / 16)
  local fraction = ((((((b7 % 16) * 256 + b6) * 256 + b5) * 256 + b4) * 256 + b3) * 256 + b2) * 256 + b1
  if exponent == 2047 then error("not a finite number") end
  if exponent == 0 then return sign * ldexp(fraction, -1074) end
  return sign * ldexp(1 + fraction / 4503599627370496, exponent - 1023)
end

local struct, list

-- A google.protobuf.Value; nil is null.
local function value(text, at, stop, depth)
  if depth > MOST_NESTING then error("nesting") end
  local result
  for after, number, wire, content in each_field(text, at, stop) do
    if number == 1 and wire == 0 then
      result = nil
    elseif number == 2 and wire == 1 then
      result = double(text, content)
    elseif number == 3 and wire == 2 then
      result = sub(text, content, after - 1)
    elseif number == 4 and wire == 0 then
      result = content ~= 0
    elseif number == 5 and wire == 2 then
      result = struct(text, content, after - 1, depth + 1)
    elseif number == 6 and wire == 2 then
      result = list(text, content, after - 1, depth + 1)
    end
  end
  return result
end

-- A google.protobuf.Struct.
function struct(text, at, stop, depth)
  local result = {}
  for after, number, wire, content in each_field(text, at, stop) do
    if number == 1 and wire == 2 then
      local key, field = "", nil
      for entry_after, entry_number, entry_wire, entry_content in each_field(text, content, after - 1) do
        if entry_number == 1 and entry_wire == 2 then
          key = sub(text, entry_content, entry_after - 1)
        elseif entry_number == 2 and entry_wire == 2 then
          field = value(text, entry_content, entry_after - 1, depth + 2)
        end
      end
      result[key] = field
    end
  end
  return result
end

-- A google.protobuf.ListValue.
function list(text, at, stop, depth)
  local result, size = {}, 0
  for after, number, wire, content in each_field(text, at, stop) do
    if number == 1 and wire == 2 then
      size = size + 1
      result[size] = value(text, content, after - 1, depth + 1)
    end
  end
  return result
end

-- What peers said of themselves, decoded once for each content of the header; false if it is malformed.
local peers, known = {}, 0

local function decode(handle, header)
  local peer = peers[header]
  if peer ~= nil then return peer end
  local bytes = handle:base64Decode(header)
  local is_struct, result = pcall(struct, bytes, 1, bytes and #bytes, 0)
  peer = is_struct and result
  if known >= MOST_PEERS then peers, known = {}, 0 end
  peers[header], known = peer, known + 1
  return peer
end

local function publish(handle, dynamic_metadata, namespace, metadata, id)
  local peer = metadata and decode(handle, metadata)
  if peer then
    for key, field in pairs(peer) do dynamic_metadata:set(namespace, key, field) end
  end
  if id and id ~= "" then dynamic_metadata:set(namespace .. "_id", "id", id) end
end

-- Leaves our value in place of all copies of a header, or no copy if we send none.
local function settle(headers, name, found, own)
  if own and own ~= "" then
    headers:replace(name, own)
  elseif found then
    headers:remove(name)
  end
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local metadata, id = headers:get(METADATA_HEADER), headers:get(ID_HEADER)
  if DIRECTION ~= "OUTBOUND" and (metadata or id) then
    local dynamic_metadata = handle:streamInfo():dynamicMetadata()
    publish(handle, dynamic_metadata, DOWNSTREAM, metadata, id)
    dynamic_metadata:set(REQUEST, "had", (metadata and HAD_METADATA or 0) + (id and HAD_ID or 0))
  end
  local sends = DIRECTION ~= "INBOUND"
  settle(headers, METADATA_HEADER, metadata, sends and OWN_METADATA)
  settle(headers, ID_HEADER, id, sends and OWN_ID)
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local metadata, id = headers:get(METADATA_HEADER), headers:get(ID_HEADER)
  local dynamic_metadata = handle:streamInfo():dynamicMetadata()
  local had = 0
  if DIRECTION ~= "INBOUND" then publish(handle, dynamic_metadata, UPSTREAM, metadata, id) end
  if DIRECTION ~= "OUTBOUND" then
    local request = dynamic_metadata:get(REQUEST)
    had = request and request.had or 0
  end
  settle(headers, METADATA_HEADER, metadata, had % 2 == HAD_METADATA and OWN_METADATA)
  settle(headers, ID_HEADER, id, had >= HAD_ID and OWN_ID)
end
