-- Stanzagate: who of the grid host reaches whom.
--
-- A node that is not active has the controller, the broker's control plane, its own account and the server, and nobody
-- else, in both directions. A session by a certificate that its name is not bound to is a stranger: it has not even the
-- account. A session that has logged out (it is "quiet") reaches no more either, but is reached. The events of a topic
-- that a node has lost do not reach it. Each function here returns nil when a stanza may go on, or the reason why it
-- may not.

local jid_bare, jid_split = require "util.jid".bare, require "util.jid".split;

local hosts = prosody.hosts;

local pairs, setmetatable = pairs, setmetatable;

local xmlns_pubsub = "http://jabber.org/protocol/pubsub";
local xmlns_register = "jabber:iq:register";

local reach = {};
local reach_mt = { __index = reach };

-- `host`, `component`, `broker`: domains. `ledger`; the libraries `events` and `is_lost` of that of the ledger;
-- `is_heavy` of `weight`; `fingerprint_of(session)`.
local function new(parts)
	return setmetatable(parts, reach_mt);
end

-- The fingerprint of a session's certificate: read when its connection is another one than before, for a stream may be
-- resumed with another certificate. Nil without one, and of what is not a client's session.
function reach:print_of(session)
	if session.type ~= "c2s" then return nil; end
	local known = session.stanzagate_print;
	if not known or session.conn and known.conn ~= session.conn then
		known = { conn = session.conn, fingerprint = self.fingerprint_of(session) };
		session.stanzagate_print = known;
	end
	return known.fingerprint;
end

-- Whether a session is under a name that is bound to other certificates.
function reach:is_stranger(session)
	return session.username ~= nil and self.ledger:is_stranger(session.username, self:print_of(session));
end

-- Why a node, by this session of it or whatever speaks for it, may not do as it likes. `speaker`: the full JID in whose
-- name something is said, perhaps by the server.
function reach:restriction(origin, username, speaker)
	if not self.ledger:is_active(username) then return "forbidden"; end
	local session = speaker and prosody.full_sessions[speaker];
	if self:is_stranger(origin) or session and self:is_stranger(session) then return "forbidden"; end
	local quiet = origin.stanzagate_quiet;
	return quiet and quiet.on and "quiet" or nil;
end

local function publishes(stanza)
	for _, child in pairs(stanza.tags) do
		if child.attr.xmlns == xmlns_pubsub and child.name == "pubsub" then
			for _, verb in pairs(child.tags) do
				if verb.name == "publish" then return true; end
			end
		end
	end
	return false;
end

-- Whether a client wants to change or remove its account (XEP-0077). Those of nodes are the controller's affair: with a
-- stolen certificate somebody could set a password, and come back with that when the certificate is revoked.
local function registers(stanza)
	for _, child in pairs(stanza.tags) do
		if child.attr.xmlns == xmlns_register then return true; end
	end
	return false;
end

-- What a client of this host sends.
function reach:sent(origin, stanza)
	if self.is_heavy(stanza) then return "heavy"; end
	local to = stanza.attr.to;
	local node, domain = jid_split(to);
	if (not to or domain == self.host) and stanza.name == "iq" and registers(stanza) then return "forbidden"; end
	local why = self:restriction(origin, origin.username);
	if not why then return nil; end
	if not to or node == origin.username and domain == self.host then
		return (publishes(stanza) or self:is_stranger(origin)) and why or nil;
	elseif domain == self.component or domain == self.host and not node then
		return nil;
	elseif domain == self.broker then
		return publishes(stanza) and why or nil;
	end
	return why;
end

-- Whether a stanza with an address of `domain` came from there: an address alone proves nothing.
local function is_from(origin, domain)
	return origin == hosts[domain] or origin.host == domain and origin.type == "component";
end

-- What arrives at an account of this host, from whomever.
function reach:arriving(origin, stanza)
	local to, from = stanza.attr.to, stanza.attr.from;
	if not to or not from then return nil; end -- the client's own account; the server
	local receiver = jid_split(to);
	local sender, domain = jid_split(from);
	if domain == self.host then
		if not sender or sender == receiver then return nil; end
		local why = self:restriction(origin, sender, from);
		if why then return why; end
	elseif domain and (domain == self.component or domain == self.broker) and is_from(origin, domain) then
		return domain == self.broker and self:loss(receiver, stanza) or nil;
	end
	return not self.ledger:is_active(receiver) and "stranger" or nil;
end

-- What goes anywhere else in the name of an account of this host: the server broadcasts presence, for example.
function reach:departing(origin, stanza)
	local from = stanza.attr.from;
	local sender, domain = jid_split(from);
	if domain ~= self.host or not sender then return nil; end
	return self:restriction(origin, sender, from);
end

-- What arrives at the controller, from whomever.
function reach:weighed(_, stanza)
	return self.is_heavy(stanza) and "heavy" or nil;
end

-- "lost" if a stanza has an event of a topic that the node has lost.
function reach:loss(name, stanza)
	local losses = self.ledger:losses(name);
	if not losses or stanza.name ~= "message" then return nil; end
	local is_lost = self.is_lost;
	local function dropped(node, stamp) return is_lost(losses, node, stamp); end
	return self.events.any(stanza, self.host, dropped) and "lost" or nil;
end

-- What is about to be written into a client's stream: the last look. What was stored or kept goes by here only.
function reach:leaving(session, stanza)
	local attr, username = stanza.attr, session.username;
	if attr.xmlns or not username then return nil; end -- not a stanza; before authentication there are none
	local stranger = self:is_stranger(session);
	if attr.from and (stranger or not self.ledger:is_active(username)) then
		local sender, domain = jid_split(attr.from);
		local ours = domain == self.component or domain == self.host and not sender;
		if stranger then
			ours = ours or domain == self.broker and stanza.name == "iq";
		else
			ours = ours or domain == self.broker or domain == self.host and sender == username;
		end
		if not ours then return "stranger"; end
	end
	return self:loss(username, stanza);
end

-- The name of a node in the ledger: of an account, or of one of another domain.
function reach:name_of(jid)
	local node, domain = jid_split(jid);
	return domain == self.host and node or jid_bare(jid);
end

return { new = new };
