-- Holds a request while its agent starts, bounded in time and number. HAProxy itself cannot: without a server that is
-- up it answers at once. A request for an agent that is ready does not come here.
--
-- The route of each agent is
--   on:N      active, or restarted by its unit
--   wait:N    in a switch that runs: it may be ready soon, and gets no request until then
--   ask:N     not loaded; the control service starts it when a request waits
--   failed:T  not loaded; the control service tries it again at T, in seconds since the epoch
--   pinned:N  not loaded; a pinned agent keeps its card
--   off:N     not loaded; nothing starts it on demand
--
-- N is the length of the agent's start in seconds.
local routes = Map.new(os.getenv("ROUNDHOUSE_ROUTES"), Map._str)
-- The hashes of the valid keys; nil where no key is needed.
local keys = os.getenv("ROUNDHOUSE_KEYS") and Map.new(os.getenv("ROUNDHOUSE_KEYS"), Map._str)
local most = tonumber(os.getenv("ROUNDHOUSE_WAITING"))
local most_bytes = 1048576 * tonumber(os.getenv("ROUNDHOUSE_HELD_MIB"))
local longest_ms = 1000 * tonumber(os.getenv("ROUNDHOUSE_WAIT_SECONDS"))
-- A held request polls this often. With many held requests each polls more rarely, at least every SLOWEST_MS: all polls
-- together cost little.
local POLL_MS, SLOWEST_MS = 50, 250
-- An agent's route and check are read this often.
local LOOK_MS = 10
-- A request that has not polled within this time is gone: HAProxy does not report that a client left.
local GONE_MS = 2000

-- agent -> number of a request -> times of its last poll and of its arrival, its key's name, its size, whether it leaves
local held = {}
local counted = {} -- agent -> name of a counter -> value
local refused = {} -- agent, or "" for an unknown one -> reason -> number of requests
local cuts = {} -- agent -> the drain that is about to cut its streams: its time, its cause, the number of streams ended so far
local number = 0
local looks = {} -- agent -> the time of its last look, its route's word, whether it is ready
local polling = 0 -- requests in wait()
local worker = { at = 0, stopping = false } -- when this worker was last asked whether it stops, and its answer

local function now_ms()
  local now = core.now()
  return now.sec * 1000 + now.usec // 1000
end

local function count(agent, name, more)
  counted[agent] = counted[agent] or {}
  counted[agent][name] = (counted[agent][name] or 0) + more
end

-- Returns the word and the number of an agent's route.
local function route(agent)
  return (routes:lookup(agent) or "off:0"):match("^(%a+):(%d+)")
end

-- Routes that refuse a request at once.
local REFUSED = { off = true, pinned = true, failed = true }

-- Returns the number of waiting requests, and the longest wait in ms.
local function waiting(agent)
  local found, oldest = 0, 0
  for id, each in pairs(held[agent] or {}) do
    if now_ms() - each.at > GONE_MS then
      held[agent][id] = nil
    elseif not each.leaves then
      found, oldest = found + 1, math.max(oldest, now_ms() - each.begun)
    end
  end
  return found, oldest
end

-- Returns the size of all held requests.
local function held_bytes()
  local sum = 0
  for agent, requests in pairs(held) do
    waiting(agent) -- forgets those that are gone
    for _, each in pairs(requests) do
      sum = sum + each.bytes
    end
  end
  return sum
end

-- Returns the newest request of the key that has most, if that key has at least two more than `key`.
local function surplus(agent, key)
  local counts, newest, top = {}, {}, nil
  for id, each in pairs(held[agent]) do
    if not each.leaves then
      counts[each.key] = (counts[each.key] or 0) + 1
      newest[each.key] = math.max(newest[each.key] or 0, id)
      if not top or counts[each.key] > counts[top] then top = each.key end
    end
  end
  if top and counts[top] >= (counts[key] or 0) + 2 then return held[agent][newest[top]] end
end

-- Returns nil if one more request may wait, else the reason of the refusal. In a full queue, a key with few requests
-- takes the place of a request of the key that has most.
local function refusal(agent, key, bytes)
  if REFUSED[route(agent)] then return nil end -- wait() refuses it
  if held_bytes() + bytes > most_bytes then return "memory" end
  if (waiting(agent)) < most then return nil end
  local one = surplus(agent, key)
  if not one then return "full" end
  one.leaves = true
end

-- Returns whether this worker ends after a reload. It checks no engine any more; the next worker does. The answer costs as
-- much as ten polls, so all held requests share it.
local function is_stopping(now)
  if now - worker.at >= POLL_MS then worker = { at = now, stopping = core.get_info().Stopping == 1 } end
  return worker.stopping
end

-- Returns the word of an agent's route, and whether the agent is ready. All its held requests share an answer.
local function look(txn, agent, now)
  local seen = looks[agent]
  if not seen or now - seen.at >= LOOK_MS then
    local word = route(agent)
    seen = { at = now, word = word, ready = word == "on" and txn.f:nbsrv(agent) > 0 and engine_is_own(agent) }
    looks[agent] = seen
  end
  return seen.word, seen.ready
end

-- Returns nil when the agent is ready, else the reason of the refusal.
local function wait(txn, agent, id, one)
  local hash = txn:get_var("txn.hash")
  while true do
    one.at = now_ms()
    local word, ready = look(txn, agent, one.at)
    if REFUSED[word] then return word end
    if keys and not keys:lookup(hash) then return "key" end
    if one.leaves then return "full" end
    if ready then return nil end
    held[agent][id] = one
    if one.at - one.begun >= longest_ms then return "late" end
    if is_stopping(one.at) then return "moved" end
    core.msleep(math.min(SLOWEST_MS, POLL_MS + polling // 4))
  end
end

core.register_action("hold", { "http-req" }, function(txn)
  local agent, key, begun = txn:get_var("txn.agent"), txn:get_var("txn.key") or "", now_ms()
  held[agent] = held[agent] or {}
  number = number + 1
  local id, bytes = number, txn.f:req_body_len()
  local why = refusal(agent, key, bytes)
  if not why then
    polling = polling + 1
    why = wait(txn, agent, id, { at = begun, begun = begun, key = key, bytes = bytes })
    polling = polling - 1
    held[agent][id] = nil
  end
  txn:set_var("txn.waited", now_ms() - begun)
  count(agent, "held", 1)
  count(agent, "held_ms", now_ms() - begun)
  if not why then return end
  txn:set_var("txn.refused", why)
  -- For Retry-After. The next worker has all requests of a reloaded one at once.
  local seconds = tonumber((select(2, route(agent))))
  if why == "moved" then seconds = 1 end
  -- T is of the host's clock. After a step of that clock, HAProxy's own differs from it.
  if why == "failed" then seconds = math.max(1, seconds - os.time()) end
  txn:set_var("txn.seconds", seconds)
end, 0)

-- Counts a refused request; the reason is in txn.refused.
core.register_action("refuse", { "http-req" }, function(txn)
  local agent, why = txn:get_var("txn.known") or "", txn:get_var("txn.refused")
  refused[agent] = refused[agent] or {}
  refused[agent][why] = (refused[agent][why] or 0) + 1
end, 0)

-- For the control service, on HAProxy's own socket: agent, number of waiting requests, longest wait in ms.
core.register_cli({ "roundhouse", "waiting" }, "roundhouse waiting: list the held requests", function(applet)
  for agent in pairs(held) do
    local many, oldest = waiting(agent)
    applet:send(("waiting %s %d %d\n"):format(agent, many, oldest))
  end
end)

-- The drain of an agent is about to cut what still runs. Streams that began before end with an event that states the cause.
core.register_cli({ "roundhouse", "cut" }, "roundhouse cut AGENT CAUSE...: end its streams", function(applet, _, _, agent, ...)
  cuts[agent] = { at = now_ms(), cause = table.concat({ ... }, " "), told = 0 }
  applet:send("\n")
end)

-- The number of streams that were ended so since the last cut.
core.register_cli({ "roundhouse", "told" }, "roundhouse told AGENT: count the ended streams", function(applet, _, _, agent)
  applet:send(("told %d\n"):format(cuts[agent] and cuts[agent].told or 0))
end)

-- Ends the streams of a cut. The client gets the reason as OpenAI's error event and a complete response; the engine's
-- connection is closed. HAProxy calls this with each part of a stream. If the engine sends nothing more, because it
-- crashed or hangs, HAProxy drops the response and no filter can add to it. The client sees a broken connection.
local END = 'data: {"error":{"message":"%s was stopped by %s; repeat the request.","type":"server_error",'
  .. '"param":null,"code":"agent_stopped"}}\n\n'
local Told = { id = "told", flags = filter.FLT_CFG_FL_HTX }
Told.__index = Told

function Told:new()
  return setmetatable({ begun = now_ms() }, Told)
end

function Told:start_analyze() end

function Told:http_headers(txn, message)
  if message.channel:is_resp() and txn:get_var("txn.stream") then
    self.agent = txn:get_var("txn.known")
    filter.register_data_filter(self, message.channel)
  end
end

function Told:http_payload(_, message)
  local cut = cuts[self.agent]
  if self.over then
    message:remove(0)
  -- Only between two events.
  elseif cut and self.begun <= cut.at and (message:body(0) or ""):sub(-2) == "\n\n" then
    self.over, cut.told = true, cut.told + 1
    message:append(END:format(self.agent, cut.cause))
    message:set_eom()
  end
end

core.register_filter("told", Told, function(made) return made end)

-- The state of an agent, in the command's terms.
core.register_fetches("state", function(txn, agent)
  local now, up = route(agent), txn.f:nbsrv(agent) > 0 and engine_is_own(agent)
  if now == "on" then return up and "ready" or "starting" end
  if now == "wait" then return up and "draining" or "starting" end
  return now == "failed" and "failed" or "stopped"
end)

-- Metrics that HAProxy's own lack, in Prometheus' form; those of the switches come from the command's file.
core.register_service("metrics", "http", function(applet)
  local lines = {}
  local function kind(name, is)
    lines[#lines + 1] = ("# TYPE roundhouse_gateway_%s %s\n"):format(name, is)
  end
  local function add(name, labels, value)
    lines[#lines + 1] = ("roundhouse_gateway_%s{%s} %s\n"):format(name, labels, value)
  end
  -- The first request for an agent waits before it is counted.
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
