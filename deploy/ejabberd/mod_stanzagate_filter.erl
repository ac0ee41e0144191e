%%% The guard in the process of whoever sends to a device: what passes, what is refused, what has to wait.
%%%
%%% ejabberd goes on with a packet when a hook crashes, so whatever goes wrong in here ends in a refusal.
-module(mod_stanzagate_filter).

-export([filter/1, let_go/1, note_leniency/5, refuse/5, verdict/2]).

-include("xmpp.hrl").

-type guard() :: mod_stanzagate_guard:guard().
-type held() :: mod_stanzagate_waiting:held().

%% @doc Look at a stanza to an account of a guarded host: the hook sm_receive_packet.
-spec filter(stanza()) -> stanza() | {stop, drop}.
filter(Packet) ->
    try
        #jid{lserver = Host} = xmpp:get_to(Packet),
        guarded(mod_stanzagate_guard:find(Host), Packet)
    catch
        Class:Reason:Stack -> failed(Packet, {Class, Reason, Stack})
    end.

%% Marks of ours cannot come from outside. What the guard has let go loses its mark at once: when the server routes the
%% stanza once more, from the queue of a lost session, it is judged once more. What the component itself sends keeps it.
guarded(Guard, Packet) ->
    case xmpp:get_meta(Packet) of
        #{stanzagate := allowed} -> xmpp:del_meta(Packet, stanzagate);
        #{stanzagate := component} -> Packet;
        _ -> from_outside(Guard, xmpp:get_from(Packet), Packet)
    end.

from_outside(#{component := Component, streams := Streams} = Guard, #jid{lserver = Component} = From, Packet) ->
    case lists:member(self(), Streams) of
        true -> xmpp:put_meta(without_language(Packet), stanzagate, component);
        false -> read(Guard, From, Packet)
    end;
from_outside(#{host := Host} = Guard, undefined, Packet) ->
    read(Guard, jid:make(Host), Packet);
from_outside(Guard, From, Packet) ->
    read(Guard, From, Packet).

%% The component's own request is in normal form, too, when nothing but a language is added to it on the way.
without_language(#iq{lang = Language} = IQ) when Language =/= <<>> ->
    case mod_stanzagate_payload:read(IQ) of
        {request, _} -> IQ#iq{lang = <<>>};
        _ -> IQ
    end;
without_language(Packet) ->
    Packet.

read(#{watch := Watch} = Guard, From, Packet) ->
    case mod_stanzagate_payload:read(Packet) of
        {request, _} = Request -> by_mode(Guard, From, Packet, Request);
        malformed -> by_mode(Guard, From, Packet, {malformed, bare_of_payload(Packet)});
        answer -> by_mode(Guard, From, Packet, answer);
        none when Watch =:= 'connection-requests' -> Packet;
        none ->
            case insider(Guard, From, xmpp:get_to(Packet)) of
                true -> Packet;
                false -> by_mode(Guard, From, Packet, {other, Packet})
            end
    end.

insider(#{host := Host}, #jid{luser = <<>>, lserver = Host}, _) -> true;
insider(_, #jid{luser = User, lserver = Host}, #jid{luser = User, lserver = Host}) -> true;
insider(_, _, _) -> false.

by_mode(#{bypass := true} = Guard, _, Packet, _) ->
    mod_stanzagate_guard:count(Guard, bypassed),
    Packet;
by_mode(#{mode := 'log-only'} = Guard, From, Packet, Held) ->
    watch(Guard, From, Packet, Held),
    Packet;
by_mode(Guard, From, Packet, answer) ->
    note_refusal(Guard, answer, From, xmpp:get_to(Packet), Packet),
    {stop, drop};
by_mode(Guard, From, Packet, Held) ->
    To = xmpp:get_to(Packet),
    Pair = mod_stanzagate_waiting:pair(From, To),
    case known(Guard, Pair, From, To) of
        waits -> hold(Guard, Pair, From, To, Held, known);
        none -> without_decision(Guard, Pair, From, To, Held);
        Effect -> decided(Guard, From, To, Effect, Held)
    end.

known(#{waiting := Waiting} = Guard, Pair, From, To) ->
    case mod_stanzagate_waiting:any(Waiting, Pair) of
        true -> waits;
        false -> usable(Guard, Pair, From, To)
    end.

%% An old decision is used when no better one can be had. One that ages is asked for again in the background.
usable(#{cache := Cache} = Guard, Pair, From, To) ->
    case mod_stanzagate_cache:find(Cache, From, To) of
        {fresh, Effect} -> Effect;
        {aging, Effect} -> ask(Guard, Pair, From, To), Effect;
        {stale, Effect} ->
            case mod_stanzagate_guard:attached(Guard) of
                true -> none;
                false -> Effect
            end;
        none -> none
    end.

ask(Guard, Pair, From, To) ->
    _ = mod_stanzagate_guard:attached(Guard) andalso mod_stanzagate_server:ask(Guard, Pair, From, To),
    ok.

%% What this process has read of the guard may be older than the cache: the component may just have attached.
without_decision(#{host := Host}, Pair, From, To, Held) ->
    Guard = mod_stanzagate_guard:find(Host),
    case mod_stanzagate_guard:attached(Guard) of
        true -> claim(Guard, Pair, From, To, Held);
        false -> refused(Guard, From, To, Held, 'not-attached')
    end.

%% A flood ends here and costs the guard's process nothing.
claim(#{asking := Asking, cache := Cache} = Guard, Pair, From, To, Held) ->
    case {mod_stanzagate_checks:claim(Asking, Pair), mod_stanzagate_cache:find(Cache, From, To)} of
        {overload, none} -> refused(Guard, From, To, Held, overload);
        {overload, {_, Effect}} -> decided(Guard, From, To, Effect, Held);
        {Claim, _} -> hold(Guard, Pair, From, To, Held, Claim)
    end.

hold(#{asking := Asking, waiting := Waiting} = Guard, Pair, From, To, Held, Claim) ->
    case mod_stanzagate_waiting:add(Waiting, Pair, From, To, Held) of
        ok ->
            mod_stanzagate_server:waits(Guard, Pair),
            {stop, drop};
        overload ->
            _ = Claim =:= new andalso mod_stanzagate_checks:release(Asking, Pair),
            refused(Guard, From, To, Held, overload)
    end.

decided(Guard, From, To, Effect, Held) ->
    mod_stanzagate_guard:count(Guard, hits),
    case verdict(Effect, Held) of
        {pass, Packet} -> mod_stanzagate_guard:count(Guard, passed), Packet;
        {refuse, Reason} -> refused(Guard, From, To, Held, Reason)
    end.

refused(Guard, From, To, {_, Packet}, Reason) ->
    refuse(Guard, Reason, From, To, Packet),
    {stop, drop}.

%% Mode log-only: everything passes at once, and what would have been refused is logged.
watch(Guard, From, Packet, answer) ->
    would_refuse(Guard, answer, From, xmpp:get_to(Packet), Packet);
watch(#{cache := Cache} = Guard, From, Packet, Held) ->
    To = xmpp:get_to(Packet),
    Pair = mod_stanzagate_waiting:pair(From, To),
    case mod_stanzagate_cache:find(Cache, From, To) of
        {Age, Effect} ->
            _ = Age =:= fresh orelse ask(Guard, Pair, From, To),
            mod_stanzagate_guard:count(Guard, hits),
            case verdict(Effect, Held) of
                {pass, _} -> mod_stanzagate_guard:count(Guard, passed);
                {refuse, Reason} -> would_refuse(Guard, Reason, From, To, Packet)
            end;
        none ->
            case mod_stanzagate_guard:attached(Guard) of
                true -> ask(Guard, Pair, From, To), mod_stanzagate_guard:count(Guard, bypassed);
                false -> would_refuse(Guard, 'not-attached', From, To, Packet)
            end
    end.

would_refuse(Guard, Reason, From, To, Packet) ->
    mod_stanzagate_guard:count(Guard, bypassed),
    note_leniency(Guard, Reason, From, To, element(1, Packet)).

%% @doc Log what mode log-only would have refused.
-spec note_leniency(guard(), mod_stanzagate_guard:reason(), jid(), jid(), atom()) -> ok.
note_leniency(Guard, Reason, From, To, What) ->
    mod_stanzagate_journal:note(Guard, warning, Reason, "Would be refused (~s): ~s from ~ts to ~ts",
                                [Reason, What, From, To]).

%% @doc What becomes of a stanza when it is known whether its sender may reach the device.
-spec verdict(allow | deny, held()) -> {pass, stanza()} | {refuse, mod_stanzagate_guard:reason()}.
verdict(deny, _) -> {refuse, forbidden};
verdict(allow, {malformed, _}) -> {refuse, 'bad-request'};
verdict(allow, {_, Packet}) -> {pass, Packet}.

%% @doc Send on what has been allowed: the other modules of the server see it for the first time.
-spec let_go(stanza()) -> ok.
let_go(Packet) ->
    ejabberd_sm:route(xmpp:put_meta(Packet, stanzagate, allowed)),
    ok.

%% @doc Answer a stanza with the error of the reason, where an answer is due, and count it.
-spec refuse(guard(), mod_stanzagate_guard:reason(), jid(), jid(), stanza()) -> ok.
refuse(Guard, Reason, From, To, Packet) ->
    note_refusal(Guard, Reason, From, To, Packet),
    answer(xmpp:set_from_to(Packet, From, To), Reason).

note_refusal(Guard, Reason, From, To, Packet) ->
    mod_stanzagate_guard:count(Guard, Reason),
    mod_stanzagate_journal:note(Guard, info, Reason, "Refused (~s): ~s from ~ts to ~ts",
                                [Reason, element(1, Packet), From, To]).

%% The error has the guard's mark: a requester that is an account of the guarded host gets it in any case.
answer(Packet, Reason) ->
    Asked = xmpp:put_meta(bare_of_payload(Packet), stanzagate, allowed),
    ejabberd_router:route_error(Asked, condition(Reason)).

condition(forbidden) -> xmpp:err_forbidden();
condition('bad-request') -> xmpp:err_bad_request();
condition('not-attached') -> xmpp:err_remote_server_timeout();
condition('no-decision') -> xmpp:err_internal_server_error();
condition(overload) -> xmpp:err_resource_constraint();
condition(crashed) -> xmpp:err_internal_server_error().

%% What an error needs of a stanza, and nothing of what it carries.
bare_of_payload(#iq{id = Id, type = Type, from = From, to = To}) -> #iq{id = Id, type = Type, from = From, to = To};
bare_of_payload(#message{id = Id, type = Type, from = From, to = To}) ->
    #message{id = Id, type = Type, from = From, to = To};
bare_of_payload(#presence{id = Id, type = Type, from = From, to = To}) ->
    #presence{id = Id, type = Type, from = From, to = To}.

%% The refusal itself must not depend on anything that may have failed.
failed(Packet, Failure) ->
    try
        #jid{lserver = Host} = xmpp:get_to(Packet),
        Guard = mod_stanzagate_guard:find(Host),
        mod_stanzagate_journal:failed(Guard, Failure),
        mod_stanzagate_server:look_after(Guard),
        case mod_stanzagate_guard:mode(Guard) of
            enforce -> mod_stanzagate_guard:count(Guard, crashed), drop(Packet);
            _ -> mod_stanzagate_guard:count(Guard, bypassed), Packet
        end
    catch
        _:_ -> drop(Packet)
    end.

drop(Packet) ->
    try
        answer(Packet, crashed)
    catch
        _:_ -> ok
    end,
    {stop, drop}.
