%%% What was stored for nodes that are away is on the disk before the publisher is told that its item was published.
%%%
%%% mod_offline stores in a table of Mnesia that is kept on the disk alone, and yet its last seconds are in memory: in
%%% the buffer of the table and in that of the transaction log. A server that is killed loses both. The log is read
%%% again when Mnesia starts, so it is enough to write that out, unless it was worked off and removed in between, as it
%%% is after every 1,000 writes: therefore the buffers of all such tables are written, too, and their files are forced
%%% onto the disk from time to time.
%%%
%%%     an event is stored for somebody    who has sent it makes a note for itself, and this process is told
%%%     the broker answers somebody        is there a note? then the answer goes to this process, which writes
%%%                                        everything out, once for all that have come meanwhile, and then sends it
%%%
%%% What else is written, such as the items that a topic keeps, is written out within a quarter of a second: nobody
%%% waits for that, but a killed server loses little of it.
%%%
%%% Nothing waits but those answers. When the disk takes too long, they are sent as they would be without this module;
%%% so they are when mod_offline has another database, which looks after itself.
-module(mod_stanzagate_grid_stored).
-behaviour(gen_server).

-export([answering/2, start/1, stop/1, stored/1, write_out/0]).
-export([code_change/3, handle_call/3, handle_cast/2, handle_info/2, init/1, start_link/1, terminate/2]).

-include("xmpp.hrl").
-include("logger.hrl").

-define(LOOK, 250).    % milliseconds between looks whether anything was written to the database
-define(PAUSE, 5).    % milliseconds in which more may be stored, while no answer waits
-define(PATIENCE, 500).    % milliseconds for writing; an answer waits for two writings at most
-define(SECOND, 1000).    % between two times that the files are forced onto the disk, or that writing fails
-define(MOST, 10000).    % answers that wait

-record(state, {waiting = [] :: [{integer(), iq()}],    % answers, and when something was stored last; the newest first
                count = 0 :: non_neg_integer(),    % of them
                wanted = nothing :: nothing | anything | stored,    % what has come since the last writing began
                writer :: {pid(), reference()} | undefined,
                began :: integer(),    % when the last writing did, as erlang:monotonic_time() has it
                stuck = false :: boolean(),    % writing takes too long, or fails
                writes = 0 :: non_neg_integer(),    % to the transaction log, at the last look
                force = rest :: rest | soon | due,    % the files of the tables
                pause :: reference() | undefined,
                watch :: reference() | undefined}).

%% @doc Start the process.
-spec start(binary()) -> {ok, pid()} | {error, term()}.
start(Host) ->
    Child = #{id => name(Host), start => {?MODULE, start_link, [Host]}, restart => transient, shutdown => ?SECOND,
              type => worker, modules => [?MODULE]},
    supervisor:start_child(ejabberd_gen_mod_sup, Child).

-spec start_link(binary()) -> {ok, pid()} | {error, term()}.
start_link(Host) ->
    gen_server:start_link({local, name(Host)}, ?MODULE, Host, []).

-spec stop(binary()) -> ok | {error, term()}.
stop(Host) ->
    gen_mod:stop_child(name(Host)).

name(Host) ->
    gen_mod:get_module_proc(Host, ?MODULE).

%% @doc A message was for an account without a session, and mod_offline has seen it: the hook offline_message_hook, in
%% the process of whoever has sent it.
-spec stored({atom(), message()}) -> {atom(), message()}.
stored({offlined, #message{from = #jid{lserver = From}, to = #jid{lserver = Host}} = Message} = Acc) ->
    case mod_stanzagate_grid_guard:place(From) =:= {broker, Host}
        andalso gen_mod:db_mod(Host, mod_offline) =:= mod_offline_mnesia of
        true ->
            put(?MODULE, erlang:monotonic_time()),
            gen_server:cast(name(Host), stored),
            mod_stanzagate_grid_late:stored(Message);
        false -> ok
    end,
    Acc;
stored(Acc) ->
    Acc.

%% @doc The broker answers somebody, in the process of whoever has asked: what of the answer goes on at once.
-spec answering(mod_stanzagate_grid_guard:guard(), iq()) -> iq() | drop.
answering(#{host := Host}, Answer) ->
    case {erase(?MODULE), whereis(name(Host))} of
        {Moment, Process} when is_integer(Moment), is_pid(Process) ->
            gen_server:cast(Process, {answer, Moment, Answer}),
            drop;
        _ -> Answer
    end.

%%% The process

init(_) ->
    process_flag(trap_exit, true),
    _ = erlang:start_timer(?LOOK, self(), look),
    {ok, #state{began = erlang:monotonic_time()}}.

handle_call(_, _, State) ->
    {reply, ok, State}.

handle_cast(stored, State) ->
    {noreply, go_on(State#state{wanted = stored})};
handle_cast({answer, _, Answer}, #state{stuck = Stuck, count = Count} = State) when Stuck; Count >= ?MOST ->
    send(Answer),
    {noreply, State};
handle_cast({answer, Moment, Answer}, #state{waiting = Waiting, count = Count, writer = Writer} = State) ->
    Next = State#state{waiting = [{Moment, Answer} | Waiting], count = Count + 1},
    {noreply, case {Writer, Moment < State#state.began} of
                  {undefined, true} -> written(Next);    % in time for the last writing
                  {undefined, false} -> write(Next);
                  _ -> Next
              end}.

handle_info({timeout, Timer, pause}, #state{pause = Timer} = State) ->
    {noreply, write(State#state{pause = undefined})};
handle_info({timeout, Timer, watch}, #state{watch = Timer} = State) ->
    {noreply, stuck("takes more than ~B ms", [?PATIENCE], State)};
handle_info({timeout, _, force}, State) ->
    {noreply, go_on(State#state{force = due})};
handle_info({timeout, _, look}, #state{writes = Before, wanted = Wanted} = State) ->
    _ = erlang:start_timer(?LOOK, self(), look),
    {noreply, case writes() of
                  Before -> State;
                  Now when Wanted =:= nothing -> go_on(State#state{writes = Now, wanted = anything});
                  Now -> State#state{writes = Now}    % is written anyway
              end};
handle_info({'DOWN', Monitor, process, Process, Reason}, #state{writer = {Process, Monitor}, watch = Watch} = State) ->
    _ = erlang:cancel_timer(Watch),
    Ended = State#state{writer = undefined, watch = undefined},
    {noreply, case Reason of
                  normal -> go_on(written(recovered(Ended)));
                  _ -> later(?SECOND, stuck("fails: ~p", [Reason], Ended))
              end};
handle_info(_, State) ->
    {noreply, State}.

terminate(_, #state{waiting = Waiting}) ->
    send_all(Waiting).

code_change(_, State, _) ->
    {ok, State}.

%%% Writing

%% What is to be written and is not being written.
go_on(#state{writer = undefined, waiting = [_ | _]} = State) -> write(State);
go_on(#state{writer = undefined, wanted = Wanted, force = Force} = State) when Wanted =/= nothing; Force =:= due ->
    later(?PAUSE, State);
go_on(State) -> State.

%% There are none while Mnesia is being stopped.
writes() ->
    try
        mnesia:system_info(transaction_log_writes)
    catch
        _:_ -> 0
    end.

later(Time, #state{pause = undefined} = State) ->
    State#state{pause = erlang:start_timer(Time, self(), pause)};
later(_, State) ->
    State.

%% In a process of its own: whatever the disk does, this one can send answers.
write(#state{writer = undefined, wanted = Wanted, force = Force, pause = Pause} = State) ->
    _ = Pause =/= undefined andalso erlang:cancel_timer(Pause),
    Began = erlang:monotonic_time(),
    Writer = spawn_monitor(fun() -> write_out(Force =:= due) end),
    State#state{writer = Writer, began = Began, wanted = nothing, force = forcing(Wanted, Force),
                pause = undefined, watch = erlang:start_timer(?PATIENCE, self(), watch)};
write(State) ->
    State.

forcing(stored, Force) when Force =/= soon ->
    _ = erlang:start_timer(?SECOND, self(), force),
    soon;
forcing(_, due) -> rest;
forcing(_, Force) -> Force.

write_out(Force) ->
    ok = write_out(),
    _ = Force andalso [ok = dets:sync(Table) || Table <- on_disk()],
    ok.

%% @doc Have everything on the disk that was written before this is called: it outlives the server then, and the
%% transaction log a power failure as well. To ask for the size of a table makes it write its buffer.
-spec write_out() -> ok.
write_out() ->
    ok = mnesia:sync_log(),
    _ = [dets:info(Table, size) || Table <- on_disk()],
    ok.

on_disk() ->
    [Table || Table <- mnesia:system_info(local_tables),
              mnesia:table_info(Table, storage_type) =:= disc_only_copies].

%% Those answers are sent for which everything was stored before the last writing began.
written(#state{waiting = Waiting, began = Began} = State) ->
    {Open, Done} = lists:partition(fun({Moment, _}) -> Moment >= Began end, Waiting),
    send_all(Done),
    State#state{waiting = Open, count = length(Open)}.

stuck(_, _, #state{stuck = true} = State) ->
    State;
stuck(What, Details, #state{waiting = Waiting} = State) ->
    ?WARNING_MSG("Writing stored events to the disk " ++ What ++ "; publishers are answered without it", Details),
    send_all(Waiting),
    State#state{stuck = true, waiting = [], count = 0}.

recovered(#state{stuck = true} = State) ->
    ?INFO_MSG("Stored events are written to the disk again before publishers are answered", []),
    State#state{stuck = false};
recovered(State) ->
    State.

send_all(Waiting) ->
    lists:foreach(fun({_, Answer}) -> send(Answer) end, lists:reverse(Waiting)).

%% Everything has looked at it before: it has the mark of our own.
send(Answer) ->
    try
        ejabberd_router:route(xmpp:put_meta(Answer, stanzagate_grid, answer))
    catch
        _:_ -> ok
    end.
