-- Stanzagate: the way out, where all that the host's clients are sent is looked at for the last time.
--
-- What another module answers or copies into a session goes straight into its stream, past the guard: the results of
-- vCard, PEP and archive queries, carbons, messages that were stored. So each session has a filter. What the guard
-- has let through is in normal form; whatever else carries a connection request is dropped.
--
-- mod_smacks counts what comes to its own filter (priority -999), and keeps it for a resumption, in which the old
-- session takes on the filters of the new stream. So ours stands right before it, on each stream that authenticates.

local filters = require "util.filters";

local pairs, pcall, setmetatable = pairs, pcall, setmetatable;

local direction, before_smacks = "stanzas/out", -998;

local outgoing = {};
local outgoing_mt = { __index = outgoing };

-- `filter(stanza, session)` returns what is sent in the place of a stanza, or nil.
local function with(filter)
	return setmetatable({ filter = filter, sessions = setmetatable({}, { __mode = "k" }) }, outgoing_mt);
end

-- The filter of a host of devices. `payload`: the library. `is_open()`: whether everything may leave.
-- `refuse(stanza, reason)`: drops a stanza. `note(level, kind, …)`.
local function new(parts)
	local within, normal_form = parts.payload.within, parts.payload.normal_form;
	local is_open, refuse, note = parts.is_open, parts.refuse, parts.note;

	local function may_leave(stanza)
		return not within(stanza) or normal_form(stanza) == stanza;
	end

	local function filter(stanza)
		local ok, result = pcall(may_leave, stanza);
		if ok and result or is_open() then return stanza; end
		if not ok then note("error", "crashed", "The guard failed over a stanza on its way out: %s", result); end
		pcall(refuse, stanza, ok and "answer" or "crashed");
		return nil;
	end

	return with(filter);
end

function outgoing:guard(session)
	self.sessions[session] = true;
	filters.add_filter(session, direction, self.filter, before_smacks); -- once, however often it is added
end

-- Guard those that are there, and those that come: `users` are the host's.
function outgoing:watch(users)
	for _, user in pairs(users) do
		for _, session in pairs(user.sessions) do self:guard(session); end
	end
	local function guard(event) self:guard(event.session); end
	module:hook("authentication-success", guard);
	module:hook("resource-bind", guard); -- had authenticated before we came, or by a module that does not tell
end

function outgoing:finish()
	for session in pairs(self.sessions) do filters.remove_filter(session, direction, self.filter); end
end

return { new = new, with = with };
