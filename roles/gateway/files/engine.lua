-- Finds out who listens on an engine's port. The port is free while the engine starts again. Any account of the host can
-- take a free port, and would get the requests of the agent.
--
-- ROUNDHOUSE_ENGINE_<agent> has the address as /proc/net/tcp writes it, and the accounts that may listen there. The last
-- word is "forwarded" if the port may be without a listener, because Docker can forward it in the kernel.
local LISTENS = "0A"
-- In /proc/net/tcp, listening sockets precede all others. A read of one line ends before the kernel looks for those.
local LINE_BYTES = 150

-- Calls `each` with the address and the account of each listening socket, until it returns a value.
local function listeners(name, each)
  local sockets = io.open("/proc/self/net/" .. name)
  if not sockets then return nil end -- a kernel without IPv6
  sockets:setvbuf("full", LINE_BYTES)
  sockets:read("l") -- the names of the columns
  local result
  for line in sockets:lines() do
    local address, state, account = line:match("^%s*%d+: (%x+:%x+) %x+:%x+ (%x+) %S+ %S+ %x+ +(%d+) ")
    if state ~= LISTENS then break end
    result = each(address, account)
    if result ~= nil then break end
  end
  sockets:close()
  return result
end

-- Returns false if the port belongs to another account than the engine's.
function engine_is_own(agent)
  local text = os.getenv("ROUNDHOUSE_ENGINE_" .. (agent or ""))
  if not text then return true end
  local wanted, accounts, without = text:match("^(%S+) (%S+) (%S+)$")
  local port = wanted:match(":%x+$")
  local function judge(address, account)
    local allowed = ("," .. accounts .. ","):find("," .. account .. ",", 1, true) ~= nil
    if address == wanted then return allowed end
    if without == "forwarded" and address:sub(-#port) == port and not allowed then return false end
  end
  local found = listeners("tcp", judge)
  if found == nil and without == "forwarded" then
    found = listeners("tcp6", judge)
    return found ~= false
  end
  return found == true
end

-- Notes the time of a good look for all requests, or that the port of this request's agent is another account's.
core.register_action("own", { "http-req" }, function(txn, port)
  if engine_is_own(txn:get_var("txn.agent")) then
    txn:set_var("proc.own_" .. port, txn.f:date(0, "ms"))
  else
    txn:set_var("txn.foreign", true)
  end
end, 1)
