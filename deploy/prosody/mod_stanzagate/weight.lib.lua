-- Stanzagate: stanzas that grow when they are passed on.
--
-- A client declares a prefix once and uses it in thousands of elements; the server that writes them into another stream
-- declares the namespace at each of them. So a few kilobytes become hundreds of megabytes, which the server holds in
-- memory and a component has to read. What is nested without end makes work in the same way.

local find = string.find;
local pairs = pairs;

local most = 262144; -- bytes of declarations
local deepest = 512;

-- What is left of `left` bytes after the declarations of `element`; negative when there are too many.
local function weigh(element, around, left, depth)
	if depth > deepest then return -1; end
	local xmlns = element.attr.xmlns or around;
	if xmlns ~= around then left = left - #xmlns; end
	for name in pairs(element.attr) do
		if find(name, "\1", 1, true) then left = left - #name; end
	end
	for _, child in pairs(element.tags) do
		if left < 0 then return left; end
		left = weigh(child, xmlns, left, depth + 1);
	end
	return left;
end

local function is_heavy(stanza)
	return weigh(stanza, "", most, 0) < 0;
end

return { is_heavy = is_heavy };
