-- Stanzagate: guards the devices of a host inside the server.
--
-- Every account of this host is a device. A stanza to one that carries a connection request is held until policy has
-- spoken about its sender, and is delivered in normal form only. The policy is one component's, which is asked once
-- for a pair of requester and device; while its decision may be used, no stanza leaves the server.
--
--    stanza ─▶ guard ─┬─ not guarded, or the component's own ────────────────▶ other modules, device
--                     ├─ decided in the cache: allowed ──▶ in normal form ───▶
--                     │                        denied, malformed ────────────▶ error to the sender
--                     └─ not decided ──▶ queue of its pair ──▶ check ──▶ settled as above
--
-- The guard stands before all other modules, so that they see only what was allowed, and once: a held stanza that is
-- released comes by here again, and is known by being the one that is just released. It fails closed: whatever goes
-- wrong in here, the stanza is dropped and answered with an error, never passed.
--
--    payload      what a connection request is, and its normal form      control    what the component says to us
--    decisions    the cache                                              sessions   what it is told about clients
--    checks       asking, queues, limits                                 link       whether it is there
--    turns        whose check is sent next                               outgoing   the last look at what clients get
--    orders       what components may tell and ask the hosts that we guard
--
-- Options: stanzagate_component, stanzagate_mode ("enforce" or "log-only", which decides and logs but lets everything
-- through at once), stanzagate_guard ("connection-requests", or "everything": who is not allowed may not send devices
-- anything), stanzagate_cache_size. What is wrong there never opens the guard.

local jid_prep, jid_split = require "util.jid".prep, require "util.jid".split;
local st = require "util.stanza";
local clock = require "util.time".monotonic;

local core_post_stanza = prosody.core_post_stanza;
local hosts, host = prosody.hosts, module.host;
local match = string.match;

local payload = module:require "payload";
local decisions = module:require "decisions";
local checking = module:require "checks";
local note = module:require "journal".note;
local is_heavy = module:require "weight".is_heavy;

local frame_size = 512; -- bytes at which a held request is reckoned, without its id and type
local above_all = 100000; -- mod_firewall, the highest of the others, hooks at 1000
local xmlns_policy = "urn:stanzagate:policy:1";
local xmlns_stanzas = "urn:ietf:params:xml:ns:xmpp-stanzas";

if module:get_host_type() ~= "local" then error("mod_stanzagate guards virtual hosts, not components", 0); end

-- Configuration

local function option_of(name, default, safe, values)
	local value = module:get_option_string(name, default);
	if values[value] then return value; end
	module:log("error", "%s = %q is not understood: it is taken for %q", name, value, safe);
	return safe;
end

local function component_option()
	local value = jid_prep(module:get_option_string("stanzagate_component"));
	local node, domain, resource = jid_split(value);
	if domain and not node and not resource and domain ~= host then return domain; end
	module:log("error", "stanzagate_component must name the component that decides: until then everything is refused");
end

local function cache_size_option()
	local size = module:get_option_number("stanzagate_cache_size", 100000);
	if size and size >= 0 and size < math.huge then return math.floor(size); end
	module:log("error", "stanzagate_cache_size must be a number of decisions: 100000 is used");
	return 100000;
end

local component = component_option();
local cache_size = cache_size_option();
local log_only = option_of("stanzagate_mode", "enforce", "enforce",
	{ ["enforce"] = true, ["log-only"] = true }) == "log-only";
local guard_everything = option_of("stanzagate_guard", "connection-requests", "everything",
	{ ["connection-requests"] = true, ["everything"] = true }) == "everything";

-- State

local counters = { hits = 0, asked = 0, allowed = 0, denied = 0, passed = 0, bypassed = 0, discarded = 0 };
local reasons = { "forbidden", "bad-request", "not-attached", "no-decision", "overload", "crashed", "answer" };
local refused = {};
for _, reason in ipairs(reasons) do refused[reason] = 0; end

local cache = decisions.new(cache_size);
local bypass, checks, control, link, sessions;
local releasing; -- the stanza that is just being delivered by us

-- Answers and deliveries

local errors = { -- by reason; "answer" has none
	["forbidden"] = { "auth", "forbidden" };
	["bad-request"] = { "modify", "bad-request" };
	["not-attached"] = { "wait", "remote-server-timeout" };
	["no-decision"] = { "wait", "internal-server-error" };
	["overload"] = { "wait", "resource-constraint" };
	["crashed"] = { "wait", "internal-server-error" };
};

-- Route a stanza past the guard. Its sender may have gone meanwhile: then the host stands in for it.
local function deliver(origin, stanza)
	local before = releasing;
	releasing = stanza;
	local ok, problem = pcall(core_post_stanza, origin.destroyed and hosts[host] or origin, stanza);
	releasing = before;
	if not ok then note("error", "delivery", "Another module failed over a stanza: %s", problem); end
end

local function is_answer(stanza)
	local kind = stanza.attr.type;
	return kind == "error" or kind == "result" and stanza.name == "iq";
end

-- Refuse a stanza that has no answer yet; true, as handlers say that they have dealt with it.
local function refuse(stanza, reason)
	refused[reason] = refused[reason] + 1;
	local attr = stanza.attr;
	local from, to = attr.from, attr.to or match(attr.from or "", "^[^/]*");
	note("info", reason, "Refused (%s): %s from %s to %s", reason, stanza.name, from, to);
	local kind = errors[reason];
	if kind and from and not is_answer(stanza) then
		deliver(hosts[host], st.stanza(stanza.name, { type = "error", id = attr.id, from = to, to = from })
			:tag("error", { type = kind[1] }):tag(kind[2], { xmlns = xmlns_stanzas }):reset());
	end
	return true;
end

local function would_refuse(reason, what, from, to)
	note("warn", reason, "Would be refused (%s): %s from %s to %s", reason, what, from, to);
end

-- Let a stanza pass that is not allowed, or not decided: then there is no reason yet.
local function let_through(stanza, reason)
	counters.bypassed = counters.bypassed + 1;
	if reason then would_refuse(reason, stanza.name, stanza.attr.from, stanza.attr.to); end
end

-- Held stanzas: { requester, size, origin, stanza, normal }, where `normal` is nil for stanzas without a request and
-- false for requests without normal form, of which only the frame is kept.

local function settle_unprotected(item, allowed, reason)
	if item.normal ~= false and (allowed or bypass.left > 0) then
		local counter = allowed and "passed" or "bypassed";
		counters[counter] = counters[counter] + 1;
		return deliver(item.origin, item.stanza);
	end
	return refuse(item.stanza, reason or allowed and "bad-request" or "forbidden");
end

local function settle(item, allowed, reason)
	local ok, problem = pcall(settle_unprotected, item, allowed, reason);
	if ok then return; end
	note("error", "crashed", "The guard failed, a stanza was dropped: %s", problem);
	pcall(refuse, item.stanza, "crashed");
end

local function hold(event, stanza, carries, requester, bare, to, device)
	local kept, normal, size;
	if carries then
		kept = payload.normal_form(stanza);
		normal = kept ~= nil;
		kept = kept and payload.without_language(kept) or payload.reframed(stanza);
		size = frame_size + #(kept.attr.id or "") + #(kept.attr.type or ""); -- nothing else in it can be long
	else
		kept = st.clone(stanza);
		size = #tostring(kept);
	end
	local item = { requester = requester, size = size, origin = event.origin, stanza = kept, normal = normal };
	local held, reason = checks:hold(item, bare, to, device);
	if held then kept.attr.to = to; end -- Prosody takes it away when it is the sender's own
	return held, reason;
end

-- The guard

local function apply(event, stanza, carries, allowed)
	local normal = carries and allowed and payload.normal_form(stanza);
	local reason = not allowed and "forbidden" or carries and not normal and "bad-request";
	if log_only then
		if reason then return let_through(stanza, reason); end
	elseif reason then
		return refuse(stanza, reason);
	elseif normal then
		event.stanza = payload.without_language(normal);
	end
	counters.passed = counters.passed + 1;
end

-- Nothing in the cache is new enough, or others wait already; `entry` is what helps out.
local function undecided(event, stanza, carries, requester, bare, to, device, entry)
	local done, reason;
	if not link:is_attached() then
		reason = "not-attached";
	elseif log_only then
		done, reason = checks:watch(requester, bare, to, device);
		if done and not entry then return let_through(stanza); end -- what is denied later is told then
	else
		done, reason = hold(event, stanza, carries, requester, bare, to, device);
		if done then return true; end
	end
	if entry then
		counters.hits = counters.hits + 1;
		return apply(event, stanza, carries, entry.allow);
	elseif log_only then
		return let_through(stanza, reason);
	end
	return refuse(stanza, reason);
end

local function guard(event, stanza)
	local carries = payload.within(stanza);
	if not carries and not guard_everything then return nil; end
	local attr = stanza.attr;
	local requester = attr.from or host;
	local bare = match(requester, "^[^/]*");
	if link:is_origin(event.origin) and match(bare, "[^@]*$") == component then
		-- Prosody has added the language of the stream
		if carries and payload.normal_form(stanza) == stanza then payload.without_language(stanza); end
		return nil;
	end
	local to = attr.to or bare;
	local device = match(to, "^[^/]*");
	if not carries and (bare == device or requester == host) then return nil; end
	if bypass.left > 0 then return let_through(stanza); end
	if carries and is_answer(stanza) then
		return (log_only and let_through or refuse)(stanza, "answer");
	end
	if checks.waiting > 0 and checks:is_queued(bare, device) then
		return undecided(event, stanza, carries, requester, bare, to, device, nil);
	end
	local now = clock();
	local entry = cache:find(requester, bare, device, now);
	if not entry or now >= entry.fresh_until then
		return undecided(event, stanza, carries, requester, bare, to, device, entry);
	end
	if now >= entry.refresh_at then checks:refresh(requester, bare, to, device); end
	counters.hits = counters.hits + 1;
	return apply(event, stanza, carries, entry.allow);
end

local function guarded(event)
	local stanza = event.stanza;
	if stanza == releasing then return nil; end
	local ok, result = pcall(guard, event, stanza);
	if ok then return result; end
	note("error", "crashed", "The guard failed over a stanza: %s", result);
	if log_only or bypass.left > 0 then return let_through(stanza); end
	pcall(refuse, stanza, "crashed");
	return true;
end

-- The component

local function send_check(id, requester, to)
	return link:send(st.iq({ type = "get", id = id, from = host, to = component })
		:tag("check", { xmlns = xmlns_policy, requester = requester, device = to }):reset());
end

-- What a lost connection or another policy behind a new one could have made wrong is forgotten.
local function attached()
	cache:clear();
	sessions:tell_all();
	module:set_status("info", component .. " is attached");
end

local function lost()
	checks:fail_all("not-attached");
	module:set_status("warn", component .. " is not attached: only what is cached is decided");
end

local function status()
	local found = {
		mode = bypass.left > 0 and "bypass" or log_only and "log-only" or "enforce",
		guard = guard_everything and "everything" or "connection-requests",
		component = component, attached = link:is_attached(), bypass_left = bypass.left > 0 and bypass.left or nil,
		epoch = cache.known, cached = cache.count, cache_size = cache_size, evicted = cache.evicted,
		checks = checks.count, held = checks.waiting, sessions = sessions.count, seq = sessions.seq, refused = {},
	};
	for name, count in pairs(counters) do found[name] = count; end
	for i, reason in ipairs(reasons) do found.refused[i] = { reason = reason, count = refused[reason] }; end
	return found;
end

local function addressed_to_host(event)
	local ok, result = pcall(control.handle, control, event);
	if ok then return result; end
	note("error", "control", "An iq to the host could not be dealt with: %s", result);
	if not is_answer(event.stanza) then
		event.origin.send(st.error_reply(event.stanza, "wait", "internal-server-error"));
	end
	return true;
end

-- `f`, whose errors are nobody else's business.
local function protected(f)
	return function (event)
		local ok, problem = pcall(f, event);
		if not ok then note("error", "internal", "The guard failed: %s", problem); end
	end
end

local tell_status = protected(function () control.orders:tell_status(); end);

bypass = module:require "bypass".new(function ()
	checks:fail_all("no-decision");
	tell_status();
end, tell_status);
link = module:require "link".new(component, protected(attached), protected(lost));
checks = checking.new {
	cache = cache, turns = module:require "turns".new(), clock = clock, counters = counters,
	send = send_check, settle = settle,
	denied = function (check) would_refuse("forbidden", "request", check.requester, check.to); end,
	after = function (seconds, callback) return module:add_timer(seconds, callback); end,
};
sessions = module:require "sessions".new(host, component, module.saved_state and module.saved_state.seq or 0,
	function (message) link:send(message); end);
control = module:require "control".new {
	make_orders = module:require "orders".new, cache = cache, checking = checking, checks = checks,
	counters = counters, decisions = decisions, link = link, note = note, sessions = sessions, status = status,
};
local outgoing = module:require "outgoing".new {
	note = note, payload = payload, refuse = refuse, is_open = function () return log_only or bypass.left > 0; end,
};
local shell = module:require "shell";

for _, kind in ipairs { "iq", "message", "presence" } do
	module:hook(kind .. "/full", guarded, above_all);
	module:hook(kind .. "/bare", guarded, above_all);
end
module:hook("iq/host", addressed_to_host, above_all);
module:hook("authentication-success", protected(function (event)
	sessions.authenticated(event.session);
end), above_all);
module:hook("resource-bind", protected(function (event) sessions:bound(event.session); end), above_all);
module:hook("resource-unbind", protected(function (event) sessions:unbound(event.session); end), above_all);

-- What reaches the component, from whomever, must not be a stanza that grows to megabytes on its way there.
local function weighed(event)
	local origin, stanza = event.origin, event.stanza;
	local ok, heavy = pcall(is_heavy, stanza);
	if ok and not heavy or log_only or bypass.left > 0 then return nil; end
	note("info", "heavy", "Refused (heavy): %s from %s to %s", stanza.name, stanza.attr.from, stanza.attr.to);
	local kind = stanza.attr.type;
	if stanza.name == "iq" and (kind == "get" or kind == "set") and origin.send then
		pcall(origin.send, st.error_reply(stanza, "modify", "policy-violation"));
	end
	return true;
end

local function watch_host(name)
	if name ~= component or not hosts[name] then return; end
	for _, kind in ipairs { "iq", "message", "presence" } do
		for _, target in ipairs { "full", "bare", "host" } do
			module:hook_object_event(hosts[name].events, kind .. "/" .. target, weighed, above_all + 1);
		end
	end
end

function module.load()
	watch_host(component);
	module:hook_global("host-activated", watch_host);
	sessions:take_over(hosts[host].sessions);
	outgoing:watch(hosts[host].sessions);
	link:watch();
	tell_status();
	shell.add(host, { status = status, bypass = function (minutes) return bypass:set(minutes); end });
	if not link:is_attached() then module:set_status("warn", (component or "no component") .. " is not attached"); end
end

function module.save()
	return { seq = sessions.seq };
end

function module.unload()
	checks:fail_all("no-decision");
	bypass:finish("the module is unloaded");
	outgoing:finish();
	shell.remove(host);
end
