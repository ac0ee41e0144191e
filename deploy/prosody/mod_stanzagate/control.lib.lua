-- Stanzagate: what the component says to a host of devices: decisions and flushes, beside the orders of all hosts.

local st = require "util.stanza";

local setmetatable = setmetatable;

local xmlns = "urn:stanzagate:policy:1";

local control = {};
local control_mt = { __index = control };

-- `make_orders`: the library's function. `cache`, `checks`, `counters`, and the libraries `decisions` and `checking`;
-- what the orders need.
local function new(parts)
	local function flush(orders, event, element)
		local epoch, requester, device = parts.decisions.read_flush(element);
		if not epoch then return orders:malformed(event); end
		parts.cache:flush(epoch, requester, device);
		return st.reply(event.stanza);
	end
	parts.orders = parts.make_orders {
		link = parts.link, sessions = parts.sessions, counters = parts.counters, status = parts.status,
		note = parts.note, handlers = { flush = { "set", flush } },
	};
	return setmetatable(parts, control_mt);
end

function control:answer(event)
	local stanza, orders = event.stanza, self.orders;
	local attr = stanza.attr;
	if not self.checking.is_check_id(attr.id) then return nil; end -- somebody else has asked
	if not orders:is_believed(event) then
		orders:disbelieve("forged", "%s answers a check, but it is not the component: ignored", attr.from);
		return true;
	end
	local element = attr.type == "result" and #stanza.tags == 1 and stanza:get_child("decision", xmlns);
	local decision = element and self.decisions.read_decision(element) or nil;
	if decision then
		local effect = decision.allow and "allowed" or "denied";
		self.counters[effect] = self.counters[effect] + 1;
	elseif attr.type == "result" then
		orders:disbelieve("malformed", "A malformed decision counts as none");
	end
	if not self.checks:answered(attr.id, decision) and decision then
		orders:disbelieve("late", "A decision that nobody waits for was ignored");
	end
	return true;
end

-- An iq to the host itself; true when it was for us.
function control:handle(event)
	local kind = event.stanza.attr.type;
	if kind == "result" or kind == "error" then return self:answer(event); end
	return self.orders:handle(event);
end

return { new = new };
