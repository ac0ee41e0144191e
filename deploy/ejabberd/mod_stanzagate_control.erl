%%% What the component and the administrator may ask of the guard: status, sessions, flush, bypass.
-module(mod_stanzagate_control).

-export([bypass/2, decode_iq_subel/1, process_iq/1, register_commands/0, status/1, status_element/2, text/1,
         unregister_commands/2]).

-include("xmpp.hrl").
-include("ejabberd_commands.hrl").

-define(LONGEST_BYPASS, 1440).    % minutes

%% @doc Leave the payload as it is: no codec knows our namespace.
-spec decode_iq_subel(xmlel()) -> xmlel().
decode_iq_subel(Element) ->
    Element.

%% @doc Answer a request of our namespace to the guarded host. Only the component is believed.
-spec process_iq(iq()) -> iq() | ignore.
process_iq(#iq{from = From, to = #jid{lserver = Host}, type = Type, sub_els = [Element]} = IQ) ->
    Guard = mod_stanzagate_guard:find(Host),
    case believed(Guard, From) of
        true -> asked(Guard, Type, Element, IQ);
        false ->
            mod_stanzagate_guard:count(Guard, discarded),
            mod_stanzagate_journal:note(Guard, warning, disbelieved,
                                        "~ts asks what only the component may ask: refused", [From]),
            refused(IQ, xmpp:err_forbidden())
    end.

believed(#{component := Component, streams := Streams}, #jid{luser = <<>>, lserver = Component, lresource = <<>>}) ->
    lists:member(self(), Streams);
believed(_, _) ->
    false.

asked(#{host := Host} = Guard, get, #xmlel{name = <<"status">>}, IQ) ->
    xmpp:make_iq_result(IQ, status_element(Guard, mod_stanzagate_server:status(Host)));
asked(Guard, get, #xmlel{name = <<"sessions">>}, IQ) ->
    mod_stanzagate_server:sessions(Guard, IQ),
    ignore;
asked(#{host := Host} = Guard, set, #xmlel{name = <<"flush">>} = Element, IQ) ->
    case mod_stanzagate_policy:flush(Host, Element) of
        {ok, What} ->
            ok = mod_stanzagate_server:flush(Guard, What),
            xmpp:make_iq_result(IQ);
        malformed ->
            mod_stanzagate_guard:count(Guard, discarded),
            mod_stanzagate_journal:note(Guard, warning, disbelieved, "A malformed flush was refused", []),
            refused(IQ, xmpp:err_bad_request())
    end;
asked(_, _, _, IQ) ->
    refused(IQ, xmpp:err_bad_request()).

refused(IQ, Error) ->
    xmpp:make_error(IQ#iq{sub_els = []}, Error).

%% @doc <status/>: what the guard does and has counted, with the figures that only its process knows.
-spec status_element(mod_stanzagate_guard:guard(), mod_stanzagate_server:figures()) -> xmlel().
status_element(Guard, Figures) ->
    #xmlel{name = <<"status">>,
           attrs = [{<<"xmlns">>, mod_stanzagate_policy:namespace()}, {<<"version">>, <<"1">>}
                    | [{atom_to_binary(Name), text(Value)}
                       || {Name, Value} <- words(Guard) ++ numbers(Guard, Figures)]],
           children = [#xmlel{name = <<"refused">>,
                              attrs = [{<<"reason">>, atom_to_binary(Reason)}, {<<"count">>, text(Count)}]}
                       || {Reason, Count} <- refusals(Guard)]}.

words(#{watch := Watch} = Guard) ->
    [{mode, mod_stanzagate_guard:mode(Guard)}, {guard, Watch}].

numbers(#{cache := Cache, waiting := Waiting} = Guard, #{epoch := Epoch, checks := Checks, sessions := Sessions,
                                                         seq := Sequence}) ->
    [{epoch, Epoch}, {cached, mod_stanzagate_cache:count(Cache)}, {checks, Checks},
     {held, mod_stanzagate_waiting:count(Waiting)}, {sessions, Sessions}, {seq, Sequence}
     | [{Name, mod_stanzagate_guard:counted(Guard, Name)}
        || Name <- [hits, asked, allowed, denied, passed, bypassed, evicted, discarded]]].

refusals(Guard) ->
    [{Reason, mod_stanzagate_guard:counted(Guard, Reason)} || Reason <- mod_stanzagate_guard:reasons()].

%% @doc A figure as it is written.
-spec text(binary() | atom() | integer()) -> binary().
text(true) -> <<"yes">>;
text(false) -> <<"no">>;
text(Value) when is_binary(Value) -> Value;
text(Value) when is_atom(Value) -> atom_to_binary(Value);
text(Value) when is_integer(Value) -> integer_to_binary(Value).

%%% ejabberdctl

%% @doc Make the administrator's commands known; they serve hosts of devices and grid hosts.
-spec register_commands() -> ok.
register_commands() ->
    ejabberd_commands:register_commands(commands()).

%% @doc A host is not guarded by a module any more: the commands go with the last one.
-spec unregister_commands(binary(), module()) -> ok.
unregister_commands(Host, Module) ->
    Others = [{At, Of} || At <- ejabberd_option:hosts(), Of <- [mod_stanzagate, mod_stanzagate_grid],
                          {At, Of} =/= {Host, Module}, gen_mod:is_loaded(At, Of)],
    case Others of
        [] -> ejabberd_commands:unregister_commands(commands());
        _ -> ok
    end.

commands() ->
    [#ejabberd_commands{name = stanzagate_status, tags = [stanzagate],
                        desc = "Show what the Stanzagate guard of a host does and has counted",
                        module = ?MODULE, function = status,
                        args = [{host, binary}], args_desc = ["Guarded host"], args_example = [<<"cpe.example">>],
                        result = {figures, {list, {figure, {tuple, [{name, string}, {value, string}]}}}},
                        result_desc = "Figures of the moment, then counts since the module started"},
     #ejabberd_commands{name = stanzagate_bypass, tags = [stanzagate],
                        desc = "Let everything through, in an emergency",
                        longdesc = "For so many minutes (1 to 1440), or until the server restarts, everybody may wake "
                                   "every device of the host, or, on a grid host, every account may do everything; "
                                   "0 ends it. It is logged while it lasts.",
                        module = ?MODULE, function = bypass,
                        args = [{host, binary}, {minutes, binary}],    % ejabberd would take 1.5 for 1
                        args_desc = ["Guarded host", "Minutes, or 0 to end it"],
                        args_example = [<<"cpe.example">>, <<"10">>],
                        result = {res, restuple}}].

%% @doc The figures of a host, to be read.
-spec status(binary()) -> [{string(), binary()}] | {error, string()}.
status(Host) ->
    on(Host, fun shown/1, fun mod_stanzagate_grid_control:shown/1).

shown(Host) ->
    #{bypass_left := Left} = Figures = mod_stanzagate_server:status(Host),
    #{component := Component, cache_size := Size} = Guard = mod_stanzagate_guard:find(Host),
    Shown = words(Guard)
        ++ [{bypass_left, Left}, {component, Component},
            {attached, mod_stanzagate_guard:attached(Guard)}, {cache_size, Size}]
        ++ numbers(Guard, Figures),
    [{atom_to_list(Name), text(Value)} || {Name, Value} <- Shown]
        ++ [{"refused " ++ atom_to_list(Reason), text(Count)} || {Reason, Count} <- refusals(Guard)].

%% @doc Begin, prolong or end the bypass of a host.
-spec bypass(binary(), binary()) -> {ok | error, string()}.
bypass(Host, Text) ->
    case string:to_integer(Text) of
        {Minutes, <<>>} when Minutes >= 0, Minutes =< ?LONGEST_BYPASS -> bypass_for(Minutes, Host);
        _ -> {error, "minutes are a whole number from 0 to 1440"}
    end.

bypass_for(Minutes, Host) ->
    Done = case Minutes of
               0 -> "The policy is enforced.";
               _ -> "Everything passes for " ++ integer_to_list(Minutes) ++ " minutes."
           end,
    on(Host, fun(Prepared) -> ok = mod_stanzagate_server:bypass(Prepared, Minutes), {ok, Done} end,
       fun(Prepared) -> ok = mod_stanzagate_grid_server:bypass(Prepared, Minutes), {ok, Done} end).

on(Host, OfDevices, OfGrid) ->
    Prepared = jid:nameprep(Host),
    case [Act || {Module, Act} <- [{mod_stanzagate, OfDevices}, {mod_stanzagate_grid, OfGrid}],
                 is_binary(Prepared), gen_mod:is_loaded(Prepared, Module)] of
        [Act | _] -> answered(Act, Prepared);
        [] -> {error, "mod_stanzagate does not guard that host"}
    end.

answered(Act, Host) ->
    try
        Act(Host)
    catch
        exit:_ -> {error, "the guard's process does not answer: only what is cached is decided; see ejabberd's log"}
    end.
