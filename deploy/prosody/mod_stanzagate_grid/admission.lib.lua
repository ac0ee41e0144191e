-- Stanzagate: who gets in, and who has to leave.
--
-- A client whose TLS certificate is revoked is told so at its first SASL element, whatever the mechanism is. For what
-- authenticates by other means there is a second look right after it.

local jid_bare = require "util.jid".bare;
local st = require "util.stanza";

local hosts = prosody.hosts;

local pairs, pcall, setmetatable = pairs, pcall, setmetatable;

local xmlns_sasl = "urn:ietf:params:xml:ns:xmpp-sasl";

local admission = {};
local admission_mt = { __index = admission };

-- `host`, `ledger`, `fingerprint_of(session)`, `is_open()`: whether all may pass, `refused(reason)` counts,
-- `note(level, kind, …)`.
local function new(parts)
	parts.streams = module:shared("/*/c2s/sessions");
	return setmetatable(parts, admission_mt);
end

-- All sessions of the host, also those that are not bound or whose connection is lost.
function admission:sessions()
	local found = {};
	for _, session in pairs(self.streams) do
		if session.host == self.host then found[session] = true; end
	end
	for _, user in pairs(hosts[self.host].sessions) do
		for _, session in pairs(user.sessions) do found[session] = true; end
	end
	return found;
end

local function close(session, condition, text)
	if not session.destroyed and session.close then session:close({ condition = condition, text = text }); end
end

function admission:is_revoked(session)
	local fingerprint = self.fingerprint_of(session);
	return fingerprint ~= nil and self.ledger:is_revoked(fingerprint);
end

-- End the sessions with a certificate that has just been revoked.
function admission:revoked(fingerprint)
	if self.is_open() then return; end
	for session in pairs(self:sessions()) do
		if self.fingerprint_of(session) == fingerprint then
			self.refused("revoked");
			self.note("info", "revoked", "A session of %s ends: its certificate is revoked", session.full_jid or "nobody");
			close(session, "not-authorized", "The certificate is revoked");
		end
	end
end

-- End the session with a full JID, or all of a bare one.
function admission:disconnect(jid, full, reason)
	for session in pairs(self:sessions()) do
		local own = session.full_jid or session.username and session.username .. "@" .. self.host;
		if own and (own == jid or not full and jid_bare(own) == jid) then close(session, "policy-violation", reason); end
	end
end

function admission:guard(event)
	local session = event.origin;
	if session.type ~= "c2s_unauthed" or self.is_open() then return nil; end
	local ok, revoked = pcall(self.is_revoked, self, session);
	if ok and not revoked then return nil; end
	local reason = ok and "revoked" or "crashed";
	self.refused(reason);
	self.note("warn", reason, ok and "A client with a revoked certificate was refused" or "A login failed: %s", revoked);
	session.sasl_handler = nil;
	session.send(st.stanza("failure", { xmlns = xmlns_sasl }):tag(ok and "not-authorized" or "temporary-auth-failure"));
	return true;
end

function admission:look_again(event)
	local session = event.session;
	local ok, revoked = pcall(self.is_revoked, self, session);
	if ok and not revoked or self.is_open() then return; end
	self.refused("revoked");
	module:add_timer(0, function () close(session, "not-authorized", "The certificate is revoked"); end);
end

-- `priority`: above all others.
function admission:watch(priority)
	local function guard(event) return self:guard(event); end
	module:hook("stanza/" .. xmlns_sasl .. ":auth", guard, priority);
	module:hook("stanza/" .. xmlns_sasl .. ":response", guard, priority);
	module:hook("authentication-success", function (event) self:look_again(event); end, priority);
end

return { new = new };
