-- Stanzagate: `stanzagate:status()` and `stanzagate:bypass()` in `prosodyctl shell`, for all guarded hosts at once.

local ipairs, next, pairs, tonumber = ipairs, next, pairs, tonumber;
local concat, sort, format = table.concat, table.sort, string.format;

local environment = module:shared("/*/admin_shell/env");
local guards = module:shared("/*/stanzagate/guards"); -- host → { status(), bypass(minutes) }

local commands = {};

local function hosts_of(wanted)
	if wanted then return guards[wanted] and { wanted } or {}; end
	local found = {};
	for host in pairs(guards) do found[#found + 1] = host; end
	sort(found);
	return found;
end

local function describe(print, host, found)
	local refused, line = {}, "  %-10s %s";
	for _, item in ipairs(found.refused) do
		if item.count > 0 then refused[#refused + 1] = format("%s %d", item.reason, item.count); end
	end
	local mode = found.mode;
	if found.bypass_left then mode = format("%s, %d min left: NOTHING IS REFUSED", mode, found.bypass_left); end
	print(host);
	print(format(line, "mode", mode));
	print(format(line, "guard", found.guard));
	print(format(line, "component", format("%s, %s", found.component or "none configured",
		found.attached and "attached" or "NOT ATTACHED")));
	print(format(line, "policy", format("epoch %d, %d decisions cached (at most %d), %d evicted",
		found.epoch, found.cached, found.cache_size, found.evicted)));
	print(format(line, "now", format("%d checks in flight, %d stanzas held, %d sessions",
		found.checks, found.held, found.sessions)));
	print(format(line, "requests", format("%d passed, %d let through undecided or not allowed, %d decided from cache",
		found.passed, found.bypassed, found.hits)));
	print(format(line, "decisions", format("%d asked, %d allowed, %d denied, %d not believed or outdated",
		found.asked, found.allowed, found.denied, found.discarded)));
	print(format(line, "refused", #refused > 0 and concat(refused, ", ") or "none"));
end

function commands:status(host)
	local found = hosts_of(host);
	if #found == 0 then return false, host and host .. " is not guarded" or "No host is guarded"; end
	for _, name in ipairs(found) do describe(self.session.print, name, guards[name].status()); end
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
