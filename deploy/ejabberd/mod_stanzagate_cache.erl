%%% The decisions that may be used again: read by whoever sends to a device, written by the guard's process alone.
%%%
%%% A decision covers all resources of the requester or one. There is one budget and two queues: the oldest denial goes
%%% first, and an allowed requester goes only when no denial is left, so strangers never push out those who are allowed.
-module(mod_stanzagate_cache).

-export([clear/1, count/1, delete/1, find/3, flush/4, new/0, shrink/2, sound/1, store/5]).
-export_type([age/0, cache/0, effect/0]).

-include("xmpp.hrl").

-record(cache, {entries :: ets:tid(), order :: ets:tid()}).
-record(entry, {key, effect, born, ttl, stale, epoch, place}).

-opaque cache() :: #cache{}.
-type effect() :: allow | deny.
-type age() :: fresh | aging | stale.
%% aging: more than half of its life is over, so it should be asked for anew. stale: only for want of a better one.

%% @doc An empty cache; it belongs to the process that makes it and ends with it.
-spec new() -> cache().
new() ->
    #cache{entries = ets:new(mod_stanzagate_cache, [{keypos, #entry.key}, {read_concurrency, true}]),
           order = ets:new(mod_stanzagate_order, [ordered_set])}.

-spec count(cache()) -> non_neg_integer().
count(#cache{entries = Entries}) ->
    ets:info(Entries, size).

%% @doc Whether its tables are there.
-spec sound(cache()) -> boolean().
sound(#cache{entries = Entries, order = Order}) ->
    ets:info(Entries, id) =/= undefined andalso ets:info(Order, id) =/= undefined.

-spec delete(cache()) -> ok.
delete(#cache{entries = Entries, order = Order}) ->
    _ = [ets:delete(Table) || Table <- [Entries, Order], ets:info(Table, id) =/= undefined],
    ok.

%% @doc What is known of a requester and a device, and whether it is still good.
-spec find(cache(), jid(), jid()) -> {age(), effect()} | none.
find(#cache{entries = Entries}, #jid{luser = User, lserver = Server, lresource = Resource}, #jid{luser = Device}) ->
    Now = erlang:monotonic_time(millisecond),
    case usable(ets:lookup(Entries, {User, Server, Resource, Device}), Now) of
        none -> usable(ets:lookup(Entries, {User, Server, any, Device}), Now);
        Found -> Found
    end.

usable([#entry{effect = Effect, born = Born, ttl = Ttl, stale = Stale}], Now) ->
    case Now - Born of
        Age when Age < Ttl, 2 * Age =< Ttl -> {fresh, Effect};
        Age when Age < Ttl -> {aging, Effect};
        Age when Age < Stale -> {stale, Effect};
        _ -> none
    end;
usable([], _) ->
    none.

%% @doc Remember a decision; as many as are too many go. Says how many those were.
-spec store(cache(), pos_integer(), jid(), jid(), mod_stanzagate_policy:decision()) -> non_neg_integer().
store(#cache{entries = Entries, order = Order} = Cache, Limit, Requester, Device,
      #{effect := Effect, scope := Scope, ttl := Ttl, stale := Stale, epoch := Epoch}) ->
    Key = key(Scope, Requester, Device),
    remove(Cache, ets:lookup(Entries, Key)),
    Place = {queue(Effect), erlang:unique_integer([monotonic])},
    ets:insert(Order, {Place, Key}),
    ets:insert(Entries, #entry{key = Key, effect = Effect, born = erlang:monotonic_time(millisecond), ttl = Ttl,
                               stale = Stale, epoch = Epoch, place = Place}),
    shrink(Cache, Limit).

key(bare, #jid{luser = User, lserver = Server}, #jid{luser = Device}) -> {User, Server, any, Device};
key(full, #jid{luser = User, lserver = Server, lresource = Resource}, #jid{luser = Device}) ->
    {User, Server, Resource, Device}.

queue(deny) -> 0;
queue(allow) -> 1.

%% @doc Push out what is over the limit, and say how many that were.
-spec shrink(cache(), pos_integer()) -> non_neg_integer().
shrink(Cache, Limit) ->
    shrink(Cache, count(Cache) - Limit, 0).

shrink(_, Excess, Gone) when Gone >= Excess -> Gone;
shrink(#cache{entries = Entries, order = Order} = Cache, Excess, Gone) ->
    [{_, Key}] = ets:lookup(Order, ets:first(Order)),
    remove(Cache, ets:lookup(Entries, Key)),
    shrink(Cache, Excess, Gone + 1).

%% @doc Forget what is older than an epoch about a requester ({user, domain}) and a device (user), or about any.
-spec flush(cache(), non_neg_integer(), {binary(), binary()} | any, binary() | any) -> ok.
flush(#cache{entries = Entries} = Cache, Epoch, Requester, Device) ->
    {User, Server} = case Requester of any -> {'_', '_'}; _ -> Requester end,
    Key = {User, Server, '_', case Device of any -> '_'; _ -> Device end},
    Pattern = #entry{key = Key, epoch = '$1', _ = '_'},
    remove(Cache, ets:select(Entries, [{Pattern, [{'<', '$1', Epoch}], ['$_']}])).

%% @doc Forget everything.
-spec clear(cache()) -> ok.
clear(#cache{entries = Entries, order = Order}) ->
    ets:delete_all_objects(Entries),
    ets:delete_all_objects(Order),
    ok.

remove(#cache{entries = Entries, order = Order}, Found) ->
    lists:foreach(fun(#entry{key = Key, place = Place}) ->
                          ets:delete(Entries, Key),
                          ets:delete(Order, Place)
                  end, Found).
