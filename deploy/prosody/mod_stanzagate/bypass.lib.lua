-- Stanzagate: the emergency bypass. For so many minutes everything passes unasked; the log says so all the time.

local setmetatable = setmetatable;

local longest = 1440; -- minutes

local bypass = {};
local bypass_mt = { __index = bypass };

-- `on_begun()` is called when nothing is refused any more, `on_ended()` when it is refused again.
local function new(on_begun, on_ended)
	return setmetatable({ left = 0, on_begun = on_begun, on_ended = on_ended }, bypass_mt);
end

-- End it, without a call of `on_ended`.
function bypass:finish(why)
	if self.left == 0 then return; end
	self.left = 0;
	self.timer:stop();
	module:log("warn", "BYPASS ended (%s): requests are decided again", why);
end

function bypass:tick()
	self.left = self.left - 1;
	if self.left > 0 then
		module:log("warn", "BYPASS: nothing is refused, for another %d minutes", self.left);
		return 60;
	end
	module:log("warn", "BYPASS ended (time is up): requests are decided again");
	self.on_ended();
end

-- Let everything through for `minutes`, from now on; 0 ends it. Returns as the shell's commands do.
function bypass:set(minutes)
	if not minutes or minutes < 0 or minutes > longest or minutes % 1 ~= 0 then
		return false, "Minutes must be a whole number, 1 to 1440, or 0 to end the bypass";
	elseif minutes == 0 then
		if self.left == 0 then return true, "There was no bypass"; end
		self:finish("by the administrator");
		self.on_ended();
		return true, "Bypass ended";
	end
	if self.timer then self.timer:stop(); end
	self.left = minutes;
	self.timer = module:add_timer(60, function () return self:tick(); end);
	module:log("warn", "BYPASS begun by the administrator: nothing is refused, for %d minutes", minutes);
	self.on_begun();
	return true, ("Nothing is refused for %d minutes"):format(minutes);
end

return { new = new };
