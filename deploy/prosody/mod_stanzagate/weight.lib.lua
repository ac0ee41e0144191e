-- Stanzagate: stanzas that grow when they are passed on.
--
-- A client declares a prefix once and uses it in thousands of elements; the server that writes them into another stream
-- declares the namespace at each of them. So a few kilobytes become hundreds of megabytes, which the server holds in
-- memory and a component has to read. What is nested without end makes work in the same way.

local find = string.find;
local pairs = pairs;

local most = 262144; -- bytes of declarations

-- What is left of `left` bytes after the declarations of `element`; negative when there are too many, or when it is
-- nested deeper than `levels`.
local function weigh(element, around, left, levels)
	if levels < 0 then return -1; end
	local xmlns = element.attr.xmlns or around;
	if xmlns ~= around then left = left - #xmlns; end
	for name in pairs(element.attr) do
		if find(name, "\1", 1, true) then left = left - #name; end
	end
	for _, child in pairs(element.tags) do
		if left < 0 then return left; end
		left = weigh(child, xmlns, left, levels - 1);
	end
	return left;
end

-- `levels`: how deep a stanza may be nested; any depth without it.
local function is_heavy(stanza, levels)
	return weigh(stanza, "", most, levels or math.huge) < 0;
end

return { is_heavy = is_heavy };
