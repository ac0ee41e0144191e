-- Stanzagate: log lines that somebody else can cause, so many a minute of each kind and no more.

local time = require "util.time".monotonic;

local lines_a_minute = 10;

local windows = {}; -- kind → { began, lines }

-- Log as module:log does, unless there was enough of this kind.
local function note(level, kind, ...)
	local now, window = time(), windows[kind];
	if not window or now - window.began >= 60 then
		if window and window.lines > lines_a_minute then
			module:log(level, "(%d more like this: %s)", window.lines - lines_a_minute, kind);
		end
		window = { began = now, lines = 0 };
		windows[kind] = window;
	end
	window.lines = window.lines + 1;
	if window.lines <= lines_a_minute then module:log(level, ...); end
end

return { note = note };
