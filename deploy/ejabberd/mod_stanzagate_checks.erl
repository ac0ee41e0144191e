%%% The questions to the component that have not been answered yet: one for each pair, and so many in all.
%%%
%%% A table of the pairs can be read and marked by senders, so that a flood of requests asks for one refresh.
-module(mod_stanzagate_checks).

-export([again/3, count/1, find/3, finish/2, finish_all/1, mark/2, new/1, open/2, start/5, table/0]).
-export_type([checks/0]).

-include("xmpp.hrl").

-define(ALL, 8192).
-define(PER_DOMAIN, 4096).
-define(MILLISECONDS, 5000).
-define(AGAIN, 3).

-record(check, {reference, requester, device, timer, tries = 0}).
-record(checks, {table, open = #{}, domains = #{}}).

-opaque checks() :: #checks{}.
-type pair() :: mod_stanzagate_waiting:pair().
-type guard() :: mod_stanzagate_guard:guard().

-spec table() -> ets:tid().
table() ->
    ets:new(mod_stanzagate_asking, [public, {read_concurrency, true}]).

-spec new(ets:tid()) -> checks().
new(Table) ->
    #checks{table = Table}.

-spec count(checks()) -> non_neg_integer().
count(#checks{open = Open}) ->
    map_size(Open).

%% @doc For a sender: whether it is the one that has to have a pair asked about.
-spec mark(ets:tid(), pair()) -> boolean().
mark(Table, Pair) ->
    ets:info(Table, size) < ?ALL andalso ets:insert_new(Table, {Pair}).

-spec open(pair(), checks()) -> boolean().
open(Pair, #checks{open = Open}) ->
    is_map_key(Pair, Open).

%% @doc Ask about a requester and a device. The answer comes as {iq_reply, Answer, {Pair, Reference}}, or instead of it,
%% when it takes too long, {timeout, Timer, {Pair, Reference}}.
-spec start(guard(), pair(), jid(), jid(), checks()) -> {ok, checks()} | {overload, checks()}.
start(Guard, {_, Domain, _} = Pair, Requester, Device, Checks) ->
    #checks{table = Table, open = Open, domains = Domains} = Checks,
    OfDomain = maps:get(Domain, Domains, 0),
    case map_size(Open) < ?ALL andalso OfDomain < ?PER_DOMAIN of
        true ->
            ets:insert(Table, {Pair}),
            Timer = erlang:start_timer(?MILLISECONDS, self(), {check, Pair}),
            Check = #check{requester = Requester, device = Device, timer = Timer},
            {ok, Checks#checks{open = Open#{Pair => ask(Guard, Pair, Check)},
                               domains = Domains#{Domain => OfDomain + 1}}};
        false ->
            ets:delete(Table, Pair),
            {overload, Checks}
    end.

ask(#{host := Host, component := Component} = Guard, Pair, #check{requester = Requester, device = Device} = Check) ->
    Reference = make_ref(),
    mod_stanzagate_guard:count(Guard, asked),
    IQ = mod_stanzagate_policy:check(Host, Component, Requester, Device),
    ejabberd_router:route_iq(IQ, {Pair, Reference}, self(), ?MILLISECONDS),
    Check#check{reference = Reference}.

%% @doc Ask once more; when that has been done often enough, it is over.
-spec again(guard(), pair(), checks()) -> {ok, checks()} | enough.
again(Guard, Pair, #checks{open = Open} = Checks) ->
    case Open of
        #{Pair := #check{tries = Tries} = Check} when Tries < ?AGAIN ->
            {ok, Checks#checks{open = Open#{Pair := ask(Guard, Pair, Check#check{tries = Tries + 1})}}};
        _ ->
            enough
    end.

%% @doc Who was asked about, by the reference of an answer or the timer that ran out; none when it is over already.
-spec find(pair(), reference(), checks()) -> {jid(), jid()} | none.
find(Pair, Reference, #checks{open = Open}) ->
    case Open of
        #{Pair := #check{reference = R, timer = T, requester = Requester, device = Device}}
          when R =:= Reference; T =:= Reference ->
            {Requester, Device};
        _ ->
            none
    end.

%% @doc A question has been settled, in whatever way.
-spec finish(pair(), checks()) -> checks().
finish({_, Domain, _} = Pair, #checks{table = Table, open = Open, domains = Domains} = Checks) ->
    ets:delete(Table, Pair),
    {#check{timer = Timer}, Others} = maps:take(Pair, Open),
    _ = erlang:cancel_timer(Timer),
    Left = case Domains of
               #{Domain := 1} -> maps:remove(Domain, Domains);
               #{Domain := Number} -> Domains#{Domain := Number - 1}
           end,
    Checks#checks{open = Others, domains = Left}.

%% @doc Forget all questions, and say which pairs they were about.
-spec finish_all(checks()) -> {[pair()], checks()}.
finish_all(#checks{table = Table, open = Open}) ->
    ets:delete_all_objects(Table),
    _ = [erlang:cancel_timer(Timer) || #check{timer = Timer} <- maps:values(Open)],
    {maps:keys(Open), new(Table)}.
