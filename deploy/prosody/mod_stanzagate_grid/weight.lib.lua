-- Stanzagate: stanzas that grow when they are passed on, or that are nested deeper than any payload of the grid. On a
-- host of devices any depth passes: what a device answers is the gate's to judge.

local is_heavy = module:require "mod_stanzagate/weight".is_heavy;

local deepest = 512;

return { is_heavy = function (stanza) return is_heavy(stanza, deepest); end };
