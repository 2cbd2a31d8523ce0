/**
 * Takes, settles, releases, renews and shows claims in one step, by the server's own clock. The same arithmetic as the limits in memory.
 *
 * KEYS: two for each claim: its own (a string of packed doubles for buckets and windows, a sorted set for leases), and that of its holds (a sorted set, for windows that
 * hold; others do not use it).
 * ARGV: what to do (`take`, `settle`, `renew`, `peek`), the reservation's id, whether this process made it (`1`), how many claims; then for each claim seven: kind, limit,
 * cost, three of its kind (window and burst; start, end and hold; lease), shadow; and to `settle` and `renew` three more: two marks, and what was used (empty: nothing).
 * Returns one text of numbers with spaces between them: whether it was done, the clock (microseconds since the epoch), and six for each claim: does it fit, three of its kind
 * (level; spent and held; held, and the soonest and last end), two marks. The soonest end is told only of a claim that does not fit.
 *
 * A hold is a member of a sorted set by its end; the member tells what is held and of which window (`<reservation>:<claim>:<units>:<born>`), so whoever settles can name it. Every command that the script
 * calls costs as much as a good part of its arithmetic: a bucket takes three, a window with a hold five. Redis writes the numbers that a command is given with all of their digits.
 */
export const limitScript = `
local call, pack, unpack, tonumber, format, max, min = redis.call, struct.pack, struct.unpack, tonumber, string.format, math.max, math.min
local KEYS, ARGV = KEYS, ARGV
local time = call('TIME')
local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = micros / 1000
local op, id, own, count = ARGV[1], ARGV[2], ARGV[3] == '1', tonumber(ARGV[4])
local mostHoles = 64
local bucketFormat, windowFormat = '<dddd', '<dddddddddddd'

local claims, states, order = {}, {}, {}
local isBefore = op == 'take' or op == 'peek'
local at = 4
for i = 1, count do
  local claim = {
    kind = ARGV[at + 1], limit = tonumber(ARGV[at + 2]), cost = tonumber(ARGV[at + 3]),
    a = tonumber(ARGV[at + 4]), b = tonumber(ARGV[at + 5]), c = tonumber(ARGV[at + 6]),
    shadow = ARGV[at + 7] == '1', key = KEYS[i * 2 - 1], holds = KEYS[i * 2], units = ARGV[at + 3],
    first = -1, second = 0, fits = false,
  }
  at = at + 7
  if not isBefore then
    claim.first, claim.second, claim.used = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]) or 0
    at = at + 3
  end
  claims[i] = claim
end

-- Of a hold the beginning; of a lease all.
local function memberOf(i) return id .. ':' .. i end

local function mixed(i) return redis.error_reply('TOLLGATE_MIXED ' .. i) end

-- What a window holds, by the stamp of that window; of one that is no longer kept, nothing.
local function addHeld(state, units, born)
  if state.born == born then state.held = max(0, state.held + units)
  elseif state.other and state.other.born == born then state.other.held = max(0, state.other.held + units)
  end
end

-- Lets go of what is held for longer than was said.
local function sweep(state)
  if state.soonest == 0 or now < state.soonest then return end
  for _, member in ipairs(call('ZRANGEBYSCORE', state.holds, '-inf', now)) do
    local units, born = string.match(member, '([^:]+):([^:]+)$')
    addHeld(state, -tonumber(units), tonumber(born))
    call('ZREM', state.holds, member)
  end
  state.soonest = tonumber(call('ZRANGE', state.holds, 0, 0, 'WITHSCORES')[2] or 0)
  state.dirty = true
end

-- The state of each key, read once.
for i = 1, count do
  local claim = claims[i]
  local state = states[claim.key]
  if state and state.kind ~= claim.kind then return mixed(i) end
  if not state then
    state = { kind = claim.kind, key = claim.key, holds = claim.holds }
    if claim.kind == 'l' then
      local swept = redis.pcall('ZREMRANGEBYSCORE', claim.key, '-inf', now)
      if type(swept) == 'table' and swept.err then return mixed(i) end
      state.held = call('ZCARD', claim.key)
    else
      local kept = redis.pcall('GET', claim.key)
      if type(kept) == 'table' then return mixed(i) end
      state.exists = kept ~= false
      if kept and string.sub(kept, 1, 1) ~= claim.kind then return mixed(i) end
      if claim.kind == 'b' then
        if kept then state.level, state.born, state.at, state.back = unpack(bucketFormat, kept, 2)
        else state.level, state.born, state.at, state.back = 0, 0, 0, 0 end
        state.holes = kept and string.sub(kept, 34) or ''
      elseif kept then
        local other = {}
        state.level, state.born, state.startsAt, state.endsAt, state.held, state.soonest, state.expiresAt,
          other.spent, other.born, other.startsAt, other.endsAt, other.held = unpack(windowFormat, kept, 2)
        if other.born > 0 then state.other = other end
        sweep(state)
      else
        state.level, state.born, state.startsAt, state.endsAt, state.held, state.soonest, state.expiresAt = 0, 0, 0, 0, 0, 0, 0
      end
    end
    states[claim.key] = state
    order[#order + 1] = state
  end
end

local function draw(state)
  -- Never the same twice for one key.
  state.stamp = max(micros, state.born + 1, (state.stamp or 0) + 1)
  return state.stamp
end

-- Buckets

local function levelOf(claim, state)
  local left = state.level - max(0, now - state.at) * claim.limit / claim.a
  return left > claim.limit * 1e-12 and left or 0
end

local function pour(claim, state, units)
  local before = levelOf(claim, state)
  if before == 0 then
    state.born = draw(state)
    state.back = 0
    state.holes = ''
  end
  state.level = before + units
  state.at = max(now, state.at)
  state.back = state.back + units
  state.wholeMs = state.level * claim.a / claim.limit
  state.dirty = true
end

local function refund(claim, state, units, born, position)
  if not state.exists or state.born ~= born then return end
  local level = levelOf(claim, state)
  local holes = {}
  for at = 1, #state.holes, 16 do
    local hole = {}
    hole.position, hole.units = unpack('<dd', state.holes, at)
    holes[#holes + 1] = hole
  end
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
  local back = min(units, level, max(0, position - front))
  if back > 0 then
    if position == state.back then
      state.back = position - back
      while kept[#kept] and kept[#kept].position >= state.back do
        state.back = state.back - kept[#kept].units
        kept[#kept] = nil
      end
    else
      local place = #kept + 1
      while place > 1 and kept[place - 1].position > position do place = place - 1 end
      table.insert(kept, place, { position = position, units = back })
      if #kept > mostHoles then table.remove(kept, 1) end
    end
    state.level = level - back
    state.at = max(now, state.at)
  elseif passed == 0 then return end
  state.wholeMs = levelOf(claim, state) * claim.a / claim.limit
  local parts = {}
  for i, hole in ipairs(kept) do parts[i] = pack('<dd', hole.position, hole.units) end
  state.holes = table.concat(parts)
  state.dirty = true
end

-- Windows

local function usageOf(claim, state)
  if not state.exists then return 0, 0 end
  if state.other and state.other.startsAt == claim.a then return state.other.spent, state.other.held end
  if claim.a > state.startsAt then return 0, 0 end
  return state.level, state.held
end

local function outlive(state, ms)
  state.expiresAt = max(state.expiresAt, now + ms + 60000)
end

local function current(state)
  return { startsAt = state.startsAt, endsAt = state.endsAt, spent = state.level, born = state.born, held = state.held }
end

local function spend(claim, state, units)
  local other = state.other
  local isOther = other and other.startsAt == claim.a
  if not state.exists or (claim.a > state.startsAt and not isOther) then
    if state.exists and (not other or other.startsAt < state.startsAt) then state.other = current(state) end
    state.startsAt, state.endsAt, state.level, state.held, state.born = claim.a, claim.b, 0, 0, draw(state)
    state.exists = true
  elseif isOther then
    state.other = current(state)
    state.startsAt, state.endsAt, state.level, state.held, state.born = other.startsAt, other.endsAt, other.spent, other.held, other.born
  end
  state.level = state.level + units
  outlive(state, claim.b > now and claim.b - now or claim.b - claim.a)
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
  if state.born == born then state.level = max(0, state.level + units)
  elseif state.other and state.other.born == born then state.other.spent = max(0, state.other.spent + units)
  else return false end
  state.dirty = true
  return true
end

local function holdOf(i, claim, born) return format('%s:%d:%s:%.0f', id, i, claim.units, born) end

local function hold(i, claim, state)
  local ends = now + claim.c
  call('ZADD', claim.holds, ends, holdOf(i, claim, state.born))
  state.held = state.held + claim.cost
  state.soonest = state.soonest == 0 and ends or min(state.soonest, ends)
  outlive(state, claim.c)
  state.holding = true
end

local function letGo(i, claim, state)
  if call('ZREM', claim.holds, holdOf(i, claim, claim.first)) == 0 then return false end
  addHeld(state, -claim.cost, claim.first)
  state.dirty = true
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
if isBefore then
  for i = 1, count do
    local claim = claims[i]
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
  for i = 1, count do
    local claim = claims[i]
    local state = states[claim.key]
    if not claim.fits then claim.first = -2
    elseif claim.kind == 'l' then
      claim.first = 0
      call('ZADD', claim.key, now + claim.a, memberOf(i))
      state.held = state.held + 1
      state.leasing = true
    elseif claim.cost > 0 then
      if claim.kind == 'b' then
        pour(claim, state, claim.cost)
        claim.second = state.back
      else
        spend(claim, state, claim.c and 0 or claim.cost)
        if claim.c then hold(i, claim, state) end
      end
      claim.first = state.born
    end
  end
elseif op == 'settle' then
  for i = 1, count do
    local claim = claims[i]
    local state = states[claim.key]
    if claim.first == -2 then
      -- A shadow that did not fit.
    elseif claim.kind == 'l' then state.held = state.held - call('ZREM', claim.key, memberOf(i))
    elseif claim.kind == 'b' then
      local delta = claim.used - claim.cost
      if own and delta > 0 then pour(claim, state, delta)
      elseif own and delta < 0 then refund(claim, state, -delta, claim.first, claim.second) end
    elseif claim.c then
      if letGo(i, claim, state) or own then
        local mine = min(claim.used, claim.cost)
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
  for i = 1, count do
    local claim = claims[i]
    local state = states[claim.key]
    if claim.first == -2 then
      -- A shadow that did not fit.
    elseif claim.kind == 'l' then
      local member = memberOf(i)
      if call('ZSCORE', claim.key, member) then
        call('ZADD', claim.key, now + claim.a, member)
        state.leasing = true
      else done = false end
    elseif claim.kind == 'w' and claim.c and claim.first ~= -1 then
      local held = holdOf(i, claim, claim.first)
      if call('ZSCORE', claim.holds, held) then
        call('ZADD', claim.holds, now + claim.c, held)
        outlive(state, claim.c)
        state.holding = true
      else done = false end
    end
  end
end

for i = 1, #order do
  local state = order[i]
  if state.kind == 'b' then
    if state.dirty and state.level == 0 then call('DEL', state.key)
    elseif state.dirty then
      local kept = 'b' .. pack(bucketFormat, state.level, state.born, state.at, state.back) .. state.holes
      call('SET', state.key, kept, 'PX', max(1, math.ceil(state.wholeMs)))
    end
  elseif state.dirty or state.holding then
    local other = state.other or { spent = 0, born = 0, startsAt = 0, endsAt = 0, held = 0 }
    local lasts = max(1, math.ceil(state.expiresAt - now))
    call('SET', state.key, 'w' .. pack(windowFormat, state.level, state.born, state.startsAt, state.endsAt, state.held, state.soonest, state.expiresAt,
      other.spent, other.born, other.startsAt, other.endsAt, other.held), 'PX', lasts)
    if state.holding then call('PEXPIRE', state.holds, lasts) end
  end
end

local out = { format('%d %.0f', done and 1 or 0, micros) }
for i = 1, count do
  local claim = claims[i]
  local state = states[claim.key]
  if op == 'settle' then claim.fits = fits(claim, state, 0) end
  local x, y, z = 0, 0, 0
  if claim.kind == 'b' then x = levelOf(claim, state)
  elseif claim.kind == 'w' then x, y = usageOf(claim, state)
  else
    x = state.held
    if x == 1 and state.leasing then y, z = claim.a, claim.a
    elseif x > 0 then
      if not claim.fits then y = tonumber(call('ZRANGE', claim.key, 0, 0, 'WITHSCORES')[2] or now) - now end
      z = tonumber(call('ZRANGE', claim.key, -1, -1, 'WITHSCORES')[2] or now) - now
    end
    if state.leasing then call('PEXPIRE', claim.key, math.ceil(z + 1000)) end
  end
  out[i + 1] = format('%d %.17g %.17g %.17g %.17g %.17g', claim.fits and 1 or 0, x, y, z, claim.first, claim.second)
end
return table.concat(out, ' ')
`
