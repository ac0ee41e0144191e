-- Stanzagate: accounts whose password is kept by another hash than the host's.
--
-- Prosody keeps one hash of a password, and offers SCRAM with the host's alone (password_hash). An account that was
-- made when the host had another one cannot log in by its password, and is told nothing but that it is not authorized.

local lengths = { ["SHA-1"] = 40, ["SHA-256"] = 64 }; -- of a key, in hex
local shown = 20;

-- The first names, sorted, and how many there are; nil when the host does not keep hashes.
local function outdated()
	local wanted = lengths[module:get_option_string("password_hash", "SHA-1")];
	local provider = module:get_option_string("authentication", "internal_hashed");
	if provider ~= "internal_hashed" or not wanted then return nil; end
	local accounts, names = module:open_store("accounts"), {};
	for name in accounts:users() do
		local account = accounts:get(name);
		local key = account and account.stored_key;
		if key and #key ~= wanted then names[#names + 1] = name; end
	end
	table.sort(names);
	return names;
end

-- Say in the log whose password must be set again.
local function warn()
	local names = outdated();
	if not names or #names == 0 then return; end
	local more = #names > shown and (" and %d more"):format(#names - shown) or "";
	module:log("warn", "These accounts (%d) cannot log in by password until it is set again, because it was hashed "
		.. "before password_hash was changed: %s%s", #names, table.concat(names, ", ", 1, math.min(#names, shown)), more);
end

return { warn = warn };
