%%% The questions to the component that have not been answered yet: one for each pair, and so many in all.
%%%
%%% A window of them has been sent. The others wait for their turn in here and not in the component's stream, so that
%%% a flush is not behind thousands of questions and answers; turns go round among the requesters. Senders claim the
%%% place for a question themselves, so that a flood ends with them and asks for one refresh; the guard's process gives
%%% it back.
-module(mod_stanzagate_checks).

-export([again/3, asking/0, claim/2, count/1, delete/1, find/3, finish/3, finish_all/1, new/1, open/2, reachable/1,
         release/2, requester/1, sound/1, start/5]).
-export_type([asking/0, checks/0]).

-include("xmpp.hrl").

-define(ALL, 8192).
-define(PER_DOMAIN, 4096).
-define(PER_REQUESTER, 1024).
-define(WINDOW, 128).
-define(MILLISECONDS, 5000).
-define(AGAIN, 3).

-record(asking, {pairs :: ets:tid(), loads :: ets:tid()}).
-record(check, {requester, device, timer, place, reference = unsent, tries = 0}).
-record(checks, {asking, open = #{}, sent = 0, turns = mod_stanzagate_turns:new()}).

-opaque asking() :: #asking{}.    % what senders see
-opaque checks() :: #checks{}.
-type pair() :: mod_stanzagate_waiting:pair().
-type guard() :: mod_stanzagate_guard:guard().

%%% For senders

-spec asking() -> asking().
asking() ->
    #asking{pairs = ets:new(mod_stanzagate_asking, [public, {read_concurrency, true}]),
            loads = ets:new(mod_stanzagate_loads, [public, {write_concurrency, true}])}.

%% @doc Whether its tables are there.
-spec sound(asking()) -> boolean().
sound(#asking{pairs = Pairs, loads = Loads}) ->
    ets:info(Pairs, id) =/= undefined andalso ets:info(Loads, id) =/= undefined.

-spec delete(asking()) -> ok.
delete(#asking{pairs = Pairs, loads = Loads}) ->
    _ = [ets:delete(Table) || Table <- [Pairs, Loads], ets:info(Table, id) =/= undefined],
    ok.

%% @doc Have a place for the question about a pair, if there is one. The guard's process must be told of a new one.
-spec claim(asking(), pair()) -> new | known | overload.
claim(#asking{pairs = Pairs} = Asking, Pair) ->
    case ets:member(Pairs, Pair) of
        true -> known;
        false ->
            Within = load(Asking, Pair),
            case Within andalso ets:insert_new(Pairs, {Pair}) of
                true -> new;
                false ->
                    unload(Asking, Pair),
                    case Within of true -> known; false -> overload end
            end
    end.

%% @doc Give it back.
-spec release(asking(), pair()) -> ok.
release(#asking{pairs = Pairs} = Asking, Pair) ->
    case ets:take(Pairs, Pair) of
        [_] -> unload(Asking, Pair);
        [] -> ok
    end.

%% Counted before the pair is in the table, so that whoever takes it out finds it counted.
load(#asking{loads = Loads}, Pair) ->
    Numbers = [{ets:update_counter(Loads, Whose, 1, {Whose, 0}), Bound} || {Whose, Bound} <- bounds(Pair)],
    lists:all(fun({Number, Bound}) -> Number =< Bound end, Numbers).

unload(#asking{loads = Loads}, Pair) ->
    lists:foreach(fun({Whose, _}) ->
                          ets:update_counter(Loads, Whose, -1),
                          ets:delete_object(Loads, {Whose, 0})
                  end, bounds(Pair)).

bounds({_, Domain, _} = Pair) ->
    [{all, ?ALL}, {Domain, ?PER_DOMAIN}, {requester(Pair), ?PER_REQUESTER}].

%% @doc Whose turn it is when the pair has its turn.
-spec requester(pair()) -> {binary(), binary()}.
requester({User, Domain, _}) ->
    {User, Domain}.

%%% For the guard's process

-spec new(asking()) -> checks().
new(Asking) ->
    #checks{asking = Asking}.

%% @doc How many there are, sent or not.
-spec count(checks()) -> non_neg_integer().
count(#checks{open = Open}) ->
    map_size(Open).

-spec open(pair(), checks()) -> boolean().
open(Pair, #checks{open = Open}) ->
    is_map_key(Pair, Open).

%% @doc Ask about a requester and a device, when it is their turn. The answer comes as
%% {iq_reply, Answer, {Pair, Reference}}, or instead of it, when it takes too long, {timeout, Timer, {check, Pair}}.
-spec start(guard(), pair(), jid(), jid(), checks()) -> {ok, checks()} | {overload, checks()}.
start(Guard, Pair, Requester, Device, #checks{asking = Asking, open = Open, turns = Turns} = Checks) ->
    case claim(Asking, Pair) of
        overload ->
            {overload, Checks};
        _ ->
            {Place, Longer} = mod_stanzagate_turns:add(requester(Pair), Pair, Turns),
            Timer = erlang:start_timer(?MILLISECONDS, self(), {check, Pair}),
            Check = #check{requester = Requester, device = Device, timer = Timer, place = Place},
            {ok, proceed(Guard, Checks#checks{open = Open#{Pair => Check}, turns = Longer})}
    end.

%% Send whatever has its turn, while there is room in the window.
proceed(Guard, #checks{open = Open, sent = Sent, turns = Turns} = Checks) when Sent < ?WINDOW ->
    case mod_stanzagate_turns:next(Turns) of
        {Pair, Others} ->
            #{Pair := Check} = Open,
            Asked = Open#{Pair := ask(Guard, Pair, Check)},
            proceed(Guard, Checks#checks{open = Asked, sent = Sent + 1, turns = Others});
        none ->
            Checks
    end;
proceed(_, Checks) ->
    Checks.

%% What cannot be sent is settled when the news comes that the stream has ended.
ask(#{host := Host, component := Component} = Guard, Pair, #check{requester = Requester, device = Device} = Check) ->
    Reference = make_ref(),
    case reachable(Guard) of
        true ->
            mod_stanzagate_guard:count(Guard, asked),
            IQ = mod_stanzagate_policy:check(Host, Component, Requester, Device),
            ejabberd_router:route_iq(IQ, {Pair, Reference}, self(), ?MILLISECONDS);
        false ->
            ok
    end,
    Check#check{reference = Reference}.

%% @doc Whether there is somebody to ask. Between the end of a stream and the news of it, a question would leave the
%% server.
-spec reachable(guard()) -> boolean().
reachable(#{component := Component} = Guard) ->
    mod_stanzagate_guard:attached(Guard) andalso ejabberd_router:is_my_route(Component).

%% @doc Ask once more, at once; when that has been done often enough, it is over.
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

%% @doc A question has been settled, in whatever way: others may have their turn.
-spec finish(guard(), pair(), checks()) -> checks().
finish(Guard, Pair, #checks{asking = Asking, open = Open} = Checks) ->
    {#check{timer = Timer} = Check, Others} = maps:take(Pair, Open),
    _ = erlang:cancel_timer(Timer),
    release(Asking, Pair),
    proceed(Guard, leave(Pair, Check, Checks#checks{open = Others})).

leave(Pair, #check{reference = unsent, place = Place}, #checks{turns = Turns} = Checks) ->
    Checks#checks{turns = mod_stanzagate_turns:remove(requester(Pair), Place, Turns)};
leave(_, _, #checks{sent = Sent} = Checks) ->
    Checks#checks{sent = Sent - 1}.

%% @doc Forget all questions, and say which pairs they were about.
-spec finish_all(checks()) -> {[pair()], checks()}.
finish_all(#checks{asking = Asking, open = Open}) ->
    maps:foreach(fun(Pair, #check{timer = Timer}) ->
                         _ = erlang:cancel_timer(Timer),
                         release(Asking, Pair)
                 end, Open),
    {maps:keys(Open), new(Asking)}.
