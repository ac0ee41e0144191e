%%% What waits for a decision, in the order of its pair.
%%%
%%% The sender's process puts a stanza here and the guard's process takes it out, so that the limits hold before
%%% anything is queued, and a sender sees at once that its own earlier request still waits. The tables outlive the
%%% guard's process: when that fails, the next one still answers everybody.
-module(mod_stanzagate_waiting).

-export([add/5, addresses/1, any/2, count/1, delete/1, new/0, of_pair/2, pair/2, pairs/1, settle/3, sound/1, waited/1]).
-export_type([held/0, pair/0, row/0, waiting/0]).

-include("xmpp.hrl").

-define(ALL, 10000).
-define(PER_PAIR, 256).
-define(BYTES, 16 * 1024 * 1024).

-record(waiting, {rows :: ets:tid(), pairs :: ets:tid(), totals :: atomics:atomics_ref()}).
-record(row, {key, from, to, held, bytes, since}).

-opaque waiting() :: #waiting{}.
-opaque row() :: #row{}.
-type pair() :: {binary(), binary(), binary()}.    % a requester's user and domain, a device's user
-type held() :: {request, iq()} | {malformed, stanza()} | {other, stanza()}.

-spec new() -> waiting().
new() ->
    Options = [public, {heir, group_leader(), none}, {write_concurrency, true}],
    #waiting{rows = ets:new(mod_stanzagate_waiting, [ordered_set, {keypos, #row.key} | Options]),
             pairs = ets:new(mod_stanzagate_pairs, Options),
             totals = atomics:new(2, [])}.

%% @doc Whether its tables are there.
-spec sound(waiting()) -> boolean().
sound(#waiting{rows = Rows, pairs = Pairs}) ->
    ets:info(Rows, id) =/= undefined andalso ets:info(Pairs, id) =/= undefined.

-spec delete(waiting()) -> ok.
delete(#waiting{rows = Rows, pairs = Pairs}) ->
    _ = [ets:delete(Table) || Table <- [Rows, Pairs], ets:info(Table, id) =/= undefined],
    ok.

-spec pair(jid(), jid()) -> pair().
pair(#jid{luser = User, lserver = Server}, #jid{luser = Device}) ->
    {User, Server, Device}.

%% @doc How many wait.
-spec count(waiting()) -> non_neg_integer().
count(#waiting{totals = Totals}) ->
    atomics:get(Totals, 1).

%% @doc Whether anything of the pair waits: then everything of the pair must.
-spec any(waiting(), pair()) -> boolean().
any(#waiting{pairs = Pairs, totals = Totals}, Pair) ->
    atomics:get(Totals, 1) > 0 andalso ets:member(Pairs, Pair).

%% @doc Put a stanza at the end of its pair's queue.
-spec add(waiting(), pair(), jid(), jid(), held()) -> ok | overload.
add(#waiting{rows = Rows, pairs = Pairs, totals = Totals} = Waiting, Pair, From, To, Held) ->
    Row = #row{key = {Pair, erlang:unique_integer([monotonic, positive])}, from = From, to = To, held = Held,
               bytes = erlang:external_size(Held), since = erlang:monotonic_time(millisecond)},
    All = atomics:add_get(Totals, 1, 1),
    Bytes = atomics:add_get(Totals, 2, Row#row.bytes),
    OfPair = ets:update_counter(Pairs, Pair, 1, {Pair, 0}),
    if
        All =< ?ALL, Bytes =< ?BYTES, OfPair =< ?PER_PAIR ->
            ets:insert(Rows, Row),
            ok;
        true ->
            release(Waiting, Row),
            overload
    end.

%% @doc What waits of a pair, the first first.
-spec of_pair(waiting(), pair()) -> [row()].
of_pair(Waiting, Pair) ->
    after_key(Waiting, Pair, {Pair, 0}).

after_key(#waiting{rows = Rows} = Waiting, Pair, Key) ->
    case ets:next(Rows, Key) of
        {Pair, _} = Next -> ets:lookup(Rows, Next) ++ after_key(Waiting, Pair, Next);
        _ -> []
    end.

%% @doc All pairs that something waits of.
-spec pairs(waiting()) -> [pair()].
pairs(#waiting{pairs = Pairs}) ->
    ets:select(Pairs, [{{'$1', '_'}, [], ['$1']}]).

%% @doc Who sent it, and to which device.
-spec addresses(row()) -> {jid(), jid()}.
addresses(#row{from = From, to = To}) ->
    {From, To}.

%% @doc For how many milliseconds it has waited.
-spec waited(row()) -> integer().
waited(#row{since = Since}) ->
    erlang:monotonic_time(millisecond) - Since.

%% @doc Take a stanza out and deal with it. Only then does its mark go: meanwhile, what follows of its pair queues.
-spec settle(waiting(), row(), fun((held()) -> ok)) -> ok.
settle(#waiting{rows = Rows} = Waiting, #row{key = Key, held = Held} = Row, Deal) ->
    ets:delete(Rows, Key),
    try
        Deal(Held)
    after
        release(Waiting, Row)
    end.

release(#waiting{pairs = Pairs, totals = Totals}, #row{key = {Pair, _}, bytes = Bytes}) ->
    ets:update_counter(Pairs, Pair, -1),
    ets:delete_object(Pairs, {Pair, 0}),
    atomics:sub(Totals, 2, Bytes),
    atomics:sub(Totals, 1, 1).
