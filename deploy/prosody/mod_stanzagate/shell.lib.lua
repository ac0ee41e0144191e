-- Stanzagate: `stanzagate:status()` and `stanzagate:bypass()` in `prosodyctl shell`, for all guarded hosts at once.

local ipairs, next, pairs, tonumber, tostring = ipairs, next, pairs, tonumber, tostring;
local concat, sort, format = table.concat, table.sort, string.format;

local environment = module:shared("/*/admin_shell/env");
-- host → { status(), bypass(minutes), describe(line, status) }; the last one for what is no host of devices
local guards = module:shared("/*/stanzagate/guards");

local commands = {};

local function hosts_of(wanted)
	if wanted then return guards[wanted] and { wanted } or {}; end
	local found = {};
	for host in pairs(guards) do found[#found + 1] = host; end
	sort(found);
	return found;
end

local function mode_of(found)
	if not found.bypass_left then return found.mode; end
	return format("%s, %d min left: NOTHING IS REFUSED", found.mode, found.bypass_left);
end

local function refusals_of(found)
	local refused = {};
	for _, item in ipairs(found.refused) do
		if item.count > 0 then refused[#refused + 1] = format("%s %d", item.reason, item.count); end
	end
	return #refused > 0 and concat(refused, ", ") or "none";
end

local function describe_devices(line, found)
	line("cached", "%d decisions of at most %d, %d pushed out so far", found.cached, found.cache_size, found.evicted);
	line("checks", "%d in flight", found.checks);
	line("held", "%d stanzas", found.held);
	line("sessions", "%d", found.sessions);
	line("passed", "%d", found.passed);
	line("bypassed", "%d let through that were not allowed, or not decided", found.bypassed);
	line("hits", "%d decided from the cache", found.hits);
	line("asked", "%d: allowed %d, denied %d, not believed or outdated %d",
		found.asked, found.allowed, found.denied, found.discarded);
end

local function describe(print, host, guard)
	local found = guard.status();
	local function line(name, ...)
		print(format("  %-10s %s", name, format(...)));
	end
	print(host);
	line("mode", "%s", mode_of(found));
	line("guard", "%s", found.guard);
	line("component", "%s, %s", found.component or "none configured", found.attached and "attached" or "NOT ATTACHED");
	if found.epoch then line("epoch", "%d", found.epoch); end
	(guard.describe or describe_devices)(line, found);
	line("refused", "%s", refusals_of(found));
end

function commands:status(host)
	local found = hosts_of(host);
	if #found == 0 then return false, host and tostring(host) .. " is not guarded" or "No host is guarded"; end
	for _, name in ipairs(found) do describe(self.session.print, name, guards[name]); end
	return true, format("%d guarded host%s", #found, #found == 1 and "" or "s");
end

function commands:bypass(host, minutes) -- luacheck: ignore 212/self
	local guard = host and guards[host];
	if not guard then
		return false, 'Usage: stanzagate:bypass("HOST", MINUTES), 1 to 1440, 0 ends it; HOST must be a guarded host';
	end
	return guard.bypass(tonumber(minutes));
end

local function add(host, guard)
	guards[host] = guard;
	environment.stanzagate = commands;
end

local function remove(host)
	guards[host] = nil;
	if next(guards) == nil then environment.stanzagate = nil; end
end

return { add = add, remove = remove };
