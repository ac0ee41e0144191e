%%% Stanzagate for ejabberd, on the host of an XMPP-Grid: a node reaches nobody but the controller and the broker until
%%% the controller has said that it is active, and the controller answers for the broker.
%%%
%%% Every account of a grid host is a node. mod_pubsub belongs to the same host, and its own host is the broker. Stanzas
%%% pass through hooks in their senders' processes (mod_stanzagate_grid_filter):
%%%
%%%     from a node → is it active, and logged in?          no: controller, broker, its own account and the host alone
%%%     to a node → is it active?                           no: nothing but what those four send
%%%     from the broker → has the node lost the topic?      yes: dropped, whenever it was stored
%%%     to the broker → is it a plain publish?              yes: it goes to mod_pubsub
%%%                                                         no: the controller is asked, and its answer is sent
%%%
%%% All that needs no message to another process: what the controller has said lies in a table that the database keeps in
%%% memory and on the disk (_facts), so it holds while the controller is away. The process of the guard, one for each
%%% host, writes that table, knows who is connected, and ends sessions. Hooks stay in place while it is restarted, and
%%% a failure in either of them ends in a refusal.
%%%
%%% The parts: mod_stanzagate_grid_filter (who may send what), _front (of the broker), _clients (authentication and
%%% sessions), _server (the guard's process), _facts, _quiet, _questions (the tables), _orders (what the controller may
%%% say), _control (what may be asked of the guard), _guard (what all of them know), _passwords (who cannot log in any
%%% more), _stored (what nodes that are away will get is on the disk), _late (what is stored for one that comes back
%%% in that moment), _leaving (what is done when ejabberd is stopped). The sessions, the journal and the administrator's
%%% commands are those of mod_stanzagate, which guards devices; a host has one of the two modules.
-module(mod_stanzagate_grid).
-behaviour(gen_mod).

-export([depends/2, mod_doc/0, mod_opt_type/1, mod_options/1, reload/3, start/2, stop/1]).
-export([component_connected/1, component_sends/1]).

-define(FIRST, -1000).    % before the archive, the roster and whatever else looks at a stanza
-define(GLOBAL, [{ejabberd_stopping, mod_stanzagate_grid_leaving, leave, ?FIRST},
                 {component_connected, ?MODULE, component_connected, 50},
                 {component_send_packet, ?MODULE, component_sends, ?FIRST},
                 {filter_packet, mod_stanzagate_grid_filter, route, ?FIRST}]).

-include("xmpp.hrl").
-include("logger.hrl").

%% @doc Guard a host. The hooks come first: until there is a guard behind them, they refuse.
-spec start(binary(), gen_mod:opts()) -> {ok, pid()} | {error, term()}.
start(Host, Options) ->
    mod_stanzagate_grid_facts:init(),
    mod_stanzagate_grid_guard:settle((mod_stanzagate_grid_guard:settings(Options))#{host => Host}),
    mod_stanzagate_grid_leaving:stay(),
    [ejabberd_hooks:add(Hook, Module, Function, Place) || {Hook, Module, Function, Place} <- ?GLOBAL],
    each_hook(fun(Hook, Module, Function, Place) -> ejabberd_hooks:add(Hook, Host, Module, Function, Place) end),
    gen_iq_handler:add_iq_handler(ejabberd_local, Host, mod_stanzagate_policy:namespace(), mod_stanzagate_grid_control,
                                  process_iq),
    mod_stanzagate_control:register_commands(),
    mod_stanzagate_grid_passwords:warn(Host),
    _ = mod_stanzagate_grid_stored:start(Host),
    mod_stanzagate_grid_server:start(Host).

%% @doc Guard it no more. What serves all grid hosts goes with the last of them. What the controller has said is kept.
-spec stop(binary()) -> ok.
stop(Host) ->
    _ = mod_stanzagate_grid_server:stop(Host),
    _ = mod_stanzagate_grid_stored:stop(Host),
    each_hook(fun(Hook, Module, Function, Place) -> ejabberd_hooks:delete(Hook, Host, Module, Function, Place) end),
    gen_iq_handler:remove_iq_handler(ejabberd_local, Host, mod_stanzagate_policy:namespace()),
    case gen_mod:is_loaded_elsewhere(Host, ?MODULE) of
        true -> ok;
        false -> [ejabberd_hooks:delete(Hook, Module, Function, Place) || {Hook, Module, Function, Place} <- ?GLOBAL]
    end,
    mod_stanzagate_control:unregister_commands(Host, ?MODULE),
    mod_stanzagate_grid_guard:forget(Host).

-spec reload(binary(), gen_mod:opts(), gen_mod:opts()) -> ok.
reload(Host, Options, _) ->
    ok = mod_stanzagate_grid_server:reload(Host, Options).

each_hook(Act) ->
    Act(user_send_packet, mod_stanzagate_grid_filter, send, ?FIRST),
    Act(sm_receive_packet, mod_stanzagate_grid_filter, receive_packet, ?FIRST),
    Act(c2s_filter_send, mod_stanzagate_grid_filter, deliver, ?FIRST),
    Act(c2s_auth_result, mod_stanzagate_grid_clients, authenticated, ?FIRST),
    Act(c2s_session_opened, mod_stanzagate_grid_clients, opened, 50),
    Act(c2s_session_resumed, mod_stanzagate_grid_clients, resumed, 50),
    Act(c2s_handle_info, mod_stanzagate_grid_clients, described, 10),
    Act(c2s_handle_info, mod_stanzagate_grid_leaving, asked, 10),
    Act(offline_message_hook, mod_stanzagate_grid_stored, stored, 60),    % behind mod_offline
    Act(remove_user, mod_stanzagate_grid_clients, removed, 50).

%% @doc A component has attached: the global hook, in the process of its stream.
-spec component_connected(binary()) -> ok.
component_connected(Domain) ->
    [mod_stanzagate_grid_server:attached(Host, self())
     || Host <- ejabberd_option:hosts(), gen_mod:is_loaded(Host, ?MODULE),
        gen_mod:get_module_opt(Host, ?MODULE, component) =:= Domain],
    ok.

%% @doc A component sends: the global hook. On a listener of several domains ejabberd lets each of them send as any other
%% one; nobody sends as the controller or the broker of a grid.
-spec component_sends({stanza() | drop, map()}) -> {stanza() | drop, map()} | {stop, {drop, map()}}.
component_sends({Packet, #{remote_server := Domain} = State} = Acc) when Packet =/= drop ->
    case xmpp:get_from(Packet) of
        #jid{lserver = Domain} -> Acc;
        #jid{lserver = Other} ->
            case mod_stanzagate_grid_guard:place(Other) of
                elsewhere -> Acc;
                _ ->
                    ?WARNING_MSG("The component ~ts sends as ~ts: dropped", [Domain, Other]),
                    {stop, {drop, State}}
            end
    end;
component_sends(Acc) ->
    Acc.

-spec depends(binary(), gen_mod:opts()) -> [{module(), soft}].
depends(_, _) ->
    [].

-spec mod_opt_type(atom()) -> econf:validator().
mod_opt_type(component) ->
    econf:domain();
mod_opt_type(broker) ->
    econf:domain();
mod_opt_type(mode) ->
    econf:enum([enforce, 'log-only']).

-spec mod_options(binary()) -> [{atom(), term()} | atom()].
mod_options(_) ->
    [component, broker, {mode, enforce}].

-spec mod_doc() -> map().
mod_doc() ->
    #{desc => <<"Keeps the nodes of an XMPP-Grid on this host to what the controller of Stanzagate allows them, and has "
                "the controller answer for the pubsub service. Every account of the host is a node.">>,
      opts => [{component, #{value => "domain",
                             desc => <<"The controller: the attached component that is asked, and the only one that is "
                                       "believed. There is no default.">>}},
               {broker, #{value => "domain",
                          desc => <<"The host of the pubsub service. There is no default.">>}},
               {mode, #{value => "enforce | log-only",
                        desc => <<"'log-only' logs what would be refused, but lets everything through. The default is "
                                  "'enforce'.">>}}],
      example => ["modules:", "  mod_stanzagate_grid:", "    component: controller.grid.example.org",
                  "    broker: pubsub.grid.example.org"]}.
