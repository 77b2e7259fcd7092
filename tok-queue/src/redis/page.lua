-- KEYS: list. ARGV: position before the page, limit of messages, limit of bytes. Gives whether there is more,
-- the server's time (ms), and items.
local messages, bytes = tonumber(ARGV[2]), tonumber(ARGV[3])
local page, cost = {}, 0
local after = tonumber(ARGV[1])
local start, now = 0, math.floor(clock() / 1000)
if after > 0 then start = count_upto(KEYS[1], after) end
while true do
    local items = redis.call('LRANGE', KEYS[1], start, start + 63)
    if #items == 0 then return { 0, now, page } end
    for _, item in ipairs(items) do
        cost = cost + #item + OVERHEAD
        -- The first always fits.
        if #page > 0 and (#page >= messages or cost > bytes) then return { 1, now, page } end
        page[#page + 1] = item
    end
    start = start + #items
end
