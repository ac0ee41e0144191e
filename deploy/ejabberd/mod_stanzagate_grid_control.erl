%%% What the controller and the administrator may ask of the guard on a grid host.
-module(mod_stanzagate_grid_control).

-export([decode_iq_subel/1, process_iq/1, shown/1, status_element/2]).

-include("xmpp.hrl").

-type guard() :: mod_stanzagate_grid_guard:guard().

%% @doc Leave the payload as it is: no codec knows our namespace.
-spec decode_iq_subel(xmlel()) -> xmlel().
decode_iq_subel(Element) ->
    Element.

%% @doc Answer a request of our namespace to the grid host. Only the controller is believed, and it is answered by the
%% stream that it asks by: the router might choose an older one, which may be half open.
-spec process_iq(iq()) -> iq() | ignore.
process_iq(#iq{from = From, to = #jid{lserver = Host}, type = Type, sub_els = [Element]} = IQ) ->    % it has one always
    Guard = mod_stanzagate_grid_guard:find(Host),
    case {From, mod_stanzagate_grid_guard:component(Guard, From)} of
        {#jid{luser = <<>>, lresource = <<>>}, true} ->
            case asked(Guard, Type, Element, IQ) of
                ignore -> ignore;
                Answer ->
                    self() ! {route, Answer},
                    ignore
            end;
        _ ->
            refused(Guard, "~ts asks what only the controller may ask: refused", [From], IQ, xmpp:err_forbidden())
    end.

asked(#{host := Host} = Guard, get, #xmlel{name = <<"status">>}, IQ) ->
    xmpp:make_iq_result(IQ, status_element(Guard, mod_stanzagate_grid_server:status(Host)));
asked(Guard, get, #xmlel{name = <<"sessions">>}, IQ) ->
    mod_stanzagate_grid_server:sessions(Guard, self(), IQ),
    ignore;
asked(Guard, set, Element, IQ) ->
    case mod_stanzagate_grid_orders:read(Element) of
        {ok, flush} -> xmpp:make_iq_result(IQ);    % nothing is kept that could be out of date
        {ok, Order} ->
            case mod_stanzagate_grid_server:obey(Guard, Order) of
                ok -> xmpp:make_iq_result(IQ);
                gap -> xmpp:make_error(IQ#iq{sub_els = []}, (xmpp:err_unexpected_request())#stanza_error{type = cancel})
            end;
        malformed -> malformed(Guard, IQ)
    end;
asked(Guard, _, _, IQ) ->
    malformed(Guard, IQ).

malformed(Guard, IQ) ->
    refused(Guard, "A malformed order was refused", [], IQ, xmpp:err_bad_request()).

refused(Guard, Format, Arguments, IQ, Error) ->
    mod_stanzagate_grid_guard:count(Guard, discarded),
    mod_stanzagate_journal:note(Guard, warning, disbelieved, Format, Arguments),
    Reply = xmpp:make_error(IQ#iq{sub_els = []}, Error),
    xmpp:put_meta(Reply, stanzagate_grid, refusal).

%% @doc <status/>: what the guard does and has counted, with the figures that only its process knows.
-spec status_element(guard(), mod_stanzagate_grid_server:figures()) -> xmlel().
status_element(Guard, Figures) ->
    #xmlel{name = <<"status">>,
           attrs = [{<<"xmlns">>, mod_stanzagate_policy:namespace()}, {<<"version">>, <<"1">>}
                    | [{atom_to_binary(Name), mod_stanzagate_control:text(Value)}
                       || {Name, Value} <- words(Guard) ++ numbers(Guard, Figures)]],
           children = [#xmlel{name = <<"refused">>,
                              attrs = [{<<"reason">>, atom_to_binary(Reason)},
                                       {<<"count">>, mod_stanzagate_control:text(Count)}]}
                       || {Reason, Count} <- refusals(Guard)]}.

words(Guard) ->
    [{mode, mod_stanzagate_grid_guard:mode(Guard)}, {guard, everything}].

numbers(#{host := Host, questions := Questions} = Guard, #{sessions := Sessions, seq := Sequence}) ->
    [{epoch, mod_stanzagate_grid_facts:epoch(Host)}, {sessions, Sessions}, {seq, Sequence},
     {held, mod_stanzagate_grid_questions:count(Questions)}
     | [{Name, mod_stanzagate_guard:counted(Guard, Name)} || Name <- [passed, delegated, bypassed, discarded]]].

refusals(Guard) ->
    [{Reason, mod_stanzagate_guard:counted(Guard, Reason)}
     || Reason <- [forbidden, quiet, answer, lost, revoked, 'not-attached', overload, crashed, heavy]].

%% @doc The figures of a host, to be read by the administrator.
-spec shown(binary()) -> [{string(), binary()}].
shown(Host) ->
    #{bypass_left := Left} = Figures = mod_stanzagate_grid_server:status(Host),
    #{component := Component, broker := Broker} = Guard = mod_stanzagate_grid_guard:find(Host),
    {Active, Known} = mod_stanzagate_grid_facts:accounts(Host),
    Shown = words(Guard)
        ++ [{bypass_left, Left}, {component, Component}, {broker, Broker},
            {attached, mod_stanzagate_grid_guard:attached(Guard)}, {active, Active}, {known, Known}]
        ++ numbers(Guard, Figures),
    [{atom_to_list(Name), mod_stanzagate_control:text(Value)} || {Name, Value} <- Shown]
        ++ [{"refused " ++ atom_to_list(Reason), mod_stanzagate_control:text(Count)}
            || {Reason, Count} <- refusals(Guard)].
