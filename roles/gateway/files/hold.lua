-- Holds a request while its agent is on its way, bounded in time and number; HAProxy itself has no such thing: with no
-- server that is up it answers at once. A request whose agent serves does not come here.
--
-- The track says of each agent `on:N` (it serves, or comes back by itself), `wait:N` (a switch is about: it may serve
-- soon, and gets nothing until then) or `off:N`; N is how many seconds its start takes.
local track = Map.new(os.getenv("ROUNDHOUSE_TRACK"), Map._str)
local most = tonumber(os.getenv("ROUNDHOUSE_WAITING"))
local longest_ms = 1000 * tonumber(os.getenv("ROUNDHOUSE_WAIT_SECONDS"))
local POLL_MS = 50
-- Who has not looked for so long is gone: a client that leaves takes its request from here without a word.
local GONE_MS = 2000

local looked = {} -- agent -> number of a request -> when it looked last
local counted = {} -- agent -> name of a counter -> value
local number = 0

local function now_ms()
  local now = core.now()
  return now.sec * 1000 + now.usec // 1000
end

local function count(agent, name, more)
  counted[agent] = counted[agent] or {}
  counted[agent][name] = (counted[agent][name] or 0) + more
end

local function waiting(agent)
  local found = 0
  for id, at in pairs(looked[agent] or {}) do
    if now_ms() - at > GONE_MS then
      looked[agent][id] = nil
    else
      found = found + 1
    end
  end
  return found
end

local function told(agent)
  return (track:lookup(agent) or "off"):match("^%a+")
end

-- Returns nil when the agent serves, else why the request is refused.
local function wait(txn, agent, id, begun)
  while true do
    local now = told(agent)
    if now == "off" then return "off" end
    if now == "on" and txn.f:nbsrv(agent) > 0 then return nil end
    if now_ms() - begun >= longest_ms then return "late" end
    -- Since a reload this worker looks after no engine any more: the next one sees it come.
    if core.get_info().Stopping == 1 then return "moved" end
    looked[agent][id] = now_ms()
    core.msleep(POLL_MS)
  end
end

core.register_action("hold", { "http-req" }, function(txn)
  local agent, begun = txn:get_var("txn.agent"), now_ms()
  looked[agent] = looked[agent] or {}
  number = number + 1
  local id = number
  local why = waiting(agent) >= most and told(agent) ~= "off" and "full" or wait(txn, agent, id, begun)
  looked[agent][id] = nil
  txn:set_var("txn.waited", now_ms() - begun)
  count(agent, "held", 1)
  count(agent, "held_ms", now_ms() - begun)
  if why then
    txn:set_var("txn.refused", why)
    count(agent, why, 1)
  end
end, 0)

-- The state of an agent, in the command's words.
core.register_fetches("state", function(txn, agent)
  local now, up = told(agent), txn.f:nbsrv(agent) > 0
  if now == "on" then return up and "ready" or "starting" end
  if now == "wait" then return up and "draining" or "starting" end
  return "stopped"
end)

-- What HAProxy's own metrics do not tell, in Prometheus' form.
core.register_service("metrics", "http", function(applet)
  local lines = {}
  local function add(name, labels, value)
    lines[#lines + 1] = ("roundhouse_%s{%s} %s\n"):format(name, labels, value)
  end
  for agent in pairs(counted) do
    local label, of = ('agent="%s"'):format(agent), counted[agent]
    add("gateway_waiting", label, waiting(agent))
    add("gateway_held_total", label, of.held)
    add("gateway_held_seconds_total", label, of.held_ms / 1000)
    for _, why in ipairs({ "off", "late", "full", "moved" }) do
      add("gateway_refused_total", ('%s,why="%s"'):format(label, why), of[why] or 0)
    end
  end
  local text = table.concat(lines)
  applet:set_status(200)
  applet:add_header("content-type", "text/plain; version=0.0.4")
  applet:add_header("content-length", #text)
  applet:start_response()
  applet:send(text)
end)
