"""Configurations of the partner's servers, to be filled in by `relaykit_partner`."""

PROSODY = """
data_path = {data}; pidfile = {pid}; run_as_root = {as_root}
log = {{ {level} = {log} }}
plugin_paths = {modules}
use_ipv6 = false
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {c2s_port} }}; c2s_direct_tls_ports = {{ }}
s2s_interfaces = {addresses}; s2s_ports = {s2s_ports}; s2s_direct_tls_ports = {{ }}
component_ports = {component_ports}
http_ports = {{ }}; https_ports = {{ }}
modules_enabled = {{ "saslauth", "tls", "disco", "ping", "s2s_bidi", "dialback", "roster", "posix" }}
authentication = "internal_plain"
c2s_require_encryption = true
s2s_require_encryption = true
s2s_secure_auth = {secure}
s2s_ssl = {{ protocol = "tlsv1_2+", cafile = {ca}, capath = false }}
component_stanza_size_limit = 1048576
finder_file = {found}

{hosts}
"""

PROSODY_HOST = """
{kind} {domain}
	modules_enabled = {modules}
	modules_disabled = {disabled}
	c2s_ssl = {{ certificate = {certificate}, key = {key} }}
	s2s_ssl = {{ certificate = {s2s_certificate}, key = {s2s_key} }}
"""

FINDER = """
-- Where other domains are, from a file that may change, in place of a name server.
local service = require "net.resolvers.service";
local basic = require "net.resolvers.basic";
local file = module:get_option_string("finder_file");
local host = module.host;

-- The event comes right before mod_s2s asks for the place.
module:hook("s2sout-created", function (event) service.finder_from = event.session.from_host; end, 1000);

if not service.finder_new then
	service.finder_new = service.new;
	function service.new(domain, name, kind, extra)
		local places = dofile(file);
		local place = places[(service.finder_from or "") .. ">" .. domain] or places[domain];
		if name == "xmpp-server" and place then
			return basic.new(place[1], place[2], kind, extra);
		end
		return { next = function (_, found) found(nil); end, last_error = "no such domain in the test" };
	end
end
"""

EJABBERD = """
hosts:
{hosts}
loglevel: debug
certfiles:
{files}
ca_file: {ca}
s2s_cafile: {ca}
s2s_use_starttls: required
s2s_max_retry_delay: 1
acme: {{auto: false}}
auth_method: internal
auth_password_format: scram
listen:
  - {{port: {c2s_port}, ip: 127.0.0.1, module: ejabberd_c2s, starttls_required: true, shaper: none}}
{s2s}
modules:
  mod_disco: {{}}
  mod_ping: {{}}
  mod_roster: {{}}
{dialback}
"""
