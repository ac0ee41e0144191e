%%% The sessions that have logged out at the controller, until they log in again or end.
%%%
%%% Written by the guard's process, and by a client's own when it binds a resource anew; read by every sender. The table
%%% outlives the guard's process.
-module(mod_stanzagate_grid_quiet).

-export([delete/1, forget/2, is_quiet/2, new/0, tell/4]).
-export_type([quiet/0]).

-include("xmpp.hrl").

-opaque quiet() :: ets:tid().

-spec new() -> quiet().
new() ->
    ets:new(mod_stanzagate_grid_quiet, [public, {heir, group_leader(), none}, {read_concurrency, true}]).

-spec delete(quiet()) -> ok.
delete(Quiet) ->
    _ = ets:info(Quiet, id) =/= undefined andalso ets:delete(Quiet),
    ok.

%% @doc What the controller says of a session; what is older than what it has said before is discarded.
-spec tell(quiet(), jid(), boolean(), non_neg_integer()) -> ok | discarded.
tell(Quiet, Jid, IsQuiet, Epoch) ->
    case ets:lookup(Quiet, key(Jid)) of
        [{_, _, Known}] when Known > Epoch -> discarded;
        _ ->
            ets:insert(Quiet, {key(Jid), IsQuiet, Epoch}),
            ok
    end.

-spec is_quiet(quiet(), jid()) -> boolean().
is_quiet(Quiet, Jid) ->
    case ets:lookup(Quiet, key(Jid)) of
        [{_, IsQuiet, _}] -> IsQuiet;
        [] -> false
    end.

%% @doc The session has ended, or another one of the same name has begun.
-spec forget(quiet(), jid()) -> ok.
forget(Quiet, Jid) ->
    ets:delete(Quiet, key(Jid)),
    ok.

key(#jid{luser = User, lresource = Resource}) -> {User, Resource}.
