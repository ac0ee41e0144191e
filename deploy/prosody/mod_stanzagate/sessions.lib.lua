-- Stanzagate: which clients are connected to the host, told to the component.
--
-- A session begins when a resource is bound and ends when it is unbound; resumption of a stream (XEP-0198) is neither.
-- Its name is random, so that no other session ever has it; it stands on Prosody's session, so that a reload of the
-- module changes nothing. Events are numbered without gaps whether or not anybody hears them; who missed some asks
-- for the snapshot.

local st = require "util.stanza";
local new_sid = require "util.id".medium;

local ipairs, os_time, pairs, setmetatable, tostring = ipairs, os.time, pairs, setmetatable, tostring;
local floor = math.floor;

local xmlns = "urn:stanzagate:policy:1";

local sessions = {};
local sessions_mt = { __index = sessions };

-- `seq`: the number of the last event. `send(message)` sends to the component, if it is there.
local function new(host, component, seq, send)
	return setmetatable({ host = host, component = component, seq = seq, send = send, open = {}, count = 0 }, sessions_mt);
end

local function base64_of(certificate)
	return (certificate:pem():gsub("%-%-%-%-%-[^\n]*%-%-%-%-%-", ""):gsub("%s", ""));
end

local function certificate_of(session)
	local socket = session.conn and session.conn.socket and session.conn:socket();
	return socket and socket.getpeercertificate and socket:getpeercertificate(), socket;
end

local function digest_of(certificate)
	return certificate:digest("sha256"):lower();
end

-- SHA-256 of the client's TLS certificate, also before it has authenticated or when its connection is lost; nil
-- without one.
local function fingerprint_of(session)
	local record = session.stanzagate_session;
	local certificate = certificate_of(session);
	return certificate and digest_of(certificate) or record and record.fingerprint;
end

-- Its fingerprint and the certificates that the client sent, its own first; nil without one.
local function certificates_of(session)
	local certificate, socket = certificate_of(session);
	if not certificate then return nil; end
	local chain = {};
	for _, sent in ipairs(socket.getpeerchain and socket:getpeerchain() or {}) do
		chain[#chain + 1] = base64_of(sent);
	end
	local own = base64_of(certificate);
	if chain[1] ~= own then table.insert(chain, 1, own); end
	return digest_of(certificate), chain;
end

local function element_of(record, event)
	local element = st.stanza("session", {
		xmlns = xmlns, sid = record.sid, jid = record.jid, event = event, mechanism = record.mechanism,
		since = tostring(record.since), fingerprint = record.fingerprint,
	});
	if record.chain then
		element:tag("certificateChain", { xmlns = xmlns });
		for _, certificate in ipairs(record.chain) do element:text_tag("certificate", certificate, { xmlns = xmlns }); end
		element:up();
	end
	return element;
end

function sessions:message(child)
	return st.message({ from = self.host, to = self.component }):add_child(child);
end

function sessions:tell(element)
	self.seq = self.seq + 1;
	element.attr.seq = tostring(self.seq);
	self.send(self:message(element));
end

function sessions:note(session, since)
	local record = session.stanzagate_session;
	if not record then
		local fingerprint, chain = certificates_of(session);
		record = {
			sid = new_sid(), jid = session.full_jid, since = since, mechanism = session.stanzagate_mechanism,
			fingerprint = fingerprint, chain = chain,
		};
		session.stanzagate_session = record;
	end
	self.open[session], self.count = record, self.count + 1;
	return record;
end

-- A client has authenticated; its SASL handler is about to be dropped.
function sessions.authenticated(session)
	session.stanzagate_mechanism = session.sasl_handler and session.sasl_handler.selected or nil;
end

function sessions:bound(session)
	self:tell(element_of(self:note(session, os_time()), "up"));
end

function sessions:unbound(session)
	local record = self.open[session];
	if not record then return; end
	self.open[session], self.count = nil, self.count - 1;
	self:tell(st.stanza("session", { xmlns = xmlns, sid = record.sid, jid = record.jid, event = "down" }));
end

-- Take over those that were there before the module.
function sessions:take_over(users)
	for _, user in pairs(users) do
		for _, session in pairs(user.sessions) do
			if session.full_jid then self:note(session, floor(session.conntime or os_time())); end
		end
	end
end

-- <sessions/>: all of them.
function sessions:snapshot()
	local all = st.stanza("sessions", { xmlns = xmlns, seq = tostring(self.seq) });
	for _, record in pairs(self.open) do all:add_child(element_of(record, "up")); end
	return all;
end

function sessions:tell_all()
	self.send(self:message(self:snapshot()));
end

return { new = new, fingerprint_of = fingerprint_of };
