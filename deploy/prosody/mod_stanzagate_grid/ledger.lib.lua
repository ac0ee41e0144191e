-- Stanzagate: what the controller has told of nodes, certificates and lost topics; kept over restarts.
--
-- There is a record for an account (by its user name) or for a node of another domain (by its bare JID):
--
--    { state, epoch, certificates = { fingerprint → true },
--      lost = { topic → { epoch, at, regained } }, generation }
--
-- and one for a certificate (by its fingerprint): { revoked, epoch, generation }. Each lies in the server's own store,
-- is read when it is needed and written before an order is confirmed. One more record says the highest epoch and the
-- generation: what has another one is void, so that all is forgotten by a single write. What is older than what a
-- record knows is stale and changes nothing. Without `certificates` a name is not bound, and any of them will do.

local new_cache = require "util.cache".new;
local new_id = require "util.id".medium;

local error, pairs, setmetatable = error, pairs, setmetatable;
local gmatch, sub = string.gmatch, string.sub;

local remembered = 100000; -- records, of both kinds

local nothing = {}; -- stands for a record that there is not

local ledger = {};
local ledger_mt = { __index = ledger };

-- `nodes`, `certificates`: keyval stores. `clock()`: seconds since 1970, whole ones.
local function new(parts)
	parts.known = { [parts.nodes] = new_cache(remembered), [parts.certificates] = new_cache(remembered) };
	setmetatable(parts, ledger_mt);
	local found = parts.nodes:get(nil) or nothing;
	parts.epoch, parts.generation = found.epoch or 0, found.generation;
	if not parts.generation then
		parts.generation = new_id();
		parts:save_epoch();
	end
	return parts;
end

local function stored(ok, problem)
	if not ok then error(problem or "the store does not work", 0); end
end

function ledger:save_epoch()
	stored(self.nodes:set(nil, { epoch = self.epoch, generation = self.generation }));
end

-- The record of that name, or nil. An error when it cannot be read.
function ledger:find(store, name)
	local record = self.known[store]:get(name);
	if not record then
		local problem;
		record, problem = store:get(name);
		if problem then error(problem, 0); end
		if not record or record.generation ~= self.generation then record = nothing; end
		self.known[store]:set(name, record);
	end
	return record ~= nothing and record or nil;
end

-- Change the record of that name: at once, then in the store.
function ledger:write(store, name, record)
	record.generation = self.generation;
	self.known[store]:set(name, record);
	stored(store:set(name, record));
end

-- The account is deleted, and what is stored of it with it. If it was active, our epoch goes back to before it, so that
-- the controller, which may make the account anew, finds that we have to be told again.
function ledger:forget(name)
	local record = self:find(self.nodes, name);
	self.known[self.nodes]:set(name, nil);
	if record and record.state == "active" and record.epoch <= self.epoch then
		self.epoch = record.epoch > 0 and record.epoch - 1 or 0;
		self:save_epoch();
	end
end

function ledger:is_active(name)
	local record = self:find(self.nodes, name);
	return record ~= nil and record.state == "active";
end

-- Whether whoever has come by a certificate is not the one whose name he has. Without a certificate he is.
function ledger:is_stranger(name, fingerprint)
	local record = fingerprint and self:find(self.nodes, name) or nothing;
	return record.certificates ~= nil and not record.certificates[fingerprint];
end

-- Topics that a node has lost or had lost once, or nil.
function ledger:losses(name)
	local record = self:find(self.nodes, name);
	return record and record.lost;
end

function ledger:is_revoked(fingerprint)
	local record = self:find(self.certificates, fingerprint);
	return record ~= nil and record.revoked;
end

-- The following three return whether the order was taken; false says that it is stale.

-- `certificates`: the set of those that the name is bound to, or nil.
function ledger:set_state(name, state, epoch, certificates)
	local record = self:find(self.nodes, name) or { epoch = 0, lost = nil };
	if epoch < record.epoch then return false; end
	record.state, record.epoch, record.certificates = state, epoch, certificates;
	self:write(self.nodes, name, record);
	return true;
end

function ledger:set_lost(name, topic, lost, epoch)
	local record = self:find(self.nodes, name) or { epoch = 0, state = "unknown" };
	local before = record.lost and record.lost[topic] or { epoch = 0, at = 0 };
	if epoch < before.epoch then return false; end
	record.lost = record.lost or {};
	record.lost[topic] = { epoch = epoch, regained = not lost, at = lost and self.clock() or before.at };
	self:write(self.nodes, name, record);
	return true;
end

function ledger:set_revoked(fingerprint, revoked, epoch)
	local record = self:find(self.certificates, fingerprint);
	if record and epoch < record.epoch then return false; end
	self:write(self.certificates, fingerprint, { revoked = revoked, epoch = epoch });
	return true;
end

-- An order with this epoch was taken.
function ledger:reach(epoch)
	if epoch <= self.epoch then return; end
	self.epoch = epoch;
	self:save_epoch();
end

-- Forget everything.
function ledger:reset()
	self.epoch, self.generation = 0, new_id();
	for store in pairs(self.known) do self.known[store] = new_cache(remembered); end
	self:save_epoch();
end

local function is_dropped(loss, stamp)
	return loss ~= nil and (not loss.regained or stamp ~= nil and stamp <= loss.at);
end

-- Whether an event of a pubsub node is not delivered any more to who has these losses. A loss reaches the subtopics.
-- `stamp`: when the event was stored, if it was.
local function is_lost(losses, node, stamp)
	if is_dropped(losses[node], stamp) then return true; end
	for slash in gmatch(node, "()/") do
		if is_dropped(losses[sub(node, 1, slash - 1)], stamp) then return true; end
	end
	return false;
end

return { new = new, is_lost = is_lost };
