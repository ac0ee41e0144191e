%%% When ejabberd is stopped, what its clients have not acknowledged is stored before anything is taken down.
%%%
%%% ejabberd by itself tells the processes of its clients to end and takes away, at the same time, the hooks by which
%%% they would store it; others go on sending to them meanwhile. Which of it is lost is chance. So this comes before:
%%%
%%%     nobody connects any more           the ports are closed
%%%     nobody publishes any more          what comes has no answer: whoever has published does so again
%%%     everybody has come to that         what was published, and has an answer, is with its receivers' processes
%%%     everybody leaves                   each process stores what is left, as when a connection is lost
%%%
%%% Those that take too long, such as clients that do not read, ejabberd ends in its own way.
-module(mod_stanzagate_grid_leaving).

-export([asked/2, is_time/0, leave/0, stay/0]).

-include("xmpp.hrl").
-include("logger.hrl").
-include("ejabberd_sm.hrl").

-define(PATIENCE, 5000).    % milliseconds for all of it
-define(READY, 2000).    % of these for a client that does not read: the others have time to leave after that

%% @doc ejabberd runs.
-spec stay() -> ok.
stay() ->
    _ = persistent_term:erase(?MODULE),
    ok.

%% @doc Whether it is being stopped.
-spec is_time() -> boolean().
is_time() ->
    persistent_term:get(?MODULE, false).

%% @doc It is being stopped: the global hook ejabberd_stopping.
-spec leave() -> ok.
leave() ->
    persistent_term:put(?MODULE, true),
    _ = [ejabberd_listener:delete_listener(Port, Module) || {Port, Module, _} <- ejabberd_option:listen()],
    leave(now_and(?PATIENCE)).

%% Again, as long as somebody is there: who was about to bind a resource or to resume a session may still have done so.
leave(Until) ->
    case [{monitor(process, Process), Process} || Process <- present()] of
        [] -> ok;
        Present ->
            _ = [Process ! {stanzagate, {ready, self(), Monitor}} || {Monitor, Process} <- Present],
            _ = ready(Present, min(Until, now_and(?READY))),
            _ = [leave_now(Process) || {_, Process} <- Present],
            case gone(Present, Until) of
                true -> leave(Until);
                false ->
                    ?WARNING_MSG("Clients have not left within ~B ms; what they have not acknowledged may be lost",
                                 [?PATIENCE])
            end
    end.

present() ->
    [Process || #session{sid = {_, Process}, usr = {_, Host, _}} <- ejabberd_sm:dirty_get_my_sessions_list(),
                gen_mod:is_loaded(Host, mod_stanzagate_grid), is_process_alive(Process)].

leave_now(Process) ->
    ejabberd_c2s:send(Process, xmpp:serr_system_shutdown()),
    ejabberd_c2s:stop_async(Process).

%% @doc A client's process has come to where nothing is published any more: the hook c2s_handle_info.
-spec asked(ejabberd_c2s:state(), term()) -> ejabberd_c2s:state() | {stop, ejabberd_c2s:state()}.
asked(State, {stanzagate, {ready, Who, Monitor}}) ->
    Who ! {ready, Monitor},
    {stop, State};
asked(State, _) ->
    State.

%% Those that have ended meanwhile are ready, too; gone/2 reads that once more.
ready(Present, Until) ->
    lists:all(fun({Monitor, _}) ->
                      receive
                          {ready, Monitor} -> true;
                          {'DOWN', Monitor, _, _, _} = Down ->
                              self() ! Down,
                              true
                      after left(Until) -> false
                      end
              end, Present).

gone(Present, Until) ->
    lists:all(fun({Monitor, _}) ->
                      receive
                          {'DOWN', Monitor, _, _, _} -> true
                      after left(Until) -> false
                      end
              end, Present).

now_and(Milliseconds) ->
    erlang:monotonic_time(millisecond) + Milliseconds.

left(Until) ->
    max(0, Until - now_and(0)).
