/**
 * Takes, settles, releases, renews and shows claims in one step, by the server's own clock. The same arithmetic as the limits in memory.
 *
 * KEYS: two for each claim: its own (a hash for buckets and windows, a sorted set for leases), and that of its holds.
 * ARGV: what to do (`take`, `settle`, `renew`, `peek`), the reservation's id, whether this process made it (`1`), how many claims; then ten for each claim: kind, limit,
 * cost, three of its kind (window and burst; start, end and hold; lease), shadow, two marks, and what was used (empty: nothing).
 * Returns whether it was done, the clock, and six for each claim: does it fit, three of its kind (level; spent and held; held, soonest and last end), two marks.
 */
export const limitScript = `
local time = redis.call('TIME')
local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = micros / 1000
local op, id, own, count = ARGV[1], ARGV[2], ARGV[3] == '1', tonumber(ARGV[4])
local mostHoles = 64

local function text(number) return string.format('%.17g', number) end
-- Whole numbers go as they are: Redis sends them as integers.
local function reply(number)
  if number % 1 == 0 and number < 9007199254740992 and number > -9007199254740992 then return number end
  return text(number)
end

local claims, states = {}, {}
for i = 1, count do
  local at = 4 + (i - 1) * 10
  claims[i] = {
    kind = ARGV[at + 1], limit = tonumber(ARGV[at + 2]), cost = tonumber(ARGV[at + 3]),
    a = tonumber(ARGV[at + 4]), b = tonumber(ARGV[at + 5]), c = tonumber(ARGV[at + 6]),
    shadow = ARGV[at + 7] == '1', first = tonumber(ARGV[at + 8]), second = tonumber(ARGV[at + 9]), used = tonumber(ARGV[at + 10]) or 0,
    key = KEYS[i * 2 - 1], holds = KEYS[i * 2], member = id .. ':' .. i,
  }
end

local function mixed(i) return redis.error_reply('TOLLGATE_MIXED ' .. i) end

local function sweep(claim, state)
  local over = redis.call('ZRANGEBYSCORE', claim.holds, '-inf', text(now))
  for _, member in ipairs(over) do
    local hold = redis.call('HGET', claim.key, 'u:' .. member)
    if hold then
      local units, born = string.match(hold, '^(.-):(.+)$')
      redis.call('HINCRBYFLOAT', claim.key, 'r:' .. born, '-' .. units)
      redis.call('HDEL', claim.key, 'u:' .. member)
    end
    redis.call('ZREM', claim.holds, member)
  end
end

-- The state of each key, read once.
for i, claim in ipairs(claims) do
  local state = states[claim.key]
  if state and state.kind ~= claim.kind then return mixed(i) end
  if not state then
    state = { kind = claim.kind, key = claim.key, holds = claim.holds }
    if claim.kind == 'l' then
      local swept = redis.pcall('ZREMRANGEBYSCORE', claim.key, '-inf', text(now))
      if type(swept) == 'table' and swept.err then return mixed(i) end
      state.held = redis.call('ZCARD', claim.key)
    else
      local kept
      if claim.kind == 'b' then kept = redis.pcall('HMGET', claim.key, 'k', 'l', 'n', 't', 'b', 'h')
      else kept = redis.pcall('HMGET', claim.key, 'k', 'l', 'n', 's', 'e', 's2', 'e2', 'l2', 'n2') end
      if kept.err then return mixed(i) end
      if kept[1] and kept[1] ~= claim.kind then return mixed(i) end
      state.exists = kept[1] ~= false
      state.level = tonumber(kept[2] or 0)
      state.born = kept[3] or '0'
      if claim.kind == 'b' then
        state.at = tonumber(kept[4] or 0)
        state.back = tonumber(kept[5] or 0)
        state.holes = kept[6] or ''
      else
        state.startsAt = tonumber(kept[4] or 0)
        state.endsAt = tonumber(kept[5] or 0)
        if kept[6] then
          state.other = { startsAt = tonumber(kept[6]), endsAt = tonumber(kept[7]), spent = tonumber(kept[8]), born = kept[9] }
        end
        if state.exists then sweep(claim, state) end
      end
    end
    states[claim.key] = state
  end
end

local function draw(state)
  -- Never the same twice for one key.
  state.stamp = math.max(micros, tonumber(state.born) + 1, (state.stamp or 0) + 1)
  return string.format('%.0f', state.stamp)
end

-- Buckets

local function levelOf(claim, state)
  local left = state.level - math.max(0, now - state.at) * claim.limit / claim.a
  return left > claim.limit * 1e-12 and left or 0
end

local function holesOf(state)
  local holes = {}
  for position, units in string.gmatch(state.holes, '([^:,]+):([^:,]+)') do
    holes[#holes + 1] = { position = tonumber(position), units = tonumber(units) }
  end
  return holes
end

local function keepHoles(state, holes)
  local parts = {}
  for i, hole in ipairs(holes) do parts[i] = text(hole.position) .. ':' .. text(hole.units) end
  state.holes = table.concat(parts, ',')
end

local function pour(claim, state, units)
  local before = levelOf(claim, state)
  if before == 0 then
    state.born = draw(state)
    state.back = 0
    state.holes = ''
  end
  state.level = before + units
  state.at = math.max(now, state.at)
  state.back = state.back + units
  state.wholeMs = state.level * claim.a / claim.limit
  state.dirty = true
end

local function refund(claim, state, units, born, position)
  if not state.exists or tonumber(state.born) ~= born then return end
  local level = levelOf(claim, state)
  local holes = holesOf(state)
  local front = state.back - level
  for _, hole in ipairs(holes) do front = front - hole.units end
  local passed = 0
  for i, hole in ipairs(holes) do
    if hole.position - hole.units > front then break end
    front = front + hole.units
    passed = i
  end
  local kept = {}
  for i = passed + 1, #holes do kept[#kept + 1] = holes[i] end
  local back = math.min(units, level, math.max(0, position - front))
  if back > 0 then
    local place = #kept + 1
    while place > 1 and kept[place - 1].position > position do place = place - 1 end
    table.insert(kept, place, { position = position, units = back })
    if #kept > mostHoles then table.remove(kept, 1) end
    state.level = level - back
    state.at = math.max(now, state.at)
  elseif passed == 0 then return end
  state.wholeMs = levelOf(claim, state) * claim.a / claim.limit
  keepHoles(state, kept)
  state.dirty = true
end

-- Windows

local function heldOf(state, born)
  if not state.exists then return 0 end
  return tonumber(redis.call('HGET', state.key, 'r:' .. born) or 0) or 0
end

local function usageOf(claim, state)
  if not state.exists then return 0, 0 end
  if state.other and state.other.startsAt == claim.a then return state.other.spent, heldOf(state, state.other.born) end
  if claim.a > state.startsAt then return 0, 0 end
  return state.level, heldOf(state, state.born)
end

local function spend(claim, state, units)
  local current = { startsAt = state.startsAt, endsAt = state.endsAt, spent = state.level, born = state.born }
  local other = state.other
  local isOther = other and other.startsAt == claim.a
  if not state.exists or (claim.a > state.startsAt and not isOther) then
    if state.exists and (not other or other.startsAt < state.startsAt) then
      if other then redis.call('HDEL', claim.key, 'r:' .. other.born) end
      state.other = current
    end
    state.startsAt, state.endsAt, state.level, state.born = claim.a, claim.b, 0, draw(state)
    state.exists = true
  elseif isOther then
    state.other = current
    state.startsAt, state.endsAt, state.level, state.born = other.startsAt, other.endsAt, other.spent, other.born
  end
  state.level = state.level + units
  local lasts = claim.b > now and claim.b - now or claim.b - claim.a
  state.wholeMs = math.max(state.wholeMs or 0, lasts)
  state.dirty = true
end

local function overspend(claim, state, units)
  if not state.exists or state.startsAt <= claim.a then spend(claim, state, units)
  else
    state.level = state.level + units
    state.dirty = true
  end
end

local function change(state, units, born)
  if not state.exists then return false end
  if tonumber(state.born) == born then state.level = math.max(0, state.level + units)
  elseif state.other and tonumber(state.other.born) == born then state.other.spent = math.max(0, state.other.spent + units)
  else return false end
  state.dirty = true
  return true
end

local function hold(claim, state)
  redis.call('ZADD', claim.holds, text(now + claim.c), claim.member)
  redis.call('HSET', claim.key, 'k', 'w', 'u:' .. claim.member, text(claim.cost) .. ':' .. state.born)
  redis.call('HINCRBYFLOAT', claim.key, 'r:' .. state.born, text(claim.cost))
  state.heldMs = math.max(state.heldMs or 0, claim.c)
end

local function letGo(claim)
  local kept = redis.call('HGET', claim.key, 'u:' .. claim.member)
  redis.call('ZREM', claim.holds, claim.member)
  if not kept then return false end
  local units, born = string.match(kept, '^(.-):(.+)$')
  redis.call('HDEL', claim.key, 'u:' .. claim.member)
  redis.call('HINCRBYFLOAT', claim.key, 'r:' .. born, '-' .. units)
  return true
end

-- All kinds

local function fits(claim, state, asked)
  if claim.kind == 'l' then return state.held + asked + 1 <= claim.limit end
  local gone, most = 0, claim.limit
  if claim.kind == 'b' then gone, most = levelOf(claim, state), claim.b
  else
    local spent, held = usageOf(claim, state)
    gone = spent + held
  end
  return claim.limit > 0 and gone + asked + claim.cost <= most * (1 + 1e-9)
end

local done = true
local asked = {}
if op == 'take' or op == 'peek' then
  for _, claim in ipairs(claims) do
    local before = op == 'take' and asked[claim.key] or 0
    claim.fits = fits(claim, states[claim.key], before)
    if claim.fits then asked[claim.key] = before + (claim.kind == 'l' and 1 or claim.cost)
    elseif not claim.shadow then
      if op == 'take' then done = false end
      asked[claim.key] = before + (claim.kind == 'l' and 1 or claim.cost)
    end
  end
end

if op == 'take' and done then
  for _, claim in ipairs(claims) do
    local state = states[claim.key]
    claim.first, claim.second = -1, 0
    if not claim.fits then claim.first = -2
    elseif claim.kind == 'l' then
      claim.first = 0
      redis.call('ZADD', claim.key, text(now + claim.a), claim.member)
      state.held = state.held + 1
    elseif claim.cost > 0 then
      if claim.kind == 'b' then
        pour(claim, state, claim.cost)
        claim.second = state.back
      else
        spend(claim, state, claim.c and 0 or claim.cost)
        if claim.c then hold(claim, state) end
      end
      claim.first = tonumber(state.born)
    end
  end
elseif op == 'settle' then
  for _, claim in ipairs(claims) do
    local state = states[claim.key]
    if claim.first == -2 then
      -- A shadow that did not fit.
    elseif claim.kind == 'l' then state.held = state.held - redis.call('ZREM', claim.key, claim.member)
    elseif claim.kind == 'b' then
      local delta = claim.used - claim.cost
      if own and delta > 0 then pour(claim, state, delta)
      elseif own and delta < 0 then refund(claim, state, -delta, claim.first, claim.second) end
    elseif claim.c then
      if letGo(claim) or own then
        local mine = math.min(claim.used, claim.cost)
        local beyond = claim.used - mine
        if mine > 0 and not change(state, mine, claim.first) then beyond = beyond + mine end
        if beyond > 0 then overspend(claim, state, beyond) end
      end
    elseif own then
      local delta = claim.used - claim.cost
      if delta > 0 then overspend(claim, state, delta)
      elseif delta < 0 then change(state, delta, claim.first) end
    end
  end
elseif op == 'renew' then
  for _, claim in ipairs(claims) do
    if claim.first == -2 then
      -- A shadow that did not fit.
    elseif claim.kind == 'l' then
      if redis.call('ZSCORE', claim.key, claim.member) then redis.call('ZADD', claim.key, text(now + claim.a), claim.member)
      else done = false end
    elseif claim.kind == 'w' and claim.c and claim.first ~= -1 then
      if redis.call('ZSCORE', claim.holds, claim.member) then
        redis.call('ZADD', claim.holds, text(now + claim.c), claim.member)
        states[claim.key].heldMs = claim.c
      else done = false end
    end
  end
end

local function outlive(key, ms)
  if redis.call('PTTL', key) < ms then redis.call('PEXPIRE', key, string.format('%.0f', math.ceil(ms))) end
end

for key, state in pairs(states) do
  if state.dirty and state.kind == 'b' then
    if state.level == 0 then redis.call('DEL', key)
    else
      redis.call('HSET', key, 'k', 'b', 'l', text(state.level), 't', text(state.at), 'b', text(state.back), 'n', state.born, 'h', state.holes)
      redis.call('PEXPIRE', key, string.format('%.0f', math.max(1, math.ceil(state.wholeMs))))
    end
  elseif state.dirty then
    redis.call('HSET', key, 'k', 'w', 'l', text(state.level), 'n', state.born, 's', text(state.startsAt), 'e', text(state.endsAt))
    local other = state.other
    if other then redis.call('HSET', key, 's2', text(other.startsAt), 'e2', text(other.endsAt), 'l2', text(other.spent), 'n2', other.born) end
    if state.wholeMs then outlive(key, state.wholeMs + 60000) end
  end
  if state.heldMs then
    outlive(key, state.heldMs + 60000)
    outlive(state.holds, state.heldMs + 60000)
  end
end

local out = { done and 1 or 0, text(now) }
for i, claim in ipairs(claims) do
  local state = states[claim.key]
  if op == 'settle' then claim.fits = fits(claim, state, 0) end
  local x, y, z = 0, 0, 0
  if claim.kind == 'b' then x = levelOf(claim, state)
  elseif claim.kind == 'w' then x, y = usageOf(claim, state)
  else
    x = state.held
    if x > 0 then
      local soonest = redis.call('ZRANGE', claim.key, 0, 0, 'WITHSCORES')
      local last = redis.call('ZRANGE', claim.key, -1, -1, 'WITHSCORES')
      y, z = tonumber(soonest[2] or now) - now, tonumber(last[2] or now) - now
      outlive(claim.key, z + 1000)
    end
  end
  local at = 2 + (i - 1) * 6
  out[at + 1] = claim.fits and 1 or 0
  out[at + 2], out[at + 3], out[at + 4] = reply(x), reply(y), reply(z)
  out[at + 5], out[at + 6] = reply(claim.first or -1), reply(claim.second or 0)
end
return out
`
