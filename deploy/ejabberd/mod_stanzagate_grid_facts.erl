%%% What the controller has said of accounts, certificates and topics: kept in the database, so that it holds while the
%%% controller is away and after a restart.
%%%
%%% One table serves all grid hosts of the server. Every fact has the number (epoch) under which it was said; what is
%%% older than what is known of the same thing is discarded. The guard's process alone writes, every sender reads.
-module(mod_stanzagate_grid_facts).

-export([accounts/1, active/2, stranger/3, any_lost/2, epoch/1, forget_account/2, init/0, lost/4, obey/4, revoked/2]).
-export_type([bare/0, order/0]).

-record(stanzagate_grid, {key, value, epoch}).

-define(TABLE, stanzagate_grid).

-type bare() :: {binary(), binary()}.
-type order() :: {{account, bare()}, active | {active, binary()} | disabled | unknown, non_neg_integer()}
               | {{revoked, binary()}, boolean(), non_neg_integer()}
               | {{lost, bare(), binary()}, boolean(), non_neg_integer()}.
%% About what, what about it, and under which number. An active account may be bound to certificates: their SHA-256, one
%% after the other.

%% @doc Make sure that there is a table.
-spec init() -> ok.
init() ->
    _ = ejabberd_mnesia:create(?MODULE, ?TABLE, [{disc_copies, [node()]}, {type, ordered_set},
                                                 {attributes, record_info(fields, stanzagate_grid)}]),
    ok = mnesia:wait_for_tables([?TABLE], infinity).

%%% Reading: straight from the memory that the database keeps; it is an error when that is gone.

%% @doc The number of the last change.
-spec epoch(binary()) -> non_neg_integer().
epoch(Host) ->
    value({epoch, Host}, 0).

%% @doc Whether an account belongs to an active node.
-spec active(binary(), binary()) -> boolean().
active(Host, User) ->
    case value({account, Host, {User, Host}}, unknown) of
        active -> true;
        {active, _} -> true;
        _ -> false
    end.

%% @doc Whether whoever has come by a certificate (its SHA-256) is not the one whose name he has. Without one he is.
-spec stranger(binary(), binary(), binary() | none) -> boolean().
stranger(_, _, none) ->
    false;
stranger(Host, User, Digest) ->
    case value({account, Host, {User, Host}}, unknown) of
        {active, Bound} -> not is_among(Digest, Bound);
        _ -> false
    end.

is_among(Digest, <<Digest:32/binary, _/binary>>) -> true;
is_among(Digest, <<_:32/binary, Others/binary>>) -> is_among(Digest, Others);
is_among(_, <<>>) -> false.

-spec revoked(binary(), binary()) -> boolean().
revoked(Host, Fingerprint) ->
    value({revoked, Host, Fingerprint}, false).

%% @doc Whether somebody has lost any topic, or had once.
-spec any_lost(binary(), bare()) -> boolean().
any_lost(Host, Bare) ->
    case ets:next(?TABLE, {lost, Host, Bare, <<>>}) of
        {lost, Host, Bare, _} -> true;
        _ -> false
    end.

%% @doc Whether somebody must not get an event of a pubsub node that happened at a time (microseconds).
-spec lost(binary(), bare(), binary(), integer()) -> boolean().
lost(Host, Bare, Node, Time) ->
    lists:any(fun(Topic) ->
                      case value({lost, Host, Bare, Topic}, none) of
                          {lost, _} -> true;
                          {regained, Moment} -> Time =< Moment;
                          none -> false
                      end
              end, [Node | [binary:part(Node, 0, Place) || {Place, _} <- binary:matches(Node, <<"/">>)]]).

value(Key, Default) ->
    case ets:lookup(?TABLE, Key) of
        [#stanzagate_grid{value = Value}] -> Value;
        [] -> Default
    end.

%% @doc How many accounts are active, and how many are known in all.
-spec accounts(binary()) -> {non_neg_integer(), non_neg_integer()}.
accounts(Host) ->
    Count = fun(Value) ->
                    ets:select_count(?TABLE, [{#stanzagate_grid{key = {account, Host, '_'}, value = Value, _ = '_'},
                                               [], [true]}])
            end,
    {Count(active) + Count({active, '_'}), Count('_')}.

%%% Writing

%% @doc Obey orders, all or none, and be up to date to an epoch then. They are on the disk when this returns.
%% @param Since up to which epoch everything must be known, or that everything is to be forgotten before.
%% @returns those that were not outdated; or a gap, and nothing has changed.
-spec obey(binary(), reset | non_neg_integer(), [order()], non_neg_integer()) -> [order()] | gap.
obey(Host, Since, Orders, Epoch) ->
    case epoch(Host) of
        Known when is_integer(Since), Since > Known -> gap;
        Known -> obey(Host, Since =:= reset, Orders, Epoch, Known)
    end.

obey(Host, Reset, Orders, Epoch, Before) ->
    Then = erlang:system_time(microsecond),
    {atomic, Obeyed} =
        mnesia:sync_transaction(
          fun() ->
                  mnesia:write_lock_table(?TABLE),
                  _ = Reset andalso forget(Host),
                  mnesia:write(#stanzagate_grid{key = {epoch, Host}, epoch = Epoch,
                                                value = case Reset of true -> Epoch; false -> max(Before, Epoch) end}),
                  [Order || Order <- Orders, taken(Host, Order, Then)]
          end),
    ok = mod_stanzagate_grid_stored:write_out(),
    Obeyed.

forget(Host) ->
    Patterns = [{#stanzagate_grid{key = Key, _ = '_'}, [], ['$_']}
                || Key <- [{epoch, Host}, {account, Host, '_'}, {revoked, Host, '_'}, {lost, Host, '_', '_'}]],
    [mnesia:delete({?TABLE, Key}) || #stanzagate_grid{key = Key} <- mnesia:select(?TABLE, Patterns, write)].

taken(Host, {About, Value, Epoch}, Now) ->
    Key = key(Host, About),
    case mnesia:read(?TABLE, Key, write) of
        [#stanzagate_grid{epoch = Known}] when Known > Epoch -> false;
        Known ->
            mnesia:write(#stanzagate_grid{key = Key, value = kept(About, Value, Known, Now), epoch = Epoch}),
            true
    end.

key(Host, {lost, Bare, Node}) -> {lost, Host, Bare, Node};
key(Host, {Kind, Name}) -> {Kind, Host, Name}.

%% What was stored before a topic was lost stays lost when it is regained.
kept({lost, _, _}, true, _, Now) -> {lost, Now};
kept({lost, _, _}, false, [#stanzagate_grid{value = {_, Moment}}], _) -> {regained, Moment};
kept({lost, _, _}, false, [], _) -> {regained, 0};
kept(_, Value, _, _) -> Value.

%% @doc An account has been removed: one that is made under the same name is not active by what was said of this one. The
%% controller is to say it again, so the epoch goes back to just before it.
-spec forget_account(binary(), binary()) -> ok.
forget_account(Host, User) ->
    Key = {account, Host, {User, Host}},
    {atomic, ok} =
        mnesia:sync_transaction(
          fun() ->
                  case mnesia:read(?TABLE, Key, write) of
                      [#stanzagate_grid{value = Value, epoch = Said}]
                        when Value =:= active; element(1, Value) =:= active ->
                          mnesia:delete({?TABLE, Key}),
                          Epoch = max(0, min(epoch(Host), Said - 1)),
                          mnesia:write(#stanzagate_grid{key = {epoch, Host}, value = Epoch, epoch = Epoch});
                      _ -> ok
                  end
          end),
    ok = mod_stanzagate_grid_stored:write_out().
