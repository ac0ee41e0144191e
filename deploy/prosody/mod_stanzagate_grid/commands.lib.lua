-- Stanzagate: the controller's orders to the grid host.
--
--    <node jid state>[<certificate fingerprint/>…]</node> <lost jid node [regained]/>
--    <revoked fingerprint [reinstated]/>    these three alone, or in <changes/>
--    <quiet jid [lifted]/>    <disconnect jid reason/>    <flush/>    <account jid/>
--
-- An order is understood completely before anything is done. One that is stale is confirmed like the others.

local jid_prep, jid_split = require "util.jid".prep, require "util.jid".split;
local st = require "util.stanza";

local ipairs, setmetatable, tonumber = ipairs, setmetatable, tonumber;
local find, lower = string.find, string.lower;

local xmlns = "urn:stanzagate:policy:1";
local states = { active = true, disabled = true, unknown = true };

local commands = {};
local commands_mt = { __index = commands };

-- `ledger`, `reach`, `admission`, `note(level, kind, …)`, `counters`, `before_leave(username)`: called while a node is
-- still active; `make_account(username)`: whether an account was made, or nil and why not.
local function new(parts)
	return setmetatable(parts, commands_mt);
end

local function number(text)
	return text and #text <= 15 and find(text, "^%d+$") and tonumber(text) or nil;
end

-- true or false; nil when it is neither.
local function flag(text)
	if text == nil or text == "false" or text == "0" then return false; end
	return (text == "true" or text == "1") or nil;
end

-- The JID and whether it has a resource; nil when it is not one of an account.
local function account(text)
	local jid = text and jid_prep(text);
	local node, _, resource = jid_split(jid);
	if not node then return nil; end
	return jid, resource ~= nil;
end

-- A SHA-256 in small letters; nil when it is none.
local function digest(text)
	local fingerprint = lower(text or "");
	return #fingerprint == 64 and find(fingerprint, "^%x+$") and fingerprint or nil;
end

-- The set of certificates that an element names, or nil when it names none; then, whether there is anything else.
local function certificates(element)
	local found;
	for _, child in ipairs(element.tags) do
		local fingerprint = child.name == "certificate" and child.attr.xmlns == xmlns and digest(child.attr.fingerprint);
		if not fingerprint then return nil, true; end
		found = found or {};
		found[fingerprint] = true;
	end
	return found, false;
end

-- What is to be done for an element, as a function that returns whether it was taken; nil when it is malformed.
local readers = {};

function readers.node(self, element, epoch)
	local jid, full = account(element.attr.jid);
	local state = element.attr.state;
	local bound, malformed = certificates(element);
	if not jid or full or not states[state] or malformed then return nil; end
	local name = self.reach:name_of(jid);
	return function ()
		if state ~= "active" and self.ledger:is_active(name) then self.before_leave(name); end
		return self.ledger:set_state(name, state, epoch, bound);
	end;
end

function readers.lost(self, element, epoch)
	local jid, full = account(element.attr.jid);
	local topic, regained = element.attr.node, flag(element.attr.regained);
	if not jid or full or not topic or topic == "" or regained == nil then return nil; end
	return function () return self.ledger:set_lost(self.reach:name_of(jid), topic, not regained, epoch); end;
end

function readers.revoked(self, element, epoch)
	local fingerprint, reinstated = digest(element.attr.fingerprint), flag(element.attr.reinstated);
	if not fingerprint or reinstated == nil then return nil; end
	return function ()
		local taken = self.ledger:set_revoked(fingerprint, not reinstated, epoch);
		if taken and not reinstated then self.admission:revoked(fingerprint); end
		return taken;
	end;
end

function readers.quiet(self, element, epoch)
	local jid, full = account(element.attr.jid);
	local lifted = flag(element.attr.lifted);
	if not full or lifted == nil then return nil; end
	return function ()
		local session = prosody.full_sessions[jid];
		if not session or session.host ~= self.reach.host then return true; end
		local known = session.stanzagate_quiet;
		if known and epoch < known.epoch then return false; end
		session.stanzagate_quiet = { on = not lifted, epoch = epoch };
		return true;
	end;
end

function commands:read(element)
	local reader = element.attr.xmlns == xmlns and readers[element.name];
	local epoch = number(element.attr.epoch);
	local act = reader and epoch and reader(self, element, epoch);
	return act and { act = act, epoch = epoch, name = element.name } or nil;
end

function commands:perform(order)
	if not order.act() then
		self.counters.discarded = self.counters.discarded + 1;
		self.note("info", "stale", "An order that is older than what is known was ignored: %s, epoch %d",
			order.name, order.epoch);
	end
end

-- An order that stands alone.
local function single(self, orders, event, element)
	local order = self:read(element);
	if not order then return orders:malformed(event); end
	self:perform(order);
	self.ledger:reach(order.epoch);
	return st.reply(event.stanza);
end

local function changes(self, orders, event, element)
	local epoch, since = number(element.attr.epoch), number(element.attr.since or "0");
	local reset = flag(element.attr.reset);
	if not epoch or not since or reset == nil then return orders:malformed(event); end
	local list = {};
	for i, child in ipairs(element.tags) do
		list[i] = child.name ~= "quiet" and self:read(child) or nil;
		if not list[i] then return orders:malformed(event); end
	end
	if reset then
		self.ledger:reset();
	elseif since > self.ledger.epoch then
		self.note("warn", "gap", "Changes since %d were refused, since only %d is known", since, self.ledger.epoch);
		return st.error_reply(event.stanza, "cancel", "unexpected-request");
	end
	for _, order in ipairs(list) do self:perform(order); end
	self.ledger:reach(epoch);
	return st.reply(event.stanza);
end

local function disconnect(self, orders, event, element)
	local jid, full = account(element.attr.jid);
	if not jid then return orders:malformed(event); end
	self.admission:disconnect(jid, full, element.attr.reason);
	return st.reply(event.stanza);
end

-- Make the account of a node, if it has none.
local function make_account(self, orders, event, element)
	local jid, full = account(element.attr.jid);
	local name, domain = jid_split(jid);
	if not jid or full or domain ~= self.reach.host then return orders:malformed(event); end
	local made, problem = self.make_account(name);
	if made == nil then
		self.note("error", "account", "The account %s could not be made: %s", jid, problem);
		return st.error_reply(event.stanza, "cancel", "internal-server-error");
	end
	return st.reply(event.stanza):tag("account", { xmlns = xmlns, made = made and "true" or "false" }):up();
end

local function flush(_, _, event)
	return st.reply(event.stanza); -- nothing is cached that the controller does not know
end

-- The handlers, as the library `orders` wants them.
function commands:handlers()
	local found = {};
	local verbs = { account = make_account, changes = changes, disconnect = disconnect, flush = flush };
	for name in pairs(readers) do verbs[name] = single; end
	for name, verb in pairs(verbs) do
		found[name] = { "set", function (...) return verb(self, ...); end };
	end
	return found;
end

return { new = new };
