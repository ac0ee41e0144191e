-- Prosody runs Lua 5.4 and gives every module these globals.
std = "lua54"
max_line_length = 120
files["deploy/prosody"] = {
	globals = { "module", "prosody" },
}
