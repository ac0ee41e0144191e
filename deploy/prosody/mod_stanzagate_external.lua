-- Stanzagate: SASL EXTERNAL with a node certificate beside the password mechanisms of a host.
--
-- mod_auth_ccert of prosody-modules would replace the password provider; this module wraps it. EXTERNAL is offered
-- to a client that sent a certificate. The certificate must be valid for c2s_ssl.cafile of the host, and must carry
-- the account as xmppAddr (RFC 6120 §13.7.1.4). The comparison is exact: util.jid.compare would let an xmppAddr that
-- is a domain stand for every account of it.

local jid_prep = require "util.jid".prep;
local jid_split = require "util.jid".split;
local jid_bare = require "util.jid".bare;
local now = os.time;

local oid_subject_alternative_name = "2.5.29.17";
local oid_xmpp_addr = "1.3.6.1.5.5.7.8.5";

local this_host = module.host;
local wrapped_provider, original_get_handler;

-- The certificate the client sent on this TLS connection, with its socket, or nil.
local function client_certificate(session)
	if not (session and session.secure and session.conn) then return nil; end
	local sock = session.conn:socket();
	if not sock.getpeercertificate then return nil; end
	return sock:getpeercertificate(), sock;
end

-- The account that the certificate names: the one asked for, or the only one when none was asked for.
local function account(cert, authzid)
	local names = cert:extensions()[oid_subject_alternative_name];
	local addresses = names and names[oid_xmpp_addr] or {};
	local wanted = authzid ~= "" and jid_prep(authzid) or nil;
	if authzid ~= "" and not wanted then return nil; end
	local found;
	for _, address in ipairs(addresses) do
		local prepped = jid_prep(address);
		local username, host, resource = jid_split(prepped);
		if username and host == this_host and not resource then
			if wanted and prepped == jid_bare(wanted) then return username; end
			if not wanted then
				if found and found ~= username then return nil; end
				found = username;
			end
		end
	end
	return found;
end

-- The `external` backend of util.sasl: user name and state (true: accept, nil: not-authorized).
local function external(session, authzid)
	local log = session.log or module._log;
	local cert, sock = client_certificate(session);
	if not cert then
		log("warn", "EXTERNAL without a client certificate");
		return nil;
	end
	local chain_valid, problems = sock:getpeerverification();
	if not chain_valid then
		for depth, problem in ipairs(type(problems) == "table" and problems or {}) do
			log("warn", "Client certificate refused, depth %d: %s", depth - 1, table.concat(problem, ", "));
		end
		return nil;
	end
	if not cert:validat(now()) then
		log("warn", "Client certificate refused: out of its period of validity");
		return nil;
	end
	if cert.setencode then cert:setencode("utf8"); end
	local username = account(cert, authzid or "");
	if not username then
		log("warn", "Client certificate refused: no xmppAddr of %s that matches", this_host);
		return nil;
	end
	return username, true;
end

local function wrap()
	local provider = prosody.hosts[this_host].users;
	if not provider or not provider.get_sasl_handler or provider == wrapped_provider then return; end
	local get_handler = provider.get_sasl_handler;
	wrapped_provider, original_get_handler = provider, get_handler;
	provider.get_sasl_handler = function (session)
		local handler = get_handler(session);
		if client_certificate(session) then
			handler.profile.external = function (authzid) return external(session, authzid); end;
			handler.mechs.EXTERNAL = true;
		end
		return handler;
	end
end

-- The provider may be loaded after this module, or again by a reload; usermanager has to see the event first.
module:hook("item-added/auth-provider", wrap, -100);

function module.load()
	wrap();
end

function module.unload()
	if wrapped_provider then
		wrapped_provider.get_sasl_handler = original_get_handler;
	end
end
