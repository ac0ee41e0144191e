%%% The process of the guard on a host: senders tell it what waits, the component answers it, clients come and go.
%%%
%%% What senders tell is put aside until nothing else is to be done, and then turns go round among the requesters: an
%%% order to forget decisions, an answer of the component and somebody's first request are never behind a flood.
%%%
%%% Whatever fails in here, everything that waits is answered, the decisions are forgotten, and the process goes on.
-module(mod_stanzagate_server).
-behaviour(gen_server).

-export([ask/4, attached/2, bypass/2, flush/2, look_after/1, reload/2, session/2, sessions/2, start/1, status/1, stop/1,
         waits/2]).
-export([code_change/3, handle_call/3, handle_cast/2, handle_continue/2, handle_info/2, init/1, start_link/1,
         terminate/2]).
-export_type([figures/0]).

-include("xmpp.hrl").
-include("logger.hrl").
-include("ejabberd_router.hrl").

-define(MINUTE, 60000).
-define(PAUSE, 2000).    % milliseconds before a process that has failed is started again

-type guard() :: mod_stanzagate_guard:guard().
-type pair() :: mod_stanzagate_waiting:pair().
-type figures() :: #{epoch | checks | sessions | seq | bypass_left := non_neg_integer()}.

-type sent() :: {waits, pair()} | {ask, pair(), jid(), jid()}.

-record(state, {decisions :: mod_stanzagate_decisions:decisions(),
                streams = #{} :: #{reference() => pid()},    % of the component, by their monitors
                aside = #{} :: #{sent() => []},    % what senders have told,
                turns = mod_stanzagate_turns:new() :: mod_stanzagate_turns:turns(),    % and in which order it is looked at
                book = mod_stanzagate_sessions:new() :: mod_stanzagate_sessions:book(),
                bypass = 0 :: non_neg_integer(),    % minutes that are left of it
                minute :: reference() | undefined}).

%%% For everybody

-spec start(binary()) -> {ok, pid()} | {error, term()}.
start(Host) ->
    Child = #{id => name(Host), start => {?MODULE, start_link, [Host]}, restart => transient,
              shutdown => ?MINUTE, type => worker, modules => [?MODULE]},
    supervisor:start_child(ejabberd_gen_mod_sup, Child).

-spec start_link(binary()) -> {ok, pid()} | {error, term()}.
start_link(Host) ->
    gen_server:start_link({local, name(Host)}, ?MODULE, Host, []).

-spec stop(binary()) -> ok | {error, term()}.
stop(Host) ->
    gen_mod:stop_child(name(Host)).

name(Host) ->
    gen_mod:get_module_proc(Host, mod_stanzagate).

%% @doc Something of the pair has been added to what waits.
-spec waits(guard(), pair()) -> ok.
waits(Guard, Pair) ->
    tell(Guard, {waits, Pair}).

%% @doc Have the component asked about a pair; nobody waits for it.
-spec ask(guard(), pair(), jid(), jid()) -> ok.
ask(#{asking := Asking} = Guard, Pair, From, To) ->
    _ = mod_stanzagate_checks:claim(Asking, Pair) =:= new andalso tell(Guard, {ask, Pair, From, To}),
    ok.

%% @doc Something failed in a sender's process: it may be that the tables are gone.
-spec look_after(guard()) -> ok.
look_after(Guard) ->
    tell(Guard, look_after).

%% @doc The component has attached by this stream. When this returns it can be asked, if the guard is not too busy; if
%% there is none at the moment, the next one finds the stream.
-spec attached(binary(), pid()) -> ok | failed.
attached(Host, Stream) ->
    try
        gen_server:call(name(Host), {attached, Stream})
    catch
        exit:_ -> ok
    end.

-spec session(binary(), mod_stanzagate_sessions:session()) -> ok.
session(Host, Session) ->
    gen_server:cast(name(Host), {session, Session}).

%% @doc Answer the component's question for all sessions, in order with the events.
-spec sessions(guard(), iq()) -> ok.
sessions(Guard, IQ) ->
    tell(Guard, {sessions, IQ}).

tell(#{host := Host}, Message) ->
    gen_server:cast(name(Host), Message).

%% @doc Forget decisions, as mod_stanzagate_policy:flush/2 reads it. They are gone when this returns.
-spec flush(guard(), tuple()) -> ok.
flush(#{host := Host}, What) ->
    gen_server:call(name(Host), {flush, What}).

-spec reload(binary(), gen_mod:opts()) -> ok.
reload(Host, Options) ->
    gen_server:call(name(Host), {reload, Options}).

%% @doc Let everything through for so many minutes; 0 ends it.
-spec bypass(binary(), non_neg_integer()) -> ok.
bypass(Host, Minutes) ->
    gen_server:call(name(Host), {bypass, Minutes}).

%% @doc What only this process knows: the epoch, how many checks, sessions and events there are, and minutes of bypass.
-spec status(binary()) -> figures().
status(Host) ->
    gen_server:call(name(Host), status).

%%% The process

init(Host) ->
    process_flag(trap_exit, true),
    {ok, Host, {continue, set_up}}.    % what fails there ends this process alone, after the pause of terminate/2

handle_continue(set_up, Host) ->
    Options = gen_mod:get_module_opts(Host, mod_stanzagate),    % those of now, whenever it was started first
    State = #state{decisions = mod_stanzagate_decisions:new(Host, Options)},
    Present = lists:foldl(fun begun/2, State, mod_stanzagate_sessions:present(Host)),
    {noreply, mode_told(find_streams(Present))}.

handle_call(status, _, State) ->
    {reply, figures(State), State, patience(State)};
handle_call(Request, _, State) ->
    {Result, Next} = protected(fun() -> called(Request, State) end, State),
    {reply, Result, Next, patience(Next)}.

handle_cast(Message, State) ->
    {_, Next} = protected(fun() -> told(Message, State) end, State),
    {noreply, Next, patience(Next)}.

handle_info(Message, State) ->
    {_, Next} = protected(fun() -> noticed(Message, State) end, State),
    {noreply, Next, patience(Next)}.

%% A timeout of 0 is noticed as soon as there is no other message.
patience(#state{aside = Aside}) when map_size(Aside) =:= 0 -> infinity;
patience(_) -> 0.

%% One that fails time and again is not started so often that its supervisor, and ejabberd with it, gives up.
terminate(Reason, State) ->
    leave(State),
    case Reason of
        _ when Reason =:= normal; Reason =:= shutdown -> ok;
        {shutdown, _} -> ok;
        _ -> timer:sleep(?PAUSE)
    end.

leave(#state{} = State) ->
    try
        mod_stanzagate_release:settle_all(guard(State), fun(_) -> 'no-decision' end)
    catch
        Class:Reason:Stack -> mod_stanzagate_journal:failed(guard(State), {Class, Reason, Stack})
    end;
leave(_) ->
    ok.    % it was never set up

code_change(_, State, _) ->
    {ok, State}.

%% The sessions are kept after a failure: nobody may do anything because of them.
protected(Step, #state{decisions = Decisions, streams = Streams} = State) ->
    try
        {ok, Step()}
    catch
        Class:Reason:Stack ->
            mod_stanzagate_journal:failed(guard(State), {Class, Reason, Stack}),
            Alive = maps:filter(fun(_, Stream) -> is_process_alive(Stream) end, Streams),
            Repaired = mod_stanzagate_decisions:repaired(maps:values(Alive), Decisions),
            {failed, State#state{decisions = Repaired, streams = Alive, aside = #{}, turns = mod_stanzagate_turns:new()}}
    end.

called({flush, {Epoch, Requester, Device}}, #state{decisions = Decisions} = State) ->
    State#state{decisions = mod_stanzagate_decisions:flush(Epoch, Requester, Device, Decisions)};
called({attached, Stream}, State) ->
    attach(Stream, State);
called({bypass, Minutes}, State) ->
    bypassing(Minutes, State);
called({reload, Options}, State) ->
    reloaded(Options, State).

told({session, Session}, State) ->
    begun(Session, State);
told({sessions, IQ}, #state{book = Book} = State) ->
    ejabberd_router:route(xmpp:make_iq_result(IQ, mod_stanzagate_sessions:all(Book))),
    State;
told(look_after, State) ->
    true = mod_stanzagate_guard:sound(guard(State)),
    State;
told(Message, #state{aside = Aside} = State) when is_map_key(Message, Aside) ->
    State;
told(Message, #state{aside = Aside, turns = Turns} = State) ->
    {_, Longer} = mod_stanzagate_turns:add(mod_stanzagate_checks:requester(element(2, Message)), Message, Turns),
    State#state{aside = Aside#{Message => []}, turns = Longer}.

look({waits, Pair}, Decisions) ->
    mod_stanzagate_decisions:waits(Pair, Decisions);
look({ask, Pair, From, To}, Decisions) ->
    mod_stanzagate_decisions:ask(Pair, From, To, Decisions).

noticed({iq_reply, Answer, {Pair, Reference}}, #state{decisions = Decisions} = State) ->
    State#state{decisions = mod_stanzagate_decisions:answer(Pair, Reference, Answer, Decisions)};
noticed({timeout, Timer, {check, Pair}}, #state{decisions = Decisions} = State) ->
    State#state{decisions = mod_stanzagate_decisions:overdue(Pair, Timer, Decisions)};
noticed(timeout, #state{decisions = Decisions, aside = Aside, turns = Turns} = State) ->
    {Message, Others} = mod_stanzagate_turns:next(Turns),
    State#state{decisions = look(Message, Decisions), aside = maps:remove(Message, Aside), turns = Others};
noticed({timeout, Minute, minute}, #state{minute = Minute, bypass = Left} = State) ->
    bypassing(Left - 1, State);
noticed({'DOWN', Monitor, process, _, _}, #state{streams = Streams, book = Book} = State) ->
    case maps:take(Monitor, Streams) of
        {_, Others} -> detached(Others, State);
        error -> send_event(mod_stanzagate_sessions:down(Monitor, Book), State)
    end;
noticed(_, State) ->
    State.

guard(#state{decisions = Decisions}) ->
    mod_stanzagate_decisions:guard(Decisions).

figures(#state{decisions = Decisions, book = Book, bypass = Left}) ->
    Figures = mod_stanzagate_decisions:figures(Decisions),
    Figures#{seq => mod_stanzagate_sessions:sequence(Book), sessions => mod_stanzagate_sessions:count(Book),
             bypass_left => Left}.

%%% The component

%% The streams of a component that was there before.
find_streams(State) ->
    #{component := Component} = guard(State),
    Backend = ejabberd_router:get_backend(),
    {ok, Routes} = Backend:find_routes(Component),
    lists:foldl(fun attach/2, State, [Stream || #route{pid = Stream} <- Routes, is_pid(Stream)]).

attach(Stream, #state{streams = Streams, decisions = Decisions, book = Book} = State) ->
    case lists:member(Stream, maps:values(Streams)) of
        true -> State;
        false ->
            All = Streams#{monitor(process, Stream) => Stream},
            Connected = mod_stanzagate_decisions:connected(maps:values(All), Decisions),
            Attached = State#state{streams = All, decisions = Connected},
            %% straight into the new stream: the router might choose an old one, which may be half open
            Stream ! {route, message(mod_stanzagate_sessions:all(Book), Attached)},
            Attached
    end.

detached(Streams, #state{decisions = Decisions} = State) ->
    Disconnected = mod_stanzagate_decisions:disconnected(maps:values(Streams), Decisions),
    State#state{streams = Streams, decisions = Disconnected}.

begun(Session, #state{book = Book} = State) ->
    send_event(mod_stanzagate_sessions:up(Session, Book), State).

send_event({none, Book}, State) ->
    State#state{book = Book};
send_event({Event, Book}, State) ->
    send(Event, State),
    State#state{book = Book}.

send(Element, State) ->
    case mod_stanzagate_guard:attached(guard(State)) of
        true -> ejabberd_router:route(message(Element, State));
        false -> ok    % it is told of all when it comes
    end.

message(Element, State) ->
    #{host := Host, component := Component} = guard(State),
    #message{from = jid:make(Host), to = jid:make(Component), sub_els = [Element]}.

%% Tell the component the mode as soon as it may have changed: a short bypass would be over before it asks.
mode_told(State) ->
    send(mod_stanzagate_control:status_element(guard(State), figures(State)), State),
    State.

%%% The administrator

bypassing(Minutes, #state{decisions = Decisions, bypass = Before, minute = Timer} = State) ->
    #{host := Host} = guard(State),
    _ = is_reference(Timer) andalso erlang:cancel_timer(Timer),
    log_bypass(Host, Before, Minutes),
    Next = State#state{decisions = mod_stanzagate_decisions:change(#{bypass => Minutes > 0}, Decisions),
                       bypass = Minutes,
                       minute = case Minutes of
                                    0 -> undefined;
                                    _ -> erlang:start_timer(?MINUTE, self(), minute)
                                end},
    case (Before > 0) =:= (Minutes > 0) of
        true -> Next;
        false -> mode_told(Next)
    end.

log_bypass(_, 0, 0) -> ok;
log_bypass(Host, _, 0) -> ?WARNING_MSG("~ts: the bypass has ended: the policy is enforced again", [Host]);
log_bypass(Host, 0, Minutes) ->
    ?WARNING_MSG("~ts: bypass: everybody may wake every device for ~B minutes", [Host, Minutes]);
log_bypass(Host, _, Minutes) ->
    ?WARNING_MSG("~ts: bypass: everybody may wake every device; ~B minutes are left", [Host, Minutes]).

reloaded(Options, #state{decisions = Decisions, streams = Streams} = State) ->
    #{component := Before} = guard(State),
    Settings = mod_stanzagate_guard:settings(Options),
    Changed = State#state{decisions = mod_stanzagate_decisions:change(Settings, Decisions)},
    case guard(Changed) of
        #{component := Before} ->
            mode_told(Changed);
        _ ->
            _ = [demonitor(Monitor, [flush]) || Monitor <- maps:keys(Streams)],
            mode_told(find_streams(forget_decisions(detached(#{}, Changed))))
    end.

forget_decisions(#state{decisions = Decisions} = State) ->
    State#state{decisions = mod_stanzagate_decisions:connected([], Decisions)}.
