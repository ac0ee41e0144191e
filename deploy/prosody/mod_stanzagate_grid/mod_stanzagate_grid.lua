-- Stanzagate: guards the host of grid nodes inside the server.
--
-- Every account of this host is a node of the grid. The controller, a component, tells which of them are active, which
-- certificates are revoked, which topics a node has lost; that is kept over restarts and holds while the controller is
-- away. A node that is not active reaches the controller and the broker's control plane, and is reached by nobody else.
--
--    client ─▶ sent ─┬─▶ other modules ─┬─▶ arriving ─▶ other modules, offline store ─▶ leaving ─▶ client
--                    ▼                  └─▶ departing ─▶ other hosts and domains
--                 refused
--
-- `sent` is asked before all other modules; `arriving` and `departing` see also what the server itself says in a node's
-- name, and `leaving` what was stored or kept for it. It fails closed: whatever goes wrong in here, the stanza is
-- dropped and answered with an error, never passed.
--
--    ledger     what the controller has told, and where it lies      admission   who gets in, who has to leave
--    reach      who reaches whom                                      commands    the controller's orders
--    events     topics in what is sent                                passwords   who cannot log in any more
--
-- and from mod_stanzagate: link, sessions, orders, outgoing, journal, bypass, shell.
--
-- Options: stanzagate_component (the controller), stanzagate_broker (the pubsub host), stanzagate_mode ("enforce" or
-- "log-only", which logs but holds nothing). What is wrong there never opens the guard.

local jid_bare, jid_prep, jid_split = require "util.jid".bare, require "util.jid".prep, require "util.jid".split;
local new_password = require "util.id".long;
local st = require "util.stanza";

local core_post_stanza = prosody.core_post_stanza;
local hosts, host = prosody.hosts, module.host;

local note = module:require "mod_stanzagate/journal".note;
local sessions_library = module:require "mod_stanzagate/sessions";
local ledger_library = module:require "ledger";

local above_all = 100000; -- mod_firewall, the highest of the others, hooks at 1000

if module:get_host_type() ~= "local" then error("mod_stanzagate_grid guards virtual hosts, not components", 0); end

-- Configuration

local function domain_option(name)
	local value = jid_prep(module:get_option_string(name));
	local node, domain, resource = jid_split(value);
	if domain and not node and not resource and domain ~= host then return domain; end
	module:log("error", "%s must name a domain of the grid: until then nobody is reached there", name);
end

local function mode_option()
	local value = module:get_option_string("stanzagate_mode", "enforce");
	if value ~= "enforce" and value ~= "log-only" then
		module:log("error", "stanzagate_mode = %q is not understood: it is taken for \"enforce\"", value);
	end
	return value == "log-only";
end

local component, broker = domain_option("stanzagate_component"), domain_option("stanzagate_broker");
local log_only = mode_option();

-- State

local counters = { passed = 0, bypassed = 0, discarded = 0 };
local reasons = { "forbidden", "quiet", "answer", "lost", "revoked", "crashed", "heavy" };
local refused = {};
for _, reason in ipairs(reasons) do refused[reason] = 0; end

local bypass, link, sessions, orders;
local speaking; -- whether we are just delivering an answer of our own

local function is_open() return log_only or bypass.left > 0; end

-- Answers

local errors = { -- by why a stanza is refused; others are dropped
	["forbidden"] = { "auth", "forbidden" };
	["quiet"] = { "auth", "not-authorized" };
	["stranger"] = { "cancel", "service-unavailable" }; -- as if there was no such account
	["heavy"] = { "modify", "policy-violation" };
	["crashed"] = { "wait", "internal-server-error" };
};

local function has_answer(stanza)
	local kind = stanza.attr.type;
	return stanza.name ~= "presence" and kind ~= "error" and not (kind == "result" and stanza.name == "iq");
end

-- Say something in the name of whom a stanza was sent to.
local function answer(stanza, kind)
	local before = speaking;
	speaking = true;
	local attr = stanza.attr;
	local ok, problem = pcall(core_post_stanza, hosts[host], st.stanza(stanza.name, {
		type = "error", id = attr.id, from = attr.to or jid_bare(attr.from), to = attr.from,
	}):tag("error", { type = kind[1] }):tag(kind[2], { xmlns = "urn:ietf:params:xml:ns:xmpp-stanzas" }):reset());
	speaking = before;
	if not ok then note("error", "delivery", "Another module failed over an answer: %s", problem); end
end

local function refuse(stanza, why)
	local answered = errors[why] and stanza.attr.from and has_answer(stanza);
	local reason = why == "stranger" and "forbidden" or why;
	if errors[why] and not answered and why ~= "crashed" then reason = "answer"; end
	refused[reason] = refused[reason] + 1;
	note("info", why, "Refused (%s): %s from %s to %s", why, stanza.name, stanza.attr.from, stanza.attr.to);
	if answered then answer(stanza, errors[why]); end
	return true;
end

-- The ledger and what decides by it

local ledger = ledger_library.new {
	nodes = module:open_store("stanzagate_grid"), certificates = module:open_store("stanzagate_revoked"),
	clock = os.time,
};
local reach = module:require "reach".new {
	host = host, component = component, broker = broker, ledger = ledger, events = module:require "events",
	is_lost = ledger_library.is_lost, is_heavy = module:require "weight".is_heavy,
	fingerprint_of = sessions_library.fingerprint_of,
};
local admission = module:require "admission".new {
	host = host, ledger = ledger, fingerprint_of = sessions_library.fingerprint_of, is_open = is_open, note = note,
	refused = function (reason) refused[reason] = refused[reason] + 1; end,
};

-- A handler that asks one of the functions of `reach`. It fails closed.
local function guarded(ask)
	return function (event)
		if speaking then return nil; end
		local stanza = event.stanza;
		local ok, why = pcall(ask, reach, event.origin, stanza);
		if ok and not why then return nil; end
		if not ok then
			note("error", "crashed", "The guard failed over a stanza: %s", why);
			why = "crashed";
		end
		if is_open() then
			counters.bypassed = counters.bypassed + 1;
			note("warn", "open", "Would be refused (%s): %s from %s to %s", why, stanza.name, stanza.attr.from, stanza.attr.to);
			return nil;
		end
		local done, problem = pcall(refuse, stanza, why);
		if not done then note("error", "crashed", "The guard failed, a stanza was dropped: %s", problem); end
		return true;
	end
end

local sent, arriving, departing = guarded(reach.sent), guarded(reach.arriving), guarded(reach.departing);
local weighed = guarded(reach.weighed);

local function leaving(stanza, session)
	if speaking then return stanza; end
	local ok, why = pcall(reach.leaving, reach, session, stanza);
	if ok and not why or is_open() then return stanza; end
	if not ok then note("error", "crashed", "The guard failed over a stanza on its way out: %s", why); end
	local reason = not ok and "crashed" or why == "lost" and "lost" or "answer";
	refused[reason] = refused[reason] + 1;
	-- mod_smacks has counted it already: without anything in its place, client and server would not agree on numbers
	return session.resending_unacked and st.message({ from = host, to = session.full_jid }) or nil;
end

-- What the server does for a node

-- A node that is not active any more says good-bye: nobody would see it go.
local function before_leave(username)
	local user = hosts[host].sessions[username];
	for _, session in pairs(user and user.sessions or {}) do
		local goodbye = st.presence({ type = "unavailable", from = session.full_jid });
		local contacts = {};
		for jid, item in pairs(session.presence and session.roster or {}) do
			contacts[jid] = jid and (item.subscription == "both" or item.subscription == "from") or nil;
		end
		for jid in pairs(session.directed or {}) do contacts[jid] = true; end
		session.directed = nil;
		for jid in pairs(contacts) do
			goodbye.attr.to = jid;
			core_post_stanza(session, goodbye, true);
		end
	end
end

-- What was stored stays where it is, if the node is not active, or this is not the node.
local function keep_stored(event)
	local ok, why = pcall(reach.restriction, reach, event.origin, event.origin.username);
	if ok and why ~= "forbidden" or is_open() then return nil; end
	return true;
end

-- What could not be handed over is not stored anew, with a later time, when its topic is lost.
local function before_storing(event)
	local stanza = event.stanza;
	local name = jid_split(stanza.attr.to or "") or event.origin.username;
	local ok, why = pcall(reach.loss, reach, name, stanza);
	if ok and not why or is_open() then return nil; end
	refused.lost = refused.lost + 1;
	return true;
end

-- Whoever has a session exists for Prosody's own commands, also without an account: by a certificate. What is sent to
-- such a node while it is away would be lost, so its account is made here, with a password that nobody knows.
local function make_account(username)
	local provider = hosts[host].users;
	if provider.user_exists(username) then return false; end
	local made, problem = provider.create_user(username, new_password());
	if not made then return nil, problem; end
	return true;
end

-- What the plugin on the broker asks, by the broker's domain.
local grids = module:shared("/*/stanzagate/grids");
local services = { host = host };

-- Why an account of this host may not publish, or nil.
function services.restriction(origin, username)
	if is_open() then return nil; end
	return reach:restriction(origin, username);
end

-- Whether an event must not go to a node of another domain.
function services.is_lost(stanza)
	return not is_open() and reach:loss(jid_bare(stanza.attr.to), stanza) ~= nil;
end

-- The component

local function status()
	local found = {
		mode = bypass.left > 0 and "bypass" or log_only and "log-only" or "enforce", guard = "everything",
		component = component, attached = link:is_attached(), bypass_left = bypass.left > 0 and bypass.left or nil,
		epoch = ledger.epoch, sessions = sessions.count, seq = sessions.seq, refused = {},
	};
	for name, count in pairs(counters) do found[name] = count; end
	for i, reason in ipairs(reasons) do found.refused[i] = { reason = reason, count = refused[reason] }; end
	return found;
end

local function describe(line, found)
	line("broker", "%s", broker or "none configured");
	line("sessions", "%d", found.sessions);
	line("bypassed", "%d let through that were not allowed", found.bypassed);
	line("orders", "%d not believed or outdated", found.discarded);
end

local function addressed_to_host(event)
	local kind = event.stanza.attr.type;
	if kind == "result" or kind == "error" then return nil; end
	local ok, result = pcall(orders.handle, orders, event);
	if ok then return result; end
	note("error", "control", "An iq to the host could not be dealt with: %s", result);
	event.origin.send(st.error_reply(event.stanza, "wait", "internal-server-error"));
	return true;
end

-- `f`, whose errors are nobody else's business.
local function protected(f)
	return function (event)
		local ok, problem = pcall(f, event);
		if not ok then note("error", "internal", "The guard failed: %s", problem); end
	end
end

local warn_of_passwords = protected(module:require "passwords".warn);
local tell_status = protected(function () orders:tell_status(); end);

bypass = module:require "mod_stanzagate/bypass".new(tell_status, tell_status);
link = module:require "mod_stanzagate/link".new(component, protected(function ()
	sessions:tell_all();
	module:set_status("info", component .. " is attached");
end), protected(function ()
	module:set_status("warn", component .. " is not attached: what it has told so far holds");
end));
sessions = sessions_library.new(host, component, module.saved_state and module.saved_state.seq or 0,
	function (message) link:send(message); end);
orders = module:require "mod_stanzagate/orders".new {
	link = link, sessions = sessions, counters = counters, status = status, note = note,
	handlers = module:require "commands".new({
		ledger = ledger, reach = reach, admission = admission, note = note, counters = counters,
		before_leave = protected(before_leave), make_account = make_account,
	}):handlers(),
};
local outgoing = module:require "mod_stanzagate/outgoing".with(leaving);
local shell = module:require "mod_stanzagate/shell";

-- Hooks

for _, kind in ipairs { "iq", "message", "presence" } do
	for _, target in ipairs { "full", "bare", "host" } do
		module:hook("pre-" .. kind .. "/" .. target, sent, above_all);
	end
	module:hook(kind .. "/full", arriving, above_all);
	module:hook(kind .. "/bare", arriving, above_all);
end
module:hook("iq/host", addressed_to_host, above_all);
module:hook("route/remote", departing, above_all);
module:hook("message/offline/broadcast", keep_stored, above_all);
module:hook("message/offline/handle", before_storing, above_all);
module:hook("resource-bind", protected(function (event) sessions:bound(event.session); end), above_all);
module:hook("resource-unbind", protected(function (event)
	event.session.stanzagate_quiet = nil; -- so that contacts are told that it is gone
	sessions:unbound(event.session);
end), above_all);
module:hook("authentication-success", protected(function (event)
	sessions.authenticated(event.session);
end), above_all + 1);
module:hook_global("user-deleted", protected(function (event)
	if event.host == host then ledger:forget(event.username); end
end));
admission:watch(above_all);

-- The server speaks in a node's name to other hosts of its own, too. At the controller's it is only looked whether a
-- stanza can be handed over: users of other hosts and other servers reach it.
local function watch_host(name)
	if name == host or name == broker or not hosts[name] then return; end
	local handler = name == component and weighed or departing;
	for _, kind in ipairs { "iq", "message", "presence" } do
		for _, target in ipairs { "full", "bare", "host" } do
			module:hook_object_event(hosts[name].events, kind .. "/" .. target, handler, above_all + 1);
		end
	end
end

function module.load()
	for name in pairs(hosts) do watch_host(name); end
	module:hook_global("host-activated", watch_host);
	sessions:take_over(hosts[host].sessions);
	outgoing:watch(hosts[host].sessions);
	link:watch();
	if broker then grids[broker] = services; end
	tell_status();
	shell.add(host, {
		status = status, bypass = function (minutes) return bypass:set(minutes); end, describe = describe,
	});
	if not link:is_attached() then module:set_status("warn", (component or "no component") .. " is not attached"); end
	warn_of_passwords();
end

function module.save()
	return { seq = sessions.seq };
end

function module.unload()
	if broker and grids[broker] == services then grids[broker] = nil; end
	bypass:finish("the module is unloaded");
	outgoing:finish();
	shell.remove(host);
end
