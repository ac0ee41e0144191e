%%% Accounts whose password is kept by another hash than the one of their host.
%%%
%%% ejabberd keeps one hash of a password, and offers SCRAM with the host's alone (auth_scram_hash). An account that was
%%% made when the host had another one cannot log in by its password. Hosts that keep passwords as they are offer all.
-module(mod_stanzagate_grid_passwords).

-export([warn/1]).

-define(SHOWN, 20).

-include("logger.hrl").
-include("scram.hrl").

%% @doc Say in the log whose password must be set again, as soon as the accounts have been looked at.
-spec warn(binary()) -> ok.
warn(Host) ->
    case ejabberd_auth:store_type(Host) of
        scram ->
            _ = spawn(fun() -> tell(Host, outdated(Host)) end),
            ok;
        _ ->
            ok
    end.

outdated(Host) ->
    Wanted = ejabberd_option:auth_scram_hash(Host),
    [Name || {Name, Server} <- ejabberd_auth:get_users(Host),
             hash(ejabberd_auth:get_password(Name, Server), Wanted) =/= Wanted].

hash(#scram{hash = Hash}, _) -> Hash;
hash(_, Wanted) -> Wanted.

tell(_, []) ->
    ok;
tell(Host, Names) ->
    {First, More} = lists:split(min(?SHOWN, length(Names)), lists:sort(Names)),
    Rest = case More of
               [] -> "";
               _ -> io_lib:format(" and ~b more", [length(More)])
           end,
    ?WARNING_MSG("These accounts of ~ts (~b) cannot log in by password until it is set again, because it was hashed "
                 "before auth_scram_hash was changed: ~ts~ts", [Host, length(Names), lists:join(", ", First), Rest]).
