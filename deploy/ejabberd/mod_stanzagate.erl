%%% Stanzagate for ejabberd: holds every connection request to a device of this host until the policy has spoken.
%%%
%%% Every account of a guarded host is a device. Whatever somebody sends to one passes through the hook
%%% sm_receive_packet, in the sender's own process:
%%%
%%%     a stanza → payload: does it carry a connection request, and is it one that a device may see?
%%%              → cache: is there a decision about this requester and this device?   yes: it passes or is refused
%%%              → waiting: no: it stands in the queue of its pair
%%%
%%% and the process of the guard, one for each host, does the rest:
%%%
%%%     what waits → checks: the component is asked, once for each pair → cache → what waits passes or is refused
%%%
%%% So a decision that is cached costs a few table look-ups and no message. Order is kept by one rule: while anything of
%%% a pair waits, everything of that pair does. A decision is never older than the policy that the component has named:
%%% decisions and flushes carry an epoch, and what is behind the highest one seen is asked again. And it fails closed:
%%% hooks stay in place while the process is restarted, and a failure in either of them ends in a refusal.
%%%
%%% The parts: mod_stanzagate_filter (the sender's side), _server (the guard's process), _decisions (what that does
%%% about decisions), _payload (what a request looks like), _cache, _waiting, _checks (the tables), _turns (who is next),
%%% _release (out of the queues), _policy (the wire), _sessions (who is connected), _control (what may be asked of the
%%% guard), _journal (the log), _guard (what all of them know). Clusters are not supported: a flush would reach only the
%%% node that the component is attached to.
-module(mod_stanzagate).
-behaviour(gen_mod).

-export([depends/2, mod_doc/0, mod_opt_type/1, mod_options/1, reload/3, start/2, stop/1]).
-export([component_connected/1]).

-define(FIRST, -1000).    % before the archive and whatever else looks at a stanza

%% @doc Guard a host. The hooks come first: until there is a guard behind them, they refuse.
-spec start(binary(), gen_mod:opts()) -> {ok, pid()} | {error, term()}.
start(Host, _) ->
    ejabberd_hooks:add(component_connected, ?MODULE, component_connected, 50),
    each_hook(fun(Hook, Module, Function, Place) -> ejabberd_hooks:add(Hook, Host, Module, Function, Place) end),
    gen_iq_handler:add_iq_handler(ejabberd_local, Host, mod_stanzagate_policy:namespace(), mod_stanzagate_control,
                                  process_iq),
    mod_stanzagate_control:register_commands(),
    mod_stanzagate_server:start(Host).

%% @doc Guard it no more. What serves all guarded hosts goes with the last of them.
-spec stop(binary()) -> ok.
stop(Host) ->
    each_hook(fun(Hook, Module, Function, Place) -> ejabberd_hooks:delete(Hook, Host, Module, Function, Place) end),
    gen_iq_handler:remove_iq_handler(ejabberd_local, Host, mod_stanzagate_policy:namespace()),
    case gen_mod:is_loaded_elsewhere(Host, ?MODULE) of
        true -> ok;
        false -> ejabberd_hooks:delete(component_connected, ?MODULE, component_connected, 50)
    end,
    mod_stanzagate_control:unregister_commands(Host, ?MODULE),
    mod_stanzagate_server:stop(Host),
    mod_stanzagate_guard:forget(Host).

-spec reload(binary(), gen_mod:opts(), gen_mod:opts()) -> ok.
reload(Host, Options, _) ->
    ok = mod_stanzagate_server:reload(Host, Options).

each_hook(Act) ->
    Act(sm_receive_packet, mod_stanzagate_filter, filter, ?FIRST),
    Act(c2s_auth_result, mod_stanzagate_sessions, authenticated, 50),
    Act(c2s_session_opened, mod_stanzagate_sessions, opened, 50),
    Act(c2s_session_resumed, mod_stanzagate_sessions, opened, 50),
    Act(c2s_handle_info, mod_stanzagate_sessions, described, 10).

%% @doc A component has attached: the global hook, in the process of its stream.
-spec component_connected(binary()) -> ok.
component_connected(Domain) ->
    [mod_stanzagate_server:attached(Host, self())
     || Host <- ejabberd_option:hosts(), gen_mod:is_loaded(Host, ?MODULE),
        gen_mod:get_module_opt(Host, ?MODULE, component) =:= Domain],
    ok.

-spec depends(binary(), gen_mod:opts()) -> [].
depends(_, _) ->
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
mod_options(_) ->
    [component, {mode, enforce}, {guard, 'connection-requests'}, {cache_size, 100000}].

-spec mod_doc() -> map().
mod_doc() ->
    #{desc => <<"Delivers a connection request (TR-069 Annex K) to a device of this host only when the policy of "
                "Stanzagate allows it. Every account of the host is a device.">>,
      opts => [{component, #{value => "domain",
                             desc => <<"The attached component that is asked for decisions, and the only one that is "
                                       "believed. There is no default.">>}},
               {mode, #{value => "enforce | log-only",
                        desc => <<"'log-only' decides and logs what would be refused, but lets everything through. "
                                  "The default is 'enforce'.">>}},
               {guard, #{value => "connection-requests | everything",
                         desc => <<"With 'everything', only allowed requesters, the device's own account and the "
                                   "server itself may send anything at all to a device. The default is "
                                   "'connection-requests'.">>}},
               {cache_size, #{value => "number",
                              desc => <<"How many decisions are kept. The default is 100000.">>}}],
      example => ["modules:", "  mod_stanzagate:", "    component: gate.example.org"]}.
