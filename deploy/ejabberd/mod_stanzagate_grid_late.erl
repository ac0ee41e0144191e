%%% What is stored for a node that comes back in that very moment is sent after it.
%%%
%%% ejabberd looks whether a node is there, and stores the event if not; a node that comes has its store read, emptied
%%% and sent. If it comes between the two, the event would wait in the store for the next time; and what is written
%%% while the store is being read and emptied, ejabberd deletes unread.
-module(mod_stanzagate_grid_late).

-export([stored/1]).

-include("xmpp.hrl").
-include("mod_offline.hrl").

%% @doc An event was stored by mod_offline, in Mnesia: in the process of whoever has sent it. When the node is there by
%% now, it is taken out again, if it is there, and sent. It comes twice when it had just been read.
-spec stored(message()) -> ok.
stored(#message{to = #jid{luser = User, lserver = Host}} = Message) ->
    case is_there(User, Host) of
        true ->
            {atomic, ok} = mnesia:transaction(fun() -> take({User, Host}, xmpp:encode(Message)) end),
            ejabberd_router:route(Message);
        false -> ok
    end.

%% As ejabberd decides whether a message goes to a client.
is_there(User, Host) ->
    lists:any(fun({Priority, _}) -> is_integer(Priority) andalso Priority >= 0 end,
              ejabberd_sm:get_user_present_resources(User, Host)).

%% Behind the node's own reading, which has the same lock.
take(Account, Element) ->
    case [Found || #offline_msg{packet = Packet} = Found <- mnesia:wread({offline_msg, Account}), Packet =:= Element] of
        [Found | _] -> mnesia:delete_object(Found);
        [] -> ok
    end.
