%%% The requests to the broker that the controller has been asked to answer: so many in all and of each asker, each for
%%% so long.
%%%
%%% The asker's process puts a question here, and whoever takes it out answers it: the controller's stream, or the
%%% guard's process when time is up. A question can be taken once. The table outlives the guard's process.
-module(mod_stanzagate_grid_questions).

-export([add/2, count/1, delete/1, new/0, overdue/1, take/2, take_all/1]).
-export_type([questions/0]).

-include("xmpp.hrl").

-define(ALL, 10000).
-define(EACH, 100).    % of one asker, by its bare JID
-define(MILLISECONDS, 15000).

-record(questions, {asked :: ets:tid(), order :: ets:tid(), askers :: ets:tid()}).

-opaque questions() :: #questions{}.

-spec new() -> questions().
new() ->
    Options = [public, {heir, group_leader(), none}, {write_concurrency, true}],
    #questions{asked = ets:new(mod_stanzagate_grid_asked, Options),
               order = ets:new(mod_stanzagate_grid_order, [ordered_set | Options]),
               askers = ets:new(mod_stanzagate_grid_askers, Options)}.

-spec delete(questions()) -> ok.
delete(#questions{asked = Asked, order = Order, askers = Askers}) ->
    _ = [ets:delete(Table) || Table <- [Asked, Order, Askers], ets:info(Table, id) =/= undefined],
    ok.

-spec count(questions()) -> non_neg_integer().
count(#questions{asked = Asked}) ->
    ets:info(Asked, size).

%% @doc Remember a request, without its payload; the id of the question about it, which nobody can guess.
-spec add(questions(), iq()) -> {ok, binary()} | overload.
add(#questions{asked = Asked, order = Order, askers = Askers}, IQ) ->
    case ets:info(Asked, size) < ?ALL andalso one_more(Askers, asker(IQ)) of
        true ->
            Id = <<"sg-", (binary:encode_hex(crypto:strong_rand_bytes(16)))/binary>>,
            Due = {erlang:monotonic_time(millisecond) + ?MILLISECONDS, Id},
            ets:insert(Asked, {Id, Due, IQ#iq{sub_els = [], meta = #{}}}),
            ets:insert(Order, {Due}),
            {ok, Id};
        false ->
            overload
    end.

asker(#iq{from = #jid{luser = User, lserver = Server}}) ->
    {User, Server}.

one_more(Askers, Asker) ->
    case ets:update_counter(Askers, Asker, 1, {Asker, 0}) of
        Count when Count =< ?EACH -> true;
        _ ->
            one_less(Askers, Asker),
            false
    end.

%% Who asks nothing any more is not remembered. Only that very row goes, whatever others count meanwhile.
one_less(Askers, Asker) ->
    _ = ets:update_counter(Askers, Asker, -1, {Asker, 0}) =< 0 andalso ets:delete_object(Askers, {Asker, 0}),
    ok.

%% @doc The request that a question was about; there is no such question any more.
-spec take(questions(), binary()) -> {ok, iq()} | none.
take(#questions{asked = Asked, order = Order, askers = Askers}, Id) ->
    case ets:take(Asked, Id) of
        [{_, Due, IQ}] ->
            ets:delete(Order, Due),
            one_less(Askers, asker(IQ)),
            {ok, IQ};
        [] ->
            none
    end.

%% @doc Those whose time is up, taken out.
-spec overdue(questions()) -> [iq()].
overdue(#questions{order = Order} = Questions) ->
    Now = erlang:monotonic_time(millisecond),
    case ets:first(Order) of
        {Due, Id} = Key when Due =< Now ->
            ets:delete(Order, Key),
            case take(Questions, Id) of
                {ok, IQ} -> [IQ | overdue(Questions)];
                none -> overdue(Questions)
            end;
        _ ->
            []
    end.

%% @doc All of them, taken out.
-spec take_all(questions()) -> [iq()].
take_all(#questions{asked = Asked} = Questions) ->
    [IQ || Id <- ets:select(Asked, [{{'$1', '_', '_'}, [], ['$1']}]), {ok, IQ} <- [take(Questions, Id)]].
