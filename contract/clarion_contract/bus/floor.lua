-- The position from which on a log is whole. history.lua and text.lua begin with it.

-- Before an entry, only logged events can be missing: those up to l, or else p.
local function floor_before(entry)
  local floor
  for i = 1, #entry[2], 2 do
    local name = entry[2][i]
    if name == 'l' or name == 'p' and not floor then floor = entry[2][i + 1] end
  end
  return floor
end

-- The floor of a log with this first entry. text.lua may have taken out entries before it, which later ones
-- replace: no position lacks anything for that. So it remembers the floor of before in the meta hash.
local function floor_of(first, meta)
  local id, floor = string.match(redis.call('HGET', meta, 'floor') or '', '^([%d-]+) (%d+)$')
  if id == first[1] then return floor end
  return floor_before(first)
end
