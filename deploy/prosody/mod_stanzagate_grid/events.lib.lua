-- Stanzagate: events of pubsub nodes in what a client is sent: live ones, stored ones, those out of an archive.
--
-- A stored message says when it was stored: in a <delay/> of ours, or beside it where it was forwarded from an archive.
-- We look into what servers wrap messages in, but never into an item, which is the publisher's.

local parse_time = require "util.datetime".parse;

local pairs = pairs;

local xmlns_event = "http://jabber.org/protocol/pubsub#event";
local xmlns_delay = "urn:xmpp:delay";
local wrappers = { -- by namespace
	["urn:xmpp:forward:0"] = true; ["urn:xmpp:carbons:2"] = true; ["urn:xmpp:mam:2"] = true; ["jabber:client"] = true;
};

-- When `element` was stored, by the host; nil when it does not say so.
local function stored_at(element, host)
	local latest;
	for _, child in pairs(element.tags) do
		local attr = child.attr;
		if child.name == "delay" and attr.xmlns == xmlns_delay and (attr.from == nil or attr.from == host) then
			local stamp = attr.stamp and parse_time(attr.stamp);
			if stamp and (not latest or stamp > latest) then latest = stamp; end
		end
	end
	return latest;
end

-- Whether an event in `element` is one for which `dropped(node, stamp)` is true.
local function any(element, host, dropped, stamp)
	stamp = stored_at(element, host) or stamp;
	for _, child in pairs(element.tags) do
		if child.attr.xmlns == xmlns_event and child.name == "event" then
			for _, items in pairs(child.tags) do
				if items.name == "items" and items.attr.node and dropped(items.attr.node, stamp) then return true; end
			end
		elseif wrappers[child.attr.xmlns] and any(child, host, dropped, stamp) then
			return true;
		end
	end
	return false;
end

return { any = any };
