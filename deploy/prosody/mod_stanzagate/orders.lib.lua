-- Stanzagate: what the component tells the host or asks it, in iqs that have one element of our namespace.
--
-- Only the configured component is believed: by its bare domain, over its own stream. Others are told `forbidden`.

local st = require "util.stanza";

local ipairs, pairs, setmetatable, tostring = ipairs, pairs, setmetatable, tostring;

local xmlns = "urn:stanzagate:policy:1";
local numbers = {
	"epoch", "seq", "cached", "checks", "held", "sessions", "hits", "asked", "allowed", "denied", "passed", "bypassed",
	"evicted", "discarded",
};

local orders = {};
local orders_mt = { __index = orders };

-- `link`, `sessions`, `counters`, `status()`, `note(level, kind, …)`; `handlers`: name of the element →
-- { type of the iq, function (orders, event, element) that returns the reply }. There are two for all hosts.
local function new(parts)
	local handlers = {
		status = { "get", function (self, event) return st.reply(event.stanza):add_child(self:status_element()); end };
		sessions = { "get", function (self, event) return st.reply(event.stanza):add_child(self.sessions:snapshot()); end };
	};
	for name, handler in pairs(parts.handlers) do handlers[name] = handler; end
	parts.handlers = handlers;
	return setmetatable(parts, orders_mt);
end

function orders:disbelieve(kind, ...)
	self.counters.discarded = self.counters.discarded + 1;
	self.note("warn", kind, ...);
end

function orders:is_believed(event)
	return event.stanza.attr.from == self.link.component and self.link:is_origin(event.origin);
end

-- The reply to an order that cannot be understood.
function orders:malformed(event)
	self:disbelieve("malformed", "A malformed order was refused: %s", event.stanza.tags[1].name);
	return st.error_reply(event.stanza, "modify", "bad-request");
end

function orders:status_element()
	local found = self.status();
	local element = st.stanza("status", { xmlns = xmlns, version = "1", mode = found.mode, guard = found.guard });
	for _, name in ipairs(numbers) do element.attr[name] = found[name] and tostring(found[name]); end
	for _, refused in ipairs(found.refused) do
		element:tag("refused", { xmlns = xmlns, reason = refused.reason, count = tostring(refused.count) }):up();
	end
	return element;
end

-- Tell the component the mode as soon as it may have changed: a short bypass would be over before it asks.
function orders:tell_status()
	self.link:send(self.sessions:message(self:status_element()));
end

-- An iq of type get or set to the host itself; true when it was for us.
function orders:handle(event)
	local stanza = event.stanza;
	local element = stanza.tags[1];
	local handler = element and element.attr.xmlns == xmlns and self.handlers[element.name];
	if not handler then return nil; end
	local reply;
	if not self:is_believed(event) then
		self:disbelieve("forged", "%s asks what only the component may ask: refused", stanza.attr.from);
		reply = st.error_reply(stanza, "auth", "forbidden");
	elseif stanza.attr.type ~= handler[1] or #stanza.tags ~= 1 then
		reply = st.error_reply(stanza, "modify", "bad-request");
	else
		reply = handler[2](self, event, element);
	end
	event.origin.send(reply);
	return true;
end

return { new = new };
