-- Stanzagate: whose turn it is.
--
-- Items wait by owner. Turns go round among the owners, and an owner's own go in the order in which they came: so who
-- has thousands of items delays nobody's first. All is linked both ways, and each step takes the same time, however
-- much waits:
--
--    round ─▶ owner ─▶ owner ─▶ owner ─▶ round       owner ─▶ item ─▶ item ─▶ owner

local setmetatable = setmetatable;

local turns = {};
local turns_mt = { __index = turns };

-- A list is a node between its last and its first; a node that is in no list has no neighbours.
local function new_list(list)
	list.following, list.previous = list, list;
	return list;
end

local function append(list, node)
	node.previous, node.following = list.previous, list;
	list.previous.following, list.previous = node, node;
end

local function unlink(node)
	node.previous.following, node.following.previous = node.following, node.previous;
	node.previous, node.following = nil, nil;
end

local function new()
	return setmetatable({ round = new_list {}, owners = {} }, turns_mt);
end

-- Let an item wait for its turn among those of `name`.
function turns:add(item, name)
	local owner = self.owners[name];
	if not owner then
		owner = { name = name, items = new_list {} };
		self.owners[name] = owner;
		append(self.round, owner);
	end
	item.owner = owner;
	append(owner.items, item);
end

-- An item does not wait any more, if it did.
function turns:remove(item)
	local owner = item.owner;
	if not owner then return; end
	unlink(item);
	item.owner = nil;
	if owner.items.following == owner.items then
		unlink(owner);
		self.owners[owner.name] = nil;
	end
end

-- The item whose turn it is, which waits no more; nil when there is none.
function turns:take()
	local owner = self.round.following;
	if owner == self.round then return nil; end
	unlink(owner);
	append(self.round, owner); -- behind the others, for its next item
	local item = owner.items.following;
	self:remove(item);
	return item;
end

return { new = new };
