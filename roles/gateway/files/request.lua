-- Reads and cleans requests, where HAProxy's own converters cannot.

-- The headers that reach an engine. All others are for the gateway, for other hops, or select something inside vLLM, as
-- x-data-parallel-rank does.
local PASSED = {
  ["accept"] = true,
  ["content-length"] = true,
  ["content-type"] = true,
  ["host"] = true,
  ["transfer-encoding"] = true,
  ["user-agent"] = true,
}

core.register_action("clean", { "http-req" }, function(txn)
  for name in pairs(txn.http:req_get_headers()) do
    if not PASSED[name:lower()] then txn.http:req_del_header(name) end
  end
end, 0)

-- Returns the names of headers that a browser wants to send, "" for text that is not a list of names. Not a regular
-- expression of HAProxy: PCRE2 compiles it to machine code, which MemoryDenyWriteExecute= forbids.
core.register_converters("names", function(text)
  return #text <= 2000 and text:match("^[A-Za-z0-9, -]+$") or ""
end)

-- Lets other requests proceed now and then, because nothing else interrupts Lua (tune.lua.forced-yield).
local steps = 0
local function step()
  steps = steps + 1
  if steps % 1000 == 0 then core.yield() end
end

-- Returns the position of the quote that ends the string whose text begins at `at`.
local function end_of_string(body, at)
  while true do
    local found = body:find('["\\]', at)
    if not found or body:byte(found) == 34 then return found end
    at = found + 2
    step()
  end
end

-- Returns the string `model` of a JSON object, nil without one and for one with an escape, which no agent's name needs.
local function model(body)
  local at, depth = body:find("[^ \t\r\n]"), 0
  if not at or body:byte(at) ~= 123 then return nil end
  while true do
    at = body:find('["{}%[%]]', at)
    if not at then return nil end
    local sign = body:sub(at, at)
    if sign == '"' then
      local last = end_of_string(body, at + 1)
      if not last then return nil end
      if depth == 1 and body:sub(at, last) == '"model"' then
        local value = body:match('^%s*:%s*"([^"\\%c]*)"', last + 1)
        if value or body:match("^%s*:", last + 1) then return value end
      end
      at = last
    else
      depth = depth + ((sign == "{" or sign == "[") and 1 or -1)
      if depth == 0 then return nil end
    end
    at = at + 1
    step()
  end
end

-- HAProxy's json_query reads at most 20 levels: a deeper schema of a tool before `model` hides it.
core.register_action("model", { "http-req" }, function(txn)
  local found = model(txn.f:req_body() or "")
  if found then txn:set_var("txn.model", found) end
end, 0)
