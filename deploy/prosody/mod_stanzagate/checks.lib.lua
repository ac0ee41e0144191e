-- Stanzagate: asking the component, and what waits for its decisions.
--
-- There is one check under way for a pair of requester and device (bare JIDs), and a queue behind it in which all that
-- comes meanwhile keeps its order, whatever its resource. A decision settles the head of the queue as far as it
-- reaches; when it was about one resource only, the next one is asked for. Whatever else happens (no decision in
-- time, an error, the component goes away) settles the whole queue: by what is still usable in the cache, or else by
-- a refusal. So nothing waits for long, nothing is overtaken, and there are limits to how much waits at once.
--
-- Only a few checks are sent at a time, since a flush stands behind them in the component's stream and has to come
-- soon. The others wait for their turn, which goes round among the requesters.
--
--    begun ─▶ its turn ─▶ sent ──decision──▶ settled, next resource lines up or done
--                ▲         │└────outdated──▶ lines up again, three times at most
--                └─────────┘└─anything else─▶ all settled

local new_id = require "util.id".medium;

local pairs, setmetatable = pairs, setmetatable;
local match = string.match;

local window = 128; -- checks that are sent and not answered
local checks_limit, checks_limit_of_domain, checks_limit_of_requester = 8192, 4096, 1024;
local waiting_limit_of_pair, waiting_limit = 256, 10000;
local bytes_limit = 16 * 1024 * 1024;
local time_limit = 5; -- seconds
local repetitions_limit = 3;
local id_prefix = "stanzagate-";

local checks = {};
local checks_mt = { __index = checks };

-- `cache`: the decisions. `turns`: whose check is sent next. `clock`: seconds, monotonic. `counters`: asked, discarded.
-- `send(id, requester, device)` sends a check and returns false when the component is not attached;
-- `settle(item, allowed, reason)` is told what becomes of an item: allowed true or false, or nil and the reason of the
-- refusal; it must not raise errors.
-- `denied(check)` is told of a denial whose stanza did not wait for it. `after(seconds, callback)` returns a timer that
-- can be stopped.
local function new(parts)
	parts.by_id, parts.by_pair, parts.of_domain, parts.of_requester = {}, {}, {}, {};
	parts.count, parts.sent, parts.waiting, parts.bytes = 0, 0, 0, 0;
	return setmetatable(parts, checks_mt);
end

local function pair_of(bare, device)
	return bare .. "\n" .. device;
end

local function domain_of(bare)
	return match(bare, "[^@]*$");
end

-- Add to one of the numbers in `counts`, those that are not 0.
local function add(counts, name, number)
	number = (counts[name] or 0) + number;
	counts[name] = number > 0 and number or nil;
end

-- Whether something waits that must not be overtaken.
function checks:is_queued(bare, device)
	local check = self.by_pair[pair_of(bare, device)];
	return check ~= nil and (check.settling or check.first <= check.last);
end

-- A check is not sent any more, nor does it wait for its turn.
function checks:withdraw(check)
	self.turns:remove(check);
	if not check.id then return; end
	self.by_id[check.id], check.id = nil, nil;
	self.sent = self.sent - 1;
end

-- Let a check wait for its turn to ask about `requester`.
function checks:line_up(check, requester)
	self:withdraw(check);
	check.requester = requester;
	self.turns:add(check, check.bare);
end

-- Send the checks whose turn it is. This is called after all that lets one line up, or answers one.
function checks:send_next()
	while self.sent < window do
		local check = self.turns:take();
		if not check then return; end
		check.id = id_prefix .. new_id();
		self.by_id[check.id], self.sent = check, self.sent + 1;
		if self.send(check.id, check.requester, check.to) then
			self.counters.asked = self.counters.asked + 1;
		else
			self:fail(check, "not-attached");
		end
	end
end

function checks:start_timer(check)
	if check.timer then check.timer:stop(); end
	check.timer = self.after(time_limit, function ()
		self:fail(check, "no-decision");
		self:send_next();
	end);
end

function checks:has_room(bare, domain)
	return self.count < checks_limit
		and (self.of_domain[domain] or 0) < checks_limit_of_domain
		and (self.of_requester[bare] or 0) < checks_limit_of_requester;
end

-- Begin a check of a pair; nil and the reason when that cannot be done.
function checks:begin(requester, bare, to, device)
	local domain, pair = domain_of(bare), pair_of(bare, device);
	if not self:has_room(bare, domain) then return nil, "overload"; end
	local check = {
		bare = bare, device = device, to = to, domain = domain, first = 1, last = 0, repetitions = 0,
	};
	self.by_pair[pair], self.count = check, self.count + 1;
	add(self.of_domain, domain, 1);
	add(self.of_requester, bare, 1);
	self:start_timer(check);
	self:line_up(check, requester);
	self:send_next();
	if self.by_pair[pair] ~= check then return nil, "not-attached"; end
	return check;
end

-- Ask unless that is being done already; nobody waits for the answer. Returns as `begin` does.
function checks:refresh(requester, bare, to, device)
	local check = self.by_pair[pair_of(bare, device)];
	if check then return check; end
	return self:begin(requester, bare, to, device);
end

-- Ask about a stanza that does not wait, because nothing is refused.
function checks:watch(requester, bare, to, device)
	local check, reason = self:refresh(requester, bare, to, device);
	if check then check.watched = true; end
	return check, reason;
end

-- Let an item wait: { requester, size, … }. Returns true, or nil and the reason when it cannot.
function checks:hold(item, bare, to, device)
	local check = self.by_pair[pair_of(bare, device)];
	if self.waiting >= waiting_limit or self.bytes + item.size > bytes_limit
	or check and check.last - check.first + 1 >= waiting_limit_of_pair then
		return nil, "overload";
	end
	if not check then
		local reason;
		check, reason = self:begin(item.requester, bare, to, device);
		if not check then return nil, reason; end
	end
	item.since = self.clock();
	check.last = check.last + 1;
	check[check.last] = item;
	self.waiting, self.bytes = self.waiting + 1, self.bytes + item.size;
	return true;
end

function checks:forget(check)
	local pair = pair_of(check.bare, check.device);
	if self.by_pair[pair] ~= check then return; end
	check.timer:stop();
	self:withdraw(check);
	self.by_pair[pair], self.count = nil, self.count - 1;
	add(self.of_domain, check.domain, -1);
	add(self.of_requester, check.bare, -1);
end

-- Settle the head of a queue; what comes for the pair meanwhile still queues up.
function checks:settle_head(check, allowed, reason)
	local item = check[check.first];
	check[check.first] = nil;
	check.first, check.settling = check.first + 1, true;
	self.waiting, self.bytes = self.waiting - 1, self.bytes - item.size;
	self.settle(item, allowed, reason);
	check.settling = false;
end

-- There is no decision: settle all by what is usable, or refuse them.
function checks:fail(check, reason)
	check.timer:stop();
	while check.first <= check.last do
		local entry = self.cache:find(check[check.first].requester, check.bare, check.device, self.clock());
		if entry then
			self:settle_head(check, entry.allow);
		else
			self:settle_head(check, nil, reason);
		end
	end
	self:forget(check);
end

-- Every check fails, for the same reason.
function checks:fail_all(reason)
	local all = {};
	for _, check in pairs(self.by_pair) do
		all[#all + 1] = check;
		self.turns:remove(check); -- those that are settled first must not let the others be sent
	end
	for i = 1, #all do self:fail(all[i], reason); end
end

-- What is known of an item after `decision` on `check.requester`: true, false, or nil when it has to be asked for.
function checks:known(check, item, decision)
	if decision.every_resource or item.requester == check.requester then return decision.allow; end
	local now = self.clock();
	local entry = self.cache:find(item.requester, check.bare, check.device, now);
	if entry and now < entry.fresh_until then return entry.allow; end
end

function checks:decided(check, decision)
	self.cache:put(check.requester, check.bare, check.device, decision, self.clock());
	if check.watched and not decision.allow then self.denied(check); end
	while check.first <= check.last do
		local item = check[check.first];
		local allowed = self:known(check, item, decision);
		if allowed == nil then
			if self.clock() - item.since >= time_limit then return self:fail(check, "no-decision"); end
			check.repetitions = 0;
			self:start_timer(check);
			return self:line_up(check, item.requester);
		end
		self:settle_head(check, allowed);
	end
	self:forget(check);
end

-- The component has answered a check: a decision, or nil when it was none. Whether anybody had asked.
function checks:answered(id, decision)
	local check = self.by_id[id];
	if not check then return false; end
	if not decision then
		self:fail(check, "no-decision");
	elseif self.cache:is_current(decision.epoch) then
		self:decided(check, decision);
	else
		-- taken before a change that is known already
		self.counters.discarded = self.counters.discarded + 1;
		check.repetitions = check.repetitions + 1;
		if check.repetitions > repetitions_limit then
			self:fail(check, "no-decision");
		else
			self:line_up(check, check.requester);
		end
	end
	self:send_next();
	return true;
end

-- Whether an id is one of a check, be it forgotten by now.
local function is_check_id(id)
	return id ~= nil and match(id, "^stanzagate%-") ~= nil;
end

return { new = new, is_check_id = is_check_id };
