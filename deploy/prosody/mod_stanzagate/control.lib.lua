-- Stanzagate: what the component says to the guarded host: decisions, flushes, and questions.
--
-- Only the configured component is believed: by its bare domain, over its own stream. Others are told `forbidden`.

local st = require "util.stanza";

local ipairs, setmetatable, tostring = ipairs, setmetatable, tostring;

local xmlns = "urn:stanzagate:policy:1";
local numbers = {
	"epoch", "seq", "cached", "checks", "held", "sessions", "hits", "asked", "allowed", "denied", "passed", "bypassed",
	"evicted", "discarded",
};

local control = {};
local control_mt = { __index = control };

-- `link`, `cache`, `checks`, `sessions`, `counters`, `status()`, `note(level, kind, …)`, and the libraries `decisions`
-- and `checking`.
local function new(parts)
	return setmetatable(parts, control_mt);
end

function control:disbelieve(kind, ...)
	self.counters.discarded = self.counters.discarded + 1;
	self.note("warn", kind, ...);
end

function control:is_believed(event)
	return event.stanza.attr.from == self.link.component and self.link:is_origin(event.origin);
end

function control:answer(event)
	local stanza = event.stanza;
	local attr = stanza.attr;
	if not self.checking.is_check_id(attr.id) then return nil; end -- somebody else has asked
	if not self:is_believed(event) then
		self:disbelieve("forged", "%s answers a check, but it is not the component: ignored", attr.from);
		return true;
	end
	local element = attr.type == "result" and #stanza.tags == 1 and stanza:get_child("decision", xmlns);
	local decision = element and self.decisions.read_decision(element) or nil;
	if decision then
		local effect = decision.allow and "allowed" or "denied";
		self.counters[effect] = self.counters[effect] + 1;
	elseif attr.type == "result" then
		self:disbelieve("malformed", "A malformed decision counts as none");
	end
	if not self.checks:answered(attr.id, decision) and decision then
		self:disbelieve("late", "A decision that nobody waits for was ignored");
	end
	return true;
end

local handlers = {};

function handlers.flush(self, event, element)
	local epoch, requester, device = self.decisions.read_flush(element);
	if not epoch then
		self:disbelieve("malformed", "A malformed flush was refused");
		return st.error_reply(event.stanza, "modify", "bad-request");
	end
	self.cache:flush(epoch, requester, device);
	return st.reply(event.stanza);
end

function control:status_element()
	local found = self.status();
	local element = st.stanza("status", { xmlns = xmlns, version = "1", mode = found.mode, guard = found.guard });
	for _, name in ipairs(numbers) do element.attr[name] = tostring(found[name]); end
	for _, refused in ipairs(found.refused) do
		element:tag("refused", { xmlns = xmlns, reason = refused.reason, count = tostring(refused.count) }):up();
	end
	return element;
end

-- Tell the component the mode as soon as it may have changed: a short bypass would be over before it asks.
function control:tell_status()
	self.link:send(self.sessions:message(self:status_element()));
end

function handlers.status(self, event)
	return st.reply(event.stanza):add_child(self:status_element());
end

function handlers.sessions(self, event)
	return st.reply(event.stanza):add_child(self.sessions:snapshot());
end

local types = { flush = "set", status = "get", sessions = "get" };

function control:request(event)
	local stanza = event.stanza;
	local element = stanza.tags[1];
	local handler = element and element.attr.xmlns == xmlns and handlers[element.name];
	if not handler then return nil; end
	local reply;
	if not self:is_believed(event) then
		self:disbelieve("forged", "%s asks what only the component may ask: refused", stanza.attr.from);
		reply = st.error_reply(stanza, "auth", "forbidden");
	elseif stanza.attr.type ~= types[element.name] or #stanza.tags ~= 1 then
		reply = st.error_reply(stanza, "modify", "bad-request");
	else
		reply = handler(self, event, element);
	end
	event.origin.send(reply);
	return true;
end

-- An iq to the host itself; true when it was for us.
function control:handle(event)
	local kind = event.stanza.attr.type;
	if kind == "result" or kind == "error" then return self:answer(event); end
	return self:request(event);
end

return { new = new };
