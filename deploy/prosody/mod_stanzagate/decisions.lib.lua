-- Stanzagate: what the policy has decided, by requester and device, for as long as that may be used.
--
-- A decision is used for `ttl` seconds; in the second half of them it is asked for anew while it is still used. Until
-- `stale` it helps out when nothing newer can be had. There are never more than `size` decisions: the oldest denial
-- goes first, then the oldest permission, so that a flood of strangers pushes out only strangers.
--
-- Two queues hold them in the order in which they came. An entry that was replaced or flushed stays in its queue
-- until it is met there, and queues that hold more of those than of others are made anew.

local jid_bare, jid_prep = require "util.jid".bare, require "util.jid".prep;

local next, pairs, setmetatable, tonumber = next, pairs, setmetatable, tonumber;
local match = string.match;

local cache = {};
local cache_mt = { __index = cache };

local function new_queue()
	return { first = 1, last = 0, alive = 0 };
end

local function new(size)
	local self = setmetatable({ size = size, evicted = 0, known = 0 }, cache_mt);
	self:clear();
	return self;
end

-- Forget everything, the epoch too.
function cache:clear()
	self.count, self.known = 0, 0;
	self.full, self.bare = {}, {}; -- requester → device → entry
	self.allowed, self.denied = new_queue(), new_queue();
end

-- The decision for a requester, given by its full and bare JID, if one may still be used at `now`.
function cache:find(full, bare, device, now)
	local of = self.full[full];
	local entry = of and of[device];
	if entry and now < entry.usable_until then return entry; end
	of = self.bare[bare];
	entry = of and of[device];
	if entry and now < entry.usable_until then return entry; end
end

local function is_indexed(entry)
	local of = entry.index[entry.requester];
	return of ~= nil and of[entry.device] == entry;
end

function cache:queue_of(entry)
	return entry.allow and self.allowed or self.denied;
end

-- Take an entry out of `of`, which has to be dropped by the caller when nothing is left in it.
function cache:take_out(of, entry)
	of[entry.device] = nil;
	local queue = self:queue_of(entry);
	queue.alive, self.count = queue.alive - 1, self.count - 1;
end

function cache:remove(entry)
	local of = entry.index[entry.requester];
	self:take_out(of, entry);
	if next(of) == nil then entry.index[entry.requester] = nil; end
end

local function append(queue, entry)
	queue.last = queue.last + 1;
	queue[queue.last] = entry;
end

local function compacted(queue)
	local made = new_queue();
	made.alive = queue.alive;
	for i = queue.first, queue.last do
		if is_indexed(queue[i]) then append(made, queue[i]); end
	end
	return made;
end

function cache:evict()
	local queue = self.denied.alive > 0 and self.denied or self.allowed;
	local entry;
	repeat
		entry = queue[queue.first];
		queue[queue.first] = nil;
		queue.first = queue.first + 1;
	until is_indexed(entry);
	self:remove(entry);
	self.evicted = self.evicted + 1;
end

-- Keep what was decided at `now` for a requester, given by its full and bare JID.
function cache:put(full, bare, device, decision, now)
	local index, requester = self.bare, bare;
	if not decision.every_resource then index, requester = self.full, full; end
	local of = index[requester];
	local old = of and of[device];
	if old then self:remove(old); end
	local entry = {
		index = index, requester = requester, device = device, allow = decision.allow, epoch = decision.epoch,
		refresh_at = now + decision.ttl / 2, fresh_until = now + decision.ttl, usable_until = now + decision.stale,
	};
	of = index[requester]; -- removing the old one may have dropped it
	if not of then
		of = {};
		index[requester] = of;
	end
	of[device] = entry;
	local queue = self:queue_of(entry);
	append(queue, entry);
	queue.alive, self.count = queue.alive + 1, self.count + 1;
	while self.count > self.size do self:evict(); end
	if queue.last - queue.first > 2 * queue.alive + 64 then
		self[decision.allow and "allowed" or "denied"] = compacted(queue);
	end
end

-- What is left is looked for once, at the end: with many devices that takes longer than to take out one.
function cache:flush_of(index, requester, device, epoch)
	local of = index[requester];
	if device then
		local entry = of[device];
		if entry and entry.epoch < epoch then self:take_out(of, entry); end
	else
		for _, entry in pairs(of) do
			if entry.epoch < epoch then self:take_out(of, entry); end
		end
	end
	if next(of) == nil then index[requester] = nil; end
end

-- Forget what is older than `epoch`: about a requester, a device (bare JIDs), both, or everything.
function cache:flush(epoch, requester, device)
	if epoch > self.known then self.known = epoch; end
	if not requester then
		for bare in pairs(self.bare) do self:flush_of(self.bare, bare, device, epoch); end
	elseif self.bare[requester] then
		self:flush_of(self.bare, requester, device, epoch);
	end
	for full in pairs(self.full) do
		if not requester or match(full, "^[^/]*") == requester then self:flush_of(self.full, full, device, epoch); end
	end
end

-- Note the epoch of a decision; false when it is older than what is known, and must not be used.
function cache:is_current(epoch)
	if epoch < self.known then return false; end
	self.known = epoch;
	return true;
end

-- Reading what the component says. Numbers are written plainly; everything else is refused, not guessed.

local function read_epoch(text)
	return text and #text <= 15 and match(text, "^%d+$") and tonumber(text) or nil;
end

local function read_seconds(text)
	return text and #text <= 20 and (match(text, "^%d+$") or match(text, "^%d+%.%d+$")) and tonumber(text) or nil;
end

local effects = { allow = true, deny = true };
local scopes = { bare = true, full = true };

-- What a <decision/> says; nil when it is malformed.
local function read_decision(element)
	local attr = element.attr;
	local epoch, ttl, stale = read_epoch(attr.epoch), read_seconds(attr.ttl), read_seconds(attr.stale);
	if not (epoch and ttl and stale) or stale < ttl then return nil; end
	if not (effects[attr.effect] and scopes[attr.scope]) then return nil; end
	return {
		allow = attr.effect == "allow", every_resource = attr.scope == "bare", epoch = epoch, ttl = ttl, stale = stale,
	};
end

local function read_bare(text)
	if text == nil then return nil, true; end
	local prepared = jid_prep(text);
	if not prepared or jid_bare(prepared) ~= prepared then return nil, false; end
	return prepared, true;
end

-- What a <flush/> says: epoch, requester, device; nil when it is malformed.
local function read_flush(element)
	local epoch = read_epoch(element.attr.epoch);
	local requester, requester_read = read_bare(element.attr.requester);
	local device, device_read = read_bare(element.attr.device);
	if not (epoch and requester_read and device_read) then return nil; end
	return epoch, requester, device;
end

return { new = new, read_decision = read_decision, read_flush = read_flush };
