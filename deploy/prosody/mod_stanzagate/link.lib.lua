-- Stanzagate: the attachment of the component, and nobody else's.
--
-- mod_component says when a component has authenticated and when it is gone. What is sent goes straight into its
-- stream, and a stanza is the component's only if it came out of that stream: an address alone proves nothing.

local hosts = prosody.hosts;

local setmetatable = setmetatable;

local link = {};
local link_mt = { __index = link };

-- `component`: its domain, or nil. `on_attached()` and `on_lost()` are called after the fact.
local function new(component, on_attached, on_lost)
	return setmetatable({ component = component, on_attached = on_attached, on_lost = on_lost }, link_mt);
end

function link:is_attached()
	return self.session ~= nil and not self.session.destroyed;
end

-- Whether a stanza with this origin came from the component itself; the server may speak for it, too.
function link:is_origin(origin)
	local component = self.component;
	return origin.host == component and component ~= nil and (origin.type == "component" or origin == hosts[component]);
end

function link:send(stanza)
	if not self:is_attached() then return false; end
	self.session.send(stanza);
	return true;
end

function link:attach(session)
	if self.session then self:lose(self.session); end -- replaced by a new connection
	self.session = session;
	self.on_attached();
end

function link:lose(session)
	if session ~= self.session then return; end -- one that was never attached, or has been replaced
	self.session = nil;
	self.on_lost();
end

function link:watch_host()
	local host = hosts[self.component];
	if not host or self.events == host.events then return; end
	self.events = host.events;
	module:hook_object_event(self.events, "component-authenticated", function (event) self:attach(event.session); end);
	module:hook_object_event(self.events, "component-disconnected", function (event) self:lose(event.session); end);
	local connected = host.modules.component; -- the environment of mod_component
	if connected and connected.session then self:attach(connected.session); end
end

-- Begin to watch; the component's host may come and go by itself.
function link:watch()
	if not self.component then return; end
	self:watch_host();
	module:hook_global("host-activated", function (name)
		if name == self.component then self:watch_host(); end
	end);
	module:hook_global("host-deactivated", function (name)
		if name ~= self.component then return; end
		self.events = nil;
		if self.session then self:lose(self.session); end
	end);
end

return { new = new };
