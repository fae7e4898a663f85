-- SPDX-License-Identifier: Apache-2.0
-- Copyright the metadata-exchange authors
--
-- For Envoy's Lua filter: what the metadata exchange filter learned about a peer, as dynamic metadata.
--
--   filter_metadata["envoy.wasm.metadata_exchange.downstream"]   the client's Struct, field by field
--   filter_metadata["envoy.wasm.metadata_exchange.upstream"]     the server's
--
-- A Wasm filter cannot write dynamic metadata; this one reads the Struct from filter state and writes it. Put it in
-- the chain twice, the same file in both places: requests pass the chain downwards and responses upwards.
--
--   lua    responses, after the exchange
--   wasm   the exchange
--   lua    requests, after the exchange
--
-- Where only one of the two is wanted, say which: Envoy starts a coroutine for each function that a script has, which
-- costs more than all that is done in it for a peer that was seen before.
--
--   default_source_code:
--     inline_string: metadata_exchange_side = "downstream" dofile("/etc/envoy/dynamic_metadata.lua")
--
-- What Lua cannot say: an empty list becomes an empty object; nulls inside of objects and at the end of lists vanish.
-- A Struct with a control character (NUL, a line break, a tab) in a key or a string is not written at all: strings end
-- at NUL here, so that one key could pass for another. The exchange refuses such peers, too.

local DOWNSTREAM = "envoy.wasm.metadata_exchange.downstream"
local UPSTREAM = "envoy.wasm.metadata_exchange.upstream"

local FILTER_STATE = { [DOWNSTREAM] = "wasm." .. DOWNSTREAM, [UPSTREAM] = "wasm." .. UPSTREAM }

-- Decoded peers are kept by their bytes, in two generations: when the young one is full it becomes the old one, and
-- what was not asked for since is gone. Each holds at most this many peers, and this many bytes of theirs. This is
-- for one worker thread and one place in a chain.
local MOST_PEERS = 500
local MOST_BYTES = 1048576

-- The most messages, map entries and groups inside each other, the outermost not counted: as in Envoy's own parser.
local MOST_NESTING = 100

local VARINT, FIXED64, LENGTH, START_GROUP, END_GROUP, FIXED32 = 0, 1, 2, 3, 4, 5

local byte, sub, find, floor, ldexp = string.byte, string.sub, string.find, math.floor, math.ldexp

-- A list with nulls in it is a table with holes: its length is what it was made for. LuaJIT has a function for that.
local has_new, new = pcall(require, "table.new")
if not has_new then
  new = function(size) return { unpack({}, 1, size) } end
end

-- The functions below return nil at what is malformed.

-- A varint at `at`, and where the next byte is. Above 2^53 it is not exact, which no caller minds.
local function varint(text, at, stop)
  local value, scale = 0, 1
  for i = at, at + 9 do
    if i > stop then return nil end
    local b = byte(text, i)
    if b < 128 then return value + b * scale, i + 1 end
    value = value + (b - 128) * scale
    scale = scale * 128
  end
end

-- The next field: number, wire type, its value (a number, or where its bytes begin), and where the field after it is.
local function field(text, at, stop, depth)
  local tag, first = varint(text, at, stop)
  if not tag then return nil end
  local number, wire = floor(tag / 8), tag % 8
  if wire == VARINT then
    local value, after = varint(text, first, stop)
    if value then return number, wire, value, after end
  elseif wire == LENGTH then
    local size, content = varint(text, first, stop)
    if size and content + size - 1 <= stop then return number, wire, content, content + size end
  elseif wire == FIXED64 then
    if first + 7 <= stop then return number, wire, first, first + 8 end
  elseif wire == FIXED32 then
    if first + 3 <= stop then return number, wire, first, first + 4 end
  elseif wire == START_GROUP and depth < MOST_NESTING then
    local inside = first
    while inside <= stop do
      local inner, inner_wire, _, after = field(text, inside, stop, depth + 1)
      if not inner then return nil end
      if inner_wire == END_GROUP then
        if inner ~= number then return nil end
        return number, wire, first, after
      end
      inside = after
    end
  elseif wire == END_GROUP then
    return number, wire, first, first
  end
end

local function double(text, at)
  local b1, b2, b3, b4, b5, b6, b7, b8 = byte(text, at, at + 7)
  local sign = b8 < 128 and 1 or -1
  local exponent = (b8 % 128) * 16 + floor(b7 / 16)
  local fraction = ((((((b7 % 16) * 256 + b6) * 256 + b5) * 256 + b4) * 256 + b3) * 256 + b2) * 256 + b1
  if exponent == 2047 then return nil end
  if exponent == 0 then return sign * ldexp(fraction, -1074) end
  return sign * ldexp(1 + fraction / 4503599627370496, exponent - 1023)
end

local fields, list

-- A google.protobuf.Value: whether it is one, and what it says (nil: null).
local function value(text, depth)
  local stop, at = #text, 1
  local kind, content
  while at <= stop do
    local number, wire, first, after = field(text, at, stop, depth)
    if not number or wire == END_GROUP then return false end
    if wire == LENGTH and number >= 3 and number <= 6 and number ~= 4 then
      local bytes = sub(text, first, after - 1)
      -- A message that is sent twice is merged, which is the same as its bytes in a row.
      content = kind == number and number ~= 3 and content .. bytes or bytes
      kind = number
    elseif (wire == VARINT and (number == 1 or number == 4)) or (wire == FIXED64 and number == 2) then
      kind, content = number, first
    end
    at = after
  end
  if kind == 1 then return true, nil end
  if kind == 3 then return not find(content, "%c"), content end
  if kind == 4 then return true, content ~= 0 end
  local result
  if kind == 2 then
    result = double(text, content)
  elseif kind and depth < MOST_NESTING then
    if kind == 5 then
      local keys, values, size = fields(content, depth + 1)
      if not keys then return false end
      result = {}
      for i = 1, size do result[keys[i]] = values[i] end
    else
      result = list(content, depth + 1)
    end
  end
  return result ~= nil, result
end

-- The entries of a google.protobuf.Struct as sent, the same key perhaps twice: keys, values, and how many.
fields = function(text, depth)
  local stop, at = #text, 1
  local keys, values, size = {}, {}, 0
  while at <= stop do
    local number, wire, first, after = field(text, at, stop, depth)
    if not number or wire == END_GROUP then return nil end
    if number == 1 and wire == LENGTH then
      if depth + 2 > MOST_NESTING then return nil end
      local key, said = "", nil
      local inside, inside_stop = first, after - 1
      while inside <= inside_stop do
        local inner, inner_wire, content, next_inside = field(text, inside, inside_stop, depth + 1)
        if not inner or inner_wire == END_GROUP then return nil end
        if inner_wire == LENGTH and inner == 1 then
          key = sub(text, content, next_inside - 1)
        elseif inner_wire == LENGTH and inner == 2 then
          said = (said or "") .. sub(text, content, next_inside - 1)
        end
        inside = next_inside
      end
      if not said or find(key, "%c") then return nil end
      local is_value, result = value(said, depth + 2)
      if not is_value then return nil end
      size = size + 1
      keys[size], values[size] = key, result
    end
    at = after
  end
  return keys, values, size
end

-- A google.protobuf.ListValue.
list = function(text, depth)
  local stop, at = #text, 1
  local values, size, filled = {}, 0, 0
  while at <= stop do
    local number, wire, first, after = field(text, at, stop, depth)
    if not number or wire == END_GROUP then return nil end
    if number == 1 and wire == LENGTH then
      if depth + 1 > MOST_NESTING then return nil end
      local is_value, result = value(sub(text, first, after - 1), depth + 1)
      if not is_value then return nil end
      size = size + 1
      values[size] = result
      if result ~= nil then filled = size end
    end
    at = after
  end
  local result = new(filled, 0)
  for i = 1, filled do result[i] = values[i] end
  return result
end

local young, old, peers, bytes = {}, {}, 0, 0

-- What a Struct says, decoded once: { keys, values, size }, or false if it is malformed.
local function decoded(text)
  local known = young[text]
  if known ~= nil then return known end
  known = old[text]
  if known == nil then
    local keys, values, size = fields(text, 0)
    known = keys and { keys, values, size } or false
  end
  if peers >= MOST_PEERS or bytes + #text > MOST_BYTES then
    old, young, peers, bytes = young, {}, 0, 0
  end
  young[text] = known
  peers, bytes = peers + 1, bytes + #text
  return known
end

local function publish(handle, namespace)
  local info = handle:streamInfo()
  -- Envoy Gateway tries a script on a stand-in that has no filter state, before a proxy gets it.
  if not info.filterState then return end
  local text = info:filterState():get(FILTER_STATE[namespace])
  if type(text) ~= "string" then return end
  local peer = decoded(text)
  if not peer then return end
  local metadata = info:dynamicMetadata()
  local keys, values = peer[1], peer[2]
  for i = 1, peer[3] do metadata:set(namespace, keys[i], values[i]) end
end

if metadata_exchange_side ~= "upstream" then
  function envoy_on_request(handle) publish(handle, DOWNSTREAM) end
end

if metadata_exchange_side ~= "downstream" then
  function envoy_on_response(handle) publish(handle, UPSTREAM) end
end
