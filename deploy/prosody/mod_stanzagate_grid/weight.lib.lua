-- Stanzagate: stanzas that grow when they are passed on; the same library as on a host of devices.

return module:require "mod_stanzagate/weight";
