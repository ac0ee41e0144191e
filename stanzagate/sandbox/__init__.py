"""The sandbox: a real server, the gate and its accounts on loopback, in one folder, gone without a trace.

`up.run` is the order of things; everything else is one of its steps. The server is started first, then accounts are
made on it, then ``stanzagate serve``, then the policy of the contract, then (when asked) the devices; the file
``sandbox.json`` is written last. All of it hangs on one supervisor, which stops everything when any part ends.
"""
