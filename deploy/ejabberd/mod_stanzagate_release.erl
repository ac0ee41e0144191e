%%% Out of the queues: what has waited is delivered or refused, one after the other, in the guard's process.
-module(mod_stanzagate_release).

-export([of_pair/2, settle/3, settle_all/2]).
-export_type([outcome/0]).

-include("xmpp.hrl").

-type guard() :: mod_stanzagate_guard:guard().
-type row() :: mod_stanzagate_waiting:row().
-type outcome() :: allow | deny | bypass | mod_stanzagate_guard:reason().

%% @doc What waits of a pair, the first first.
-spec of_pair(guard(), mod_stanzagate_waiting:pair()) -> [row()].
of_pair(#{waiting := Waiting}, Pair) ->
    mod_stanzagate_waiting:of_pair(Waiting, Pair).

%% @doc Settle everything that waits.
-spec settle_all(guard(), fun((row()) -> outcome())) -> ok.
settle_all(#{waiting := Waiting} = Guard, Find) ->
    lists:foreach(fun(Pair) -> settle(Guard, of_pair(Guard, Pair), Find) end, mod_stanzagate_waiting:pairs(Waiting)).

%% @doc Settle these, each with the outcome found for it.
-spec settle(guard(), [row()], fun((row()) -> outcome())) -> ok.
settle(#{waiting := Waiting} = Guard, Rows, Find) ->
    lists:foreach(fun(Row) ->
                          Deal = fun(Held) -> deal(Find, Row, Held, Guard) end,
                          mod_stanzagate_waiting:settle(Waiting, Row, Deal)
                  end, Rows).

%% One that fails here is answered, and the others go on.
deal(Find, Row, Held, Guard) ->
    try
        released(Find(Row), Held, Row, Guard)
    catch
        Class:Reason:Stack ->
            mod_stanzagate_journal:failed(Guard, {Class, Reason, Stack}),
            refuse(crashed, Held, Row, Guard)
    end.

released(bypass, {malformed, _} = Held, Row, Guard) ->
    refuse('bad-request', Held, Row, Guard);    % its content is gone: there is nothing that could be let through
released(bypass, {_, Packet}, _, Guard) ->
    mod_stanzagate_guard:count(Guard, bypassed),
    mod_stanzagate_filter:let_go(Packet);
released(Effect, Held, Row, Guard) when Effect =:= allow; Effect =:= deny ->
    case mod_stanzagate_filter:verdict(Effect, Held) of
        {pass, Packet} ->
            mod_stanzagate_guard:count(Guard, passed),
            mod_stanzagate_filter:let_go(Packet);
        {refuse, Reason} ->
            refuse(Reason, Held, Row, Guard)
    end;
released(Reason, Held, Row, Guard) ->
    refuse(Reason, Held, Row, Guard).

refuse(Reason, {_, Packet}, Row, Guard) ->
    {From, To} = mod_stanzagate_waiting:addresses(Row),
    mod_stanzagate_filter:refuse(Guard, Reason, From, To, Packet).
