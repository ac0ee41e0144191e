-- Stanzagate: requests that the controller answers in the broker's place, wrapped as in XEP-0355.
--
--    requester ─iq─▶ broker ─iq set <delegation><forwarded><iq/>─▶ controller
--    requester ◀─iq─ broker ◀─iq result, likewise─────────────────────┘
--
-- From whom an answer comes, to whom it goes and which request it is for is remembered here; of what the controller
-- writes only the type and the content are taken. Each request has one answer: the controller's, or that there is none
-- in time, or that there is no controller.

local jid_bare = require "util.jid".bare;
local st = require "util.stanza";
local new_id = require "util.id".medium;

local pairs, setmetatable = pairs, setmetatable;

local limit = 10000;
local limit_each = 100; -- of one asker, by its bare JID
local time_limit = 15; -- seconds
local xmlns_delegation, xmlns_forward = "urn:xmpp:delegation:1", "urn:xmpp:forward:0";
local xmlns_client = "jabber:client";

local delegation = {};
local delegation_mt = { __index = delegation };

-- `host`, `component`; `link`; `deliver(stanza)` sends to a requester; `fail(stanza, reason)` answers one with an
-- error: "away", "late", "overload" or "unclear"; `after(seconds, callback)` returns a timer that can be stopped.
local function new(parts)
	parts.pending, parts.count, parts.askers = {}, 0, {};
	return setmetatable(parts, delegation_mt);
end

-- No answer is waited for any more; the frame of the request, or nil when there was none.
function delegation:settle(id)
	local waiting = self.pending[id];
	if not waiting then return nil; end
	self.pending[id], self.count = nil, self.count - 1;
	local asker, others = waiting.asker, self.askers[waiting.asker] - 1;
	self.askers[asker] = others > 0 and others or nil;
	waiting.timer:stop();
	return waiting.frame;
end

-- Ask the controller. It is answered later, or at once when that cannot be done.
function delegation:ask(stanza)
	if not self.link:is_attached() then return self.fail(stanza, "away"); end
	local id, attr = "stanzagate-" .. new_id(), stanza.attr;
	local asker = jid_bare(attr.from);
	local others = self.askers[asker] or 0;
	if self.count >= limit or others >= limit_each then return self.fail(stanza, "overload"); end
	local frame = st.stanza("iq", { type = attr.type, id = attr.id, from = attr.from, to = attr.to });
	local timer = self.after(time_limit, function ()
		if self:settle(id) then self.fail(frame, "late"); end
	end);
	self.pending[id], self.count = { frame = frame, timer = timer, asker = asker }, self.count + 1;
	self.askers[asker] = others + 1;
	local inner = st.clone(stanza);
	inner.attr.xmlns = xmlns_client;
	self.link:send(st.iq({ type = "set", id = id, from = self.host, to = self.component })
		:tag("delegation", { xmlns = xmlns_delegation }):tag("forwarded", { xmlns = xmlns_forward }):add_child(inner));
end

-- Elements of a stream have no namespace of their own here.
local function without_namespace(element)
	return element:maptags(function (child)
		if child.attr.xmlns ~= xmlns_client then return child; end
		child.attr.xmlns = nil;
		return without_namespace(child);
	end);
end

local function inner_of(stanza)
	if stanza.attr.type ~= "result" or #stanza.tags ~= 1 then return nil; end
	local wrapper = stanza:get_child("delegation", xmlns_delegation);
	local forwarded = wrapper and #wrapper.tags == 1 and wrapper:get_child("forwarded", xmlns_forward);
	local inner = forwarded and #forwarded.tags == 1 and forwarded:get_child("iq", xmlns_client);
	local kind = inner and inner.attr.type;
	return (kind == "result" or kind == "error") and inner or nil;
end

-- A result or error of the controller; false when it is for no question of ours.
function delegation:answered(stanza)
	local frame = self:settle(stanza.attr.id);
	if not frame then return false; end
	local inner = inner_of(stanza);
	if not inner then
		self.fail(frame, "unclear");
		return true;
	end
	local attr = frame.attr;
	inner = st.clone(inner);
	inner.attr = { type = inner.attr.type, id = attr.id, from = attr.to, to = attr.from };
	self.deliver(without_namespace(inner));
	return true;
end

function delegation:fail_all()
	for id in pairs(self.pending) do self.fail(self:settle(id), "away"); end
end

return { new = new };
