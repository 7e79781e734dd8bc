-- Holds a request while its agent starts, bounded in time and number; HAProxy itself has no such thing: with no server
-- that is up it answers at once. A request whose agent serves does not come here.
--
-- The route of each agent is `on:N` (it serves, or restarts by itself), `wait:N` (a switch runs: it may serve soon, and
-- gets no request until then), `ask:N` (the control service starts it when a request waits) or `off:N`; N is how many
-- seconds its start takes.
local routes = Map.new(os.getenv("ROUNDHOUSE_ROUTES"), Map._str)
local most = tonumber(os.getenv("ROUNDHOUSE_WAITING"))
local longest_ms = 1000 * tonumber(os.getenv("ROUNDHOUSE_WAIT_SECONDS"))
local POLL_MS = 50
-- A request that has not polled for so long is gone: its client left, and HAProxy does not say so.
local GONE_MS = 2000

local held = {} -- agent -> number of a request -> when it polled last, and when it began
local counted = {} -- agent -> name of a counter -> value
local refused = {} -- agent, or "" where it is not known -> why -> how often
local number = 0

local function now_ms()
  local now = core.now()
  return now.sec * 1000 + now.usec // 1000
end

local function count(agent, name, more)
  counted[agent] = counted[agent] or {}
  counted[agent][name] = (counted[agent][name] or 0) + more
end

-- Returns how many wait, and how long the first of them has waited.
local function waiting(agent)
  local found, oldest = 0, 0
  for id, each in pairs(held[agent] or {}) do
    if now_ms() - each.at > GONE_MS then
      held[agent][id] = nil
    else
      found, oldest = found + 1, math.max(oldest, now_ms() - each.begun)
    end
  end
  return found, oldest
end

local function told(agent)
  return (routes:lookup(agent) or "off"):match("^%a+")
end

-- Returns nil when the agent serves, else why the request is refused.
local function wait(txn, agent, id, begun)
  while true do
    local now = told(agent)
    -- A request that only reads does not start the agent.
    if now == "off" or now == "ask" and txn.f:method() ~= "POST" then return "off" end
    if now == "on" and txn.f:nbsrv(agent) > 0 then return nil end
    if now_ms() - begun >= longest_ms then return "late" end
    -- After a reload this worker checks no engine any more; the next worker does.
    if core.get_info().Stopping == 1 then return "moved" end
    held[agent][id] = { at = now_ms(), begun = begun }
    core.msleep(POLL_MS)
  end
end

core.register_action("hold", { "http-req" }, function(txn)
  local agent, begun = txn:get_var("txn.agent"), now_ms()
  held[agent] = held[agent] or {}
  number = number + 1
  local id = number
  local why = (waiting(agent)) >= most and told(agent) ~= "off" and "full" or wait(txn, agent, id, begun)
  held[agent][id] = nil
  txn:set_var("txn.waited", now_ms() - begun)
  count(agent, "held", 1)
  count(agent, "held_ms", now_ms() - begun)
  if why then txn:set_var("txn.refused", why) end
end, 0)

-- Counts a request that is refused; why stands in txn.refused.
core.register_action("refuse", { "http-req" }, function(txn)
  local agent, why = txn:get_var("txn.known") or "", txn:get_var("txn.refused")
  refused[agent] = refused[agent] or {}
  refused[agent][why] = (refused[agent][why] or 0) + 1
end, 0)

-- For the control service, on HAProxy's own socket: agent, how many wait, milliseconds of the first of them.
core.register_cli({ "roundhouse", "waiting" }, "roundhouse waiting: who is asked for and waited for", function(applet)
  for agent in pairs(held) do
    local many, oldest = waiting(agent)
    applet:send(("waiting %s %d %d\n"):format(agent, many, oldest))
  end
end)

-- The state of an agent, in the command's words.
core.register_fetches("state", function(txn, agent)
  local now, up = told(agent), txn.f:nbsrv(agent) > 0
  if now == "on" then return up and "ready" or "starting" end
  if now == "wait" then return up and "draining" or "starting" end
  return "stopped"
end)

-- What HAProxy's own metrics do not tell, in Prometheus' form; of the switches, what the command has written.
core.register_service("metrics", "http", function(applet)
  local lines = {}
  local function kind(name, is)
    lines[#lines + 1] = ("# TYPE roundhouse_gateway_%s %s\n"):format(name, is)
  end
  local function add(name, labels, value)
    lines[#lines + 1] = ("roundhouse_gateway_%s{%s} %s\n"):format(name, labels, value)
  end
  -- Who is asked for the first time waits before anything of it is counted.
  local function of_each_agent(name, is, value)
    kind(name, is)
    for agent in pairs(held) do
      add(name, ('agent="%s"'):format(agent), value(agent, counted[agent] or { held = 0, held_ms = 0 }))
    end
  end
  of_each_agent("waiting", "gauge", function(agent) return (waiting(agent)) end)
  of_each_agent("waiting_oldest_seconds", "gauge", function(agent) return select(2, waiting(agent)) / 1000 end)
  of_each_agent("held_total", "counter", function(_, of) return of.held end)
  of_each_agent("held_seconds_total", "counter", function(_, of) return of.held_ms / 1000 end)
  kind("refused_total", "counter")
  for agent, reasons in pairs(refused) do
    for why, times in pairs(reasons) do
      add("refused_total", ('agent="%s",why="%s"'):format(agent, why), times)
    end
  end
  local switches = io.open(os.getenv("ROUNDHOUSE_SWITCHES"))
  if switches then
    lines[#lines + 1] = switches:read("a")
    switches:close()
  end
  local text = table.concat(lines)
  applet:set_status(200)
  applet:add_header("content-type", "text/plain; version=0.0.4")
  applet:add_header("content-length", #text)
  applet:start_response()
  applet:send(text)
end)
