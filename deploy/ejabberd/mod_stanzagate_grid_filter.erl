%%% Who may send what to whom on a grid host: every stanza from an account of it, to one, and to its broker.
%%%
%%%     user_send_packet     what a client sends, before anything else sees it (roster, archive)
%%%     filter_packet        what is routed, whoever has sent it: also what the server says in the name of an account;
%%%                          here stands the front of the broker (mod_stanzagate_grid_front)
%%%     sm_receive_packet    what is for an account, before it is stored for later or bounced
%%%     c2s_filter_send      what goes down the wire, the last one: nothing passes by, not even what was stored, or had
%%%                          been sent already and comes once more because a stream is resumed
%%%
%%% ejabberd goes on with a packet when a hook crashes, so whatever goes wrong in here ends in a refusal, and only for
%%% the domains of the grid.
-module(mod_stanzagate_grid_filter).

-export([deliver/1, receive_packet/1, refuse/3, route/1, send/1]).
-export_type([reason/0]).

-include("xmpp.hrl").

-type guard() :: mod_stanzagate_grid_guard:guard().
-type reason() :: forbidden | quiet | 'not-attached' | overload | crashed | absent | lost | revoked | heavy.

-define(IS_STANZA(Packet), (is_record(Packet, iq) orelse is_record(Packet, message) orelse is_record(Packet, presence))).

%%% The hooks

%% @doc What a client of the host sends: the hook user_send_packet.
-spec send({stanza() | drop, ejabberd_c2s:state()}) -> {stanza() | drop, ejabberd_c2s:state()} | {stop, tuple()}.
send({Packet, #{lserver := Host} = State} = Acc) when ?IS_STANZA(Packet) ->
    Look = fun() ->
                   Guard = mod_stanzagate_grid_guard:find(Host),
                   case registers(Host, Packet) of
                       true -> refused(Guard, forbidden, Packet);
                       false ->
                           case weighed(Guard, Packet) of
                               drop -> drop;
                               _ -> outgoing(Guard, Packet)
                           end
                   end
           end,
    case guarded(Look, Packet) of
        Packet -> Acc;
        _ -> {stop, {drop, State}}
    end;
send(Acc) ->
    Acc.

%% @doc What is routed to anybody on any host: the hook filter_packet.
-spec route(stanza() | drop) -> stanza() | drop | {stop, drop}.
route(Packet) when ?IS_STANZA(Packet) ->
    {From, To} = {place(xmpp:get_from(Packet)), place(xmpp:get_to(Packet))},
    case {From, To} of
        {elsewhere, elsewhere} -> Packet;
        _ -> stopped(guarded(fun() -> routed(From, To, Packet) end, Packet))
    end;
route(drop) ->
    drop.

%% @doc What is for an account of the host: the hook sm_receive_packet.
-spec receive_packet(stanza() | drop) -> stanza() | drop | {stop, drop}.
receive_packet(Packet) when ?IS_STANZA(Packet) ->
    stopped(guarded(fun() ->
                            #jid{lserver = Host} = To = xmpp:get_to(Packet),
                            incoming(mod_stanzagate_grid_guard:find(Host), To, Packet)
                    end, Packet));
receive_packet(drop) ->
    drop.

%% @doc What is about to be written to a client of the host: the hook c2s_filter_send.
-spec deliver({xmpp_element() | xmlel(), ejabberd_c2s:state()} | {drop, ejabberd_c2s:state()}) -> tuple().
deliver({Packet, #{lserver := Host, jid := Jid} = State} = Acc) when ?IS_STANZA(Packet) ->
    try last_look(mod_stanzagate_grid_guard:find(Host), Jid, Packet) of
        pass -> Acc;
        drop -> {stop, instead(Packet, State)}
    catch
        Class:Reason:Stack ->
            note_failure(Host, {Class, Reason, Stack}),
            {stop, {drop, State}}
    end;
deliver(Acc) ->
    Acc.

%% A stanza of a stream that is resumed has a number, so it is replaced by an empty one.
instead(Packet, #{lserver := Host, jid := Jid} = State) ->
    case xmpp:get_meta(Packet) of
        #{mgmt_is_resent := true} = Meta ->
            {#message{type = headline, from = jid:make(Host), to = Jid, meta = Meta}, State};
        _ ->
            {drop, State}
    end.

stopped(drop) -> {stop, drop};
stopped(Packet) -> Packet.

place(#jid{lserver = Domain}) -> mod_stanzagate_grid_guard:place(Domain);
place(_) -> elsewhere.

%%% What passes

%% Our own refusals and answers have a mark, which cannot come from outside.
guarded(Look, Packet) ->
    case xmpp:get_meta(Packet) of
        #{stanzagate_grid := _} -> Packet;
        _ ->
            try
                Look()
            catch
                Class:Reason:Stack -> failed(Packet, {Class, Reason, Stack})
            end
    end.

routed({host, Host}, To, Packet) ->
    case departing(mod_stanzagate_grid_guard:find(Host), Packet) of
        drop -> drop;
        Passed -> arriving(To, Passed)
    end;
routed({broker, Host}, To, #message{} = Packet) ->
    Guard = mod_stanzagate_grid_guard:find(Host),
    case is_lost(Guard, xmpp:get_to(Packet), Packet) andalso dropped(Guard, lost, Packet) of
        true -> drop;
        false -> arriving(To, Packet)
    end;
routed({broker, Host}, To, #iq{} = Packet) ->
    case mod_stanzagate_grid_front:answering(mod_stanzagate_grid_guard:find(Host), Packet) of
        drop -> drop;
        Answer -> arriving(To, Answer)
    end;
routed(_, To, Packet) ->
    arriving(To, Packet).

arriving({broker, Host}, Packet) ->
    Guard = mod_stanzagate_grid_guard:find(Host),
    case place(xmpp:get_from(Packet)) =/= {component, Host} andalso weighed(Guard, Packet) of
        drop -> drop;
        _ -> mod_stanzagate_grid_front:arriving(Guard, Packet)
    end;
arriving({component, Host}, Packet) ->
    weighed(mod_stanzagate_grid_guard:find(Host), Packet);
arriving(_, Packet) ->
    Packet.

%% Whether a client wants to change or remove its account (XEP-0077). Accounts of nodes are the controller's affair:
%% whoever has stolen a certificate could set a password, and come back with that when the certificate is revoked.
registers(Host, #iq{to = To, sub_els = Elements}) when To =:= undefined; To#jid.lserver =:= Host ->
    lists:any(fun(#xmlel{} = Element) -> fxml:get_tag_attr_s(<<"xmlns">>, Element) =:= ?NS_REGISTER;
                 (_) -> false
              end, Elements);
registers(_, _) ->
    false.

weighed(Guard, Packet) ->
    case mod_stanzagate_grid_weight:is_heavy(Packet) of
        true -> refused(Guard, heavy, Packet);
        false -> Packet
    end.

%% That an account has gone its contacts may know, but no more: the client itself has been refused before.
departing(Guard, #presence{type = unavailable, from = From, to = To, meta = Meta} = Packet) ->
    case mod_stanzagate_grid_guard:mode(Guard) =/= enforce orelse may_send(Guard, Packet) of
        true -> Packet;
        {false, _} -> #presence{type = unavailable, from = From, to = To, meta = Meta}
    end;
departing(Guard, Packet) ->
    outgoing(Guard, Packet).

outgoing(Guard, Packet) ->
    case may_send(Guard, Packet) of
        true -> Packet;
        {false, Reason} -> refused(Guard, Reason, Packet)
    end.

incoming(Guard, To, Packet) ->
    case may_receive(Guard, To, Packet) of
        true -> Packet;
        false -> refused(Guard, absent, Packet)
    end.

last_look(Guard, Jid, Packet) ->
    case xmpp:get_meta(Packet) of
        #{stanzagate_grid := _} -> pass;
        _ ->
            Reason = case may_receive(Guard, Jid, Packet) andalso may_read(Guard, Jid, Packet) of
                         false -> absent;
                         true -> is_lost(Guard, Jid, Packet) andalso lost
                     end,
            case Reason =/= false andalso dropped(Guard, Reason, Packet) of
                true -> drop;
                false -> pass
            end
    end.

%% Whether an account may send a stanza, or why not.
may_send(#{host := Host} = Guard, Packet) ->
    case xmpp:get_from(Packet) of
        #jid{luser = <<>>} -> true;    % the host itself
        #jid{luser = User} = From ->
            case {standing(Host, User), is_quiet(Guard, From)} of
                {active, false} -> true;
                {active, true} -> reaches(Guard, User, Packet, quiet);
                {unknown, _} -> reaches(Guard, User, Packet, forbidden);
                {stranger, _} -> reaches(Guard, nobody, Packet, forbidden)
            end
    end.

%% How an account stands, as this process speaks for it. Strangers have come by a certificate that the name is not bound
%% to: they have not even the account.
standing(Host, User) ->
    case mod_stanzagate_grid_facts:active(Host, User) of
        true ->
            case is_stranger(Host, User) of
                true -> stranger;
                false -> active
            end;
        false -> unknown
    end.

is_stranger(Host, User) ->
    mod_stanzagate_grid_facts:stranger(Host, User, mod_stanzagate_grid_clients:certificate(User)).

is_quiet(_, #jid{lresource = <<>>}) -> false;
is_quiet(#{quiet := Quiet}, From) -> mod_stanzagate_grid_quiet:is_quiet(Quiet, From).

reaches(#{host := Host, component := Component, broker := Broker}, Own, Packet, Reason) ->
    Reached = case xmpp:get_to(Packet) of
                  undefined -> Own =/= nobody;
                  #jid{lserver = Component} -> true;
                  #jid{lserver = Broker} -> not mod_stanzagate_grid_front:is_publish(Packet);
                  #jid{luser = <<>>, lserver = Host} -> true;
                  #jid{luser = Own, lserver = Host} -> not mod_stanzagate_grid_front:publishes(Packet);
                  _ -> false
              end,
    Reached orelse {false, Reason}.

may_receive(#{host := Host, component := Component, broker := Broker}, #jid{luser = User}, Packet) ->
    case xmpp:get_from(Packet) of
        undefined -> true;
        #jid{lserver = Component} -> true;
        #jid{lserver = Broker} -> true;
        #jid{luser = <<>>, lserver = Host} -> true;
        #jid{luser = User, lserver = Host} -> true;
        _ -> mod_stanzagate_grid_facts:active(Host, User)
    end.

%% Whether this process's own client may get what is for its account.
may_read(#{host := Host, component := Component, broker := Broker}, #jid{luser = User}, Packet) ->
    case {xmpp:get_from(Packet), Packet} of
        {undefined, _} -> true;
        {#jid{lserver = Component}, _} -> true;
        {#jid{lserver = Broker}, #iq{}} -> true;
        {#jid{luser = <<>>, lserver = Host}, _} -> true;
        _ -> not is_stranger(Host, User)
    end.

%%% Events of topics that a node has lost

is_lost(#{host := Host, broker := Broker}, #jid{luser = User, lserver = Server},
        #message{from = #jid{lserver = Broker}} = Message) ->
    Bare = {User, Server},
    mod_stanzagate_grid_facts:any_lost(Host, Bare)
        andalso lists:any(fun(Node) -> mod_stanzagate_grid_facts:lost(Host, Bare, Node, moment(Message)) end,
                          mod_stanzagate_grid_front:topics(Message));
is_lost(_, _, _) ->
    false.

%% When it happened, in microseconds: what was stored has a stamp.
moment(Message) ->
    lists:min([erlang:system_time(microsecond)
               | [(Mega * 1000000 + Seconds) * 1000000 + Micro
                  || {Mega, Seconds, Micro} <- stamps(xmpp:get_els(Message))]]).

stamps(Elements) ->
    lists:flatmap(fun(#delay{stamp = Stamp}) -> [Stamp];
                     (#xmlel{name = <<"delay">>} = Element) ->
                          try xmpp:decode(Element) of
                              #delay{stamp = Stamp} -> [Stamp];
                              _ -> []
                          catch
                              _:_ -> []
                          end;
                     (_) -> []
                  end, Elements).

%%% Refusing

%% Refuse a stanza, unless nothing is refused at present.
refused(Guard, Reason, Packet) ->
    case mod_stanzagate_grid_guard:mode(Guard) of
        enforce ->
            refuse(Guard, Reason, Packet),
            drop;
        Mode ->
            lenient(Mode, Guard, Reason, Packet),
            Packet
    end.

%% Whether a stanza is to be dropped without a word.
dropped(Guard, Reason, Packet) ->
    case mod_stanzagate_grid_guard:mode(Guard) of
        enforce ->
            note(Guard, info, "Not delivered", Reason, Packet),
            true;
        Mode ->
            lenient(Mode, Guard, Reason, Packet),
            false
    end.

lenient(bypass, Guard, _, _) ->
    mod_stanzagate_grid_guard:count(Guard, bypassed);
lenient('log-only', Guard, Reason, Packet) ->
    mod_stanzagate_grid_guard:count(Guard, bypassed),
    journal(Guard, warning, "Would be refused", Reason, Packet).

%% @doc Answer a stanza with the error of a reason, where an answer is due, and count it.
-spec refuse(guard(), reason(), stanza()) -> ok.
refuse(Guard, Reason, Packet) ->
    note(Guard, info, "Refused", Reason, Packet),
    answer(Packet, Reason).

note(Guard, Level, What, Reason, Packet) ->
    mod_stanzagate_grid_guard:count(Guard, counted(Reason, Packet)),
    journal(Guard, Level, What, Reason, Packet).

journal(Guard, Level, What, Reason, Packet) ->
    mod_stanzagate_journal:note(Guard, Level, counted(Reason, Packet), What ++ " (~s): ~s from ~ts to ~ts",
                                [Reason, element(1, Packet), xmpp:get_from(Packet), xmpp:get_to(Packet)]).

%% What nobody is answered is counted apart.
counted(Reason, Packet) when Reason =:= absent; Reason =:= forbidden ->
    case {Packet, xmpp:get_type(Packet)} of
        {#presence{}, _} -> answer;
        {_, Type} when Type =:= result; Type =:= error -> answer;
        _ -> forbidden
    end;
counted(Reason, _) -> Reason.

answer(#presence{}, _) ->
    ok;
answer(Packet, Reason) ->
    ejabberd_router:route_error(xmpp:put_meta(bare_of_payload(Packet), stanzagate_grid, refusal), condition(Reason)).

condition(forbidden) -> xmpp:err_forbidden();
condition(quiet) -> xmpp:err_not_authorized();
condition('not-attached') -> xmpp:err_remote_server_timeout();
condition(overload) -> xmpp:err_resource_constraint();
condition(absent) -> xmpp:err_service_unavailable();    % as to an account that is not there
condition(heavy) -> xmpp:err_policy_violation();
condition(crashed) -> xmpp:err_internal_server_error().

bare_of_payload(#iq{} = IQ) -> IQ#iq{sub_els = [], meta = #{}};
bare_of_payload(#message{id = Id, type = Type, from = From, to = To}) ->
    #message{id = Id, type = Type, from = From, to = To}.

%% Something failed: the stanza is not let through, unless nothing is refused at present.
failed(Packet, Failure) ->
    try
        [Host | _] = [Found || Jid <- [xmpp:get_from(Packet), xmpp:get_to(Packet)], {_, Found} <- [place(Jid)]],
        note_failure(Host, Failure),
        refused(mod_stanzagate_grid_guard:find(Host), crashed, Packet)
    catch
        _:_ -> crashed(Packet)
    end.

%% The refusal itself must not depend on anything that may have failed.
crashed(Packet) ->
    try
        answer(Packet, crashed)
    catch
        _:_ -> ok
    end,
    drop.

note_failure(Host, Failure) ->
    try
        mod_stanzagate_journal:failed(mod_stanzagate_grid_guard:find(Host), Failure)
    catch
        _:_ -> ok
    end.
