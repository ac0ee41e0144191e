-- Stanzagate: stands before the server's own pubsub service, which is the broker of the grid.
--
--    from the controller ───────────────────────────────────────────────────▶ mod_pubsub
--    plain publish ─▶ may that account publish at the moment? ──────────────▶ mod_pubsub ─refused─▶ delegation
--    any other iq ──▶ delegation ─▶ controller ─▶ answered from the broker
--    message, presence, other results and errors: dropped
--
-- So publishing does not leave the server, while everything that shows or changes topics is the controller's decision.
-- A plain publish is an iq set that has <pubsub><publish node='…'> with one item, and nothing else. Whether an account
-- is active and not logged out is known to mod_stanzagate_grid on the host of the nodes; without that none of this
-- server publishes. What mod_pubsub refuses, the controller answers as well: the service's own words would tell
-- everybody which topics there are. It fails closed: whatever goes wrong in here, the stanza is answered with an error,
-- never passed.
--
-- Option: stanzagate_component (the controller).

local jid_prep, jid_split = require "util.jid".prep, require "util.jid".split;
local st = require "util.stanza";

local core_post_stanza = prosody.core_post_stanza;
local hosts, host = prosody.hosts, module.host;

local note = module:require "mod_stanzagate/journal".note;
local is_heavy = module:require "mod_stanzagate_grid/weight".is_heavy;

local above_all = 100000; -- mod_firewall, the highest of the others, hooks at 1000
local xmlns_pubsub = "http://jabber.org/protocol/pubsub";

if module:get_host_type() ~= "component" then error("mod_stanzagate_broker belongs on the pubsub Component", 0); end

local function component_option()
	local value = jid_prep(module:get_option_string("stanzagate_component"));
	local node, domain, resource = jid_split(value);
	if domain and not node and not resource and domain ~= host then return domain; end
	module:log("error", "stanzagate_component must name the controller: until then only publishing works");
end

local component = component_option();
local grids = module:shared("/*/stanzagate/grids"); -- broker → what mod_stanzagate_grid offers
local counters = { published = 0, delegated = 0, dropped = 0, discarded = 0 };
local reasons = { "forbidden", "quiet", "nobody", "away", "late", "overload", "unclear", "crashed", "lost", "heavy" };
local refused = {};
for _, reason in ipairs(reasons) do refused[reason] = 0; end
local link, delegation;

local errors = {
	["forbidden"] = { "auth", "forbidden" };
	["quiet"] = { "auth", "not-authorized" };
	["nobody"] = { "cancel", "service-unavailable" }; -- is at an address of ours
	["away"] = { "wait", "remote-server-timeout" };
	["late"] = { "wait", "remote-server-timeout" };
	["overload"] = { "wait", "resource-constraint" };
	["unclear"] = { "wait", "internal-server-error" };
	["crashed"] = { "wait", "internal-server-error" };
	["heavy"] = { "modify", "policy-violation" };
};

local function deliver(stanza)
	local ok, problem = pcall(core_post_stanza, hosts[host], stanza);
	if not ok then note("error", "delivery", "Another module failed over an answer: %s", problem); end
end

-- Answer an iq get or set with an error.
local function fail(stanza, reason)
	refused[reason] = refused[reason] + 1;
	note("info", reason, "Refused (%s): an iq from %s", reason, stanza.attr.from);
	deliver(st.error_reply(stanza, errors[reason][1], errors[reason][2]));
end

-- The only child of `element`, if that is `name` in the namespace of pubsub.
local function only(element, name)
	local child = element and #element.tags == 1 and element.tags[1];
	return child and child.name == name and child.attr.xmlns == xmlns_pubsub and child or nil;
end

local function is_plain_publish(stanza)
	if stanza.attr.type ~= "set" then return false; end
	local publish = only(only(stanza, "pubsub"), "publish");
	return publish ~= nil and (publish.attr.node or "") ~= "" and only(publish, "item") ~= nil;
end

-- Why an account may not publish now, or nil. Those of other domains are known to mod_pubsub only.
local function restriction(event)
	local username, domain = jid_split(event.stanza.attr.from);
	local grid = grids[host];
	if grid and domain ~= grid.host then return nil; end
	if not grid and not hosts[domain] then return nil; end
	if not grid then
		note("error", "unguarded", "mod_stanzagate_grid is not loaded on the host of the nodes: nothing is published");
		return "forbidden";
	end
	return username and grid.restriction(event.origin, username) or nil;
end

local function delegate(stanza)
	counters.delegated = counters.delegated + 1;
	delegation:ask(stanza);
end

-- Hand a publish to mod_pubsub, which says what becomes of it to whom the event names as its origin.
local function publish(event)
	local origin, stanza = event.origin, event.stanza;
	counters.published = counters.published + 1;
	local item = stanza.tags[1].tags[1].tags[1];
	local publisher = item.attr.publisher;
	local function send(reply)
		if not reply.attr or reply.attr.type ~= "error" then return origin.send(reply); end
		item.attr.publisher = publisher; -- mod_pubsub writes there who it was, even if it refuses
		return delegate(stanza);
	end
	event.origin = setmetatable({ send = send }, { __index = origin });
end

local function dropped()
	counters.dropped = counters.dropped + 1;
	return true;
end

local function front(event)
	local stanza = event.stanza;
	local kind = stanza.attr.type;
	local _, domain = jid_split(stanza.attr.from);
	local believed = domain ~= nil and domain == component and link:is_origin(event.origin);
	if stanza.name ~= "iq" then
		if believed then return nil; end
		return dropped();
	elseif kind == "result" or kind == "error" then
		if believed and delegation:answered(stanza) then return true; end
		note("info", "answer", "An answer that nobody waits for was dropped: from %s", stanza.attr.from);
		counters.discarded = counters.discarded + 1;
		return true;
	elseif believed then
		return nil;
	elseif is_heavy(stanza) then
		fail(stanza, "heavy");
		return true;
	elseif stanza.attr.to ~= host then
		fail(stanza, "nobody");
		return true;
	elseif is_plain_publish(stanza) then
		local why = restriction(event);
		if why then
			fail(stanza, why);
			return true;
		end
		publish(event);
		return nil;
	end
	delegate(stanza);
	return true;
end

local function guarded(event)
	local ok, result = pcall(front, event);
	if ok then return result; end
	note("error", "crashed", "The broker's front failed over a stanza: %s", result);
	local stanza = event.stanza;
	if stanza.name == "iq" and (stanza.attr.type == "get" or stanza.attr.type == "set") then
		pcall(fail, stanza, "crashed");
	end
	return true;
end

-- Events to nodes of other domains, whose servers know nothing of what they have lost.
local function departing(event)
	local grid = grids[host];
	local ok, lost = pcall(function () return grid and grid.is_lost(event.stanza); end);
	if ok and not lost then return nil; end
	local reason = ok and "lost" or "crashed";
	refused[reason] = refused[reason] + 1;
	return true;
end

local function status()
	local found = {
		mode = "enforce", guard = "broker", component = component, attached = link:is_attached(),
		waiting = delegation.count, refused = {},
	};
	for name, count in pairs(counters) do found[name] = count; end
	for i, reason in ipairs(reasons) do found.refused[i] = { reason = reason, count = refused[reason] }; end
	return found;
end

local function describe(line, found)
	line("nodes", "%s", grids[host] and grids[host].host or "mod_stanzagate_grid IS NOT LOADED: nothing is published");
	line("published", "%d handed to mod_pubsub", found.published);
	line("delegated", "%d, of which %d wait for an answer", found.delegated, found.waiting);
	line("dropped", "%d messages and presences, %d answers", found.dropped, found.discarded);
end

link = module:require "mod_stanzagate/link".new(component, function ()
	module:set_status("info", component .. " is attached");
end, function ()
	delegation:fail_all();
	module:set_status("warn", component .. " is not attached: only publishing works");
end);
delegation = module:require "delegation".new {
	host = host, component = component, link = link, deliver = deliver, fail = fail,
	after = function (seconds, callback) return module:add_timer(seconds, callback); end,
};
local shell = module:require "mod_stanzagate/shell";

for _, kind in ipairs { "iq", "message", "presence" } do
	for _, target in ipairs { "host", "bare", "full" } do
		module:hook(kind .. "/" .. target, guarded, above_all);
	end
end
module:hook("route/remote", departing, above_all);

function module.load()
	link:watch();
	shell.add(host, {
		status = status, describe = describe,
		bypass = function () return false, "The broker's front has no bypass; that of the nodes' host holds for it"; end,
	});
	if not link:is_attached() then module:set_status("warn", (component or "no component") .. " is not attached"); end
end

function module.unload()
	delegation:fail_all();
	shell.remove(host);
end
