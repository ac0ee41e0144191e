-- Stanzagate: the connection request in a stanza (TR-069 Annex K.2): whether there is one, and its normal form.
--
-- Devices are found to act on the payload in any kind of stanza and to crash on white space in it. So whatever looks
-- like one counts, however deep it stands, and what is handed on is
--
--    <iq type='get' id from to><connectionRequest><username>…</username><password>…</password></connectionRequest></iq>
--
-- and nothing else. Stanzas are looked at as they would be written to a stream: by their children, never by the list
-- of tags that Prosody keeps beside them.

local st = require "util.stanza";

local stanza_mt = st.stanza_mt;
local next, setmetatable, type = next, setmetatable, type;
local find, gsub, concat = string.find, string.gsub, table.concat;

local xmlns = "urn:broadband-forum-org:cwmp:xmppConnReq-1-0";
local request_name = "connectionRequest";
local longest_value = 256; -- characters; the data model's limit

-- Whether there is a connection request anywhere below `element`.
local function within(element)
	for i = 1, #element do
		local child = element[i];
		local name = child.name; -- strings have none
		if name and (name == request_name or child.attr.xmlns == xmlns or within(child)) then return true; end
	end
	return false;
end

local function fits(text)
	return #text <= longest_value or #gsub(text, "[\128-\191]", "") <= longest_value;
end

-- Whether an element has no attributes but the namespace, or not even that.
local function bare(element)
	local attr = element.attr;
	local name = next(attr);
	return name == nil or name == "xmlns" and attr.xmlns == xmlns and next(attr, name) == nil;
end

-- Whether `element` is <name>text</name> already.
local function clean(element, name)
	if not element or element.name ~= name or not bare(element) then return false; end
	local text = element[1];
	return text == nil or type(text) == "string" and element[2] == nil and fits(text);
end

local function is_request(element)
	return element and element.name == request_name and element.attr.xmlns == xmlns;
end

-- The only child of `element` that is an element, or nil when there are others or text.
local function only_child(element)
	local found;
	for i = 1, #element do
		local child = element[i];
		if child.name then
			if found then return nil; end
			found = child;
		elseif find(child, "[^ \t\r\n]") then
			return nil;
		end
	end
	return found;
end

local function value(element)
	for i = 1, #element do
		if element[i].name then return nil; end
	end
	local text = concat(element);
	return fits(text) and text or nil;
end

-- The values of a request whose order, white space and attributes may need mending; nil when more than that is wrong.
local function read(request)
	local values = {};
	for i = 1, #request do
		local child = request[i];
		local name = child.name;
		if name then
			-- without a namespace of its own it was built here, and has the request's
			local ours = (child.attr.xmlns or xmlns) == xmlns;
			if not ours or (name ~= "username" and name ~= "password") or values[name] then return nil; end
			values[name] = value(child);
			if not values[name] then return nil; end
		elseif find(child, "[^ \t\r\n]") then
			return nil;
		end
	end
	return values.username, values.password;
end

local function written(username, password)
	return st.stanza(request_name, { xmlns = xmlns })
		:text_tag("username", username, { xmlns = xmlns }):text_tag("password", password, { xmlns = xmlns });
end

-- A stanza of the same kind and addresses around `child`, which it shares; `child` may be nil.
local function reframed(stanza, child)
	local attr = stanza.attr;
	return setmetatable({
		name = stanza.name;
		attr = { type = attr.type, id = attr.id, from = attr.from, to = attr.to };
		tags = { child };
		child;
	}, stanza_mt);
end

local frame_attributes = { type = true, id = true, from = true, to = true, ["xml:lang"] = true };

-- Whether a stanza has no attributes but those of the normal form, and the language that Prosody's parser adds.
local function plainly_framed(attr)
	for name in next, attr do
		if not frame_attributes[name] then return false; end
	end
	return true;
end

-- The stanza's normal form, but for the language; nil when it cannot have one, and then must not be delivered.
-- This is the stanza itself when it can be: tables cost more than all the looking.
local function normal_form(stanza)
	local attr = stanza.attr;
	if stanza.name ~= "iq" or attr.type ~= "get" or not attr.id then return nil; end
	local request = stanza[1];
	if #stanza == 1 and is_request(request) and #request == 2 and bare(request)
	and clean(request[1], "username") and clean(request[2], "password") then
		return plainly_framed(attr) and stanza or reframed(stanza, request);
	end
	request = only_child(stanza);
	if not is_request(request) then return nil; end
	local username, password = read(request);
	if not (username and password) then return nil; end
	return reframed(stanza, written(username, password));
end

-- Take the language off. An iq goes to one place only, so it may be changed where it stands, as the router does.
local function without_language(stanza)
	stanza.attr["xml:lang"] = nil;
	return stanza;
end

return {
	within = within, normal_form = normal_form, without_language = without_language, reframed = reframed,
};
