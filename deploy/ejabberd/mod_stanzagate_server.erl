%%% The process of the guard on a host: it asks the component, keeps the decisions, and settles what waits for them.
%%%
%%% Whatever fails in here, everything that waits is answered, the decisions are forgotten, and the process goes on.
-module(mod_stanzagate_server).
-behaviour(gen_server).

-export([ask/4, attached/2, bypass/2, flush/2, look_after/1, reload/2, session/2, sessions/2, start/2, status/1, stop/1,
         waits/2]).
-export([code_change/3, handle_call/3, handle_cast/2, handle_info/2, init/1, start_link/2, terminate/2]).

-include("xmpp.hrl").
-include("logger.hrl").
-include("ejabberd_router.hrl").

-define(PATIENCE, 10000).    % milliseconds: nobody waits longer, however many others of the pair are asked about first
-define(MINUTE, 60000).

-type guard() :: mod_stanzagate_guard:guard().
-type pair() :: mod_stanzagate_waiting:pair().

-record(state, {guard :: guard(),
                known = 0 :: non_neg_integer(),    % the highest epoch that the component has named
                streams = #{} :: #{reference() => pid()},
                checks :: mod_stanzagate_checks:checks(),
                book = mod_stanzagate_sessions:new() :: mod_stanzagate_sessions:book(),
                bypass = 0 :: non_neg_integer(),    % minutes that are left of it
                minute :: reference() | undefined}).

%%% For everybody

-spec start(binary(), gen_mod:opts()) -> {ok, pid()} | {error, term()}.
start(Host, Options) ->
    Child = #{id => name(Host), start => {?MODULE, start_link, [Host, Options]}, restart => transient,
              shutdown => ?MINUTE, type => worker, modules => [?MODULE]},
    supervisor:start_child(ejabberd_gen_mod_sup, Child).

-spec start_link(binary(), gen_mod:opts()) -> {ok, pid()} | {error, term()}.
start_link(Host, Options) ->
    gen_server:start_link({local, name(Host)}, ?MODULE, [Host, Options], []).

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
    _ = mod_stanzagate_checks:mark(Asking, Pair) andalso tell(Guard, {ask, Pair, From, To}),
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

%% @doc What only this process knows: the epoch, and how many checks, sessions and events there are.
-spec status(binary()) -> #{atom() => non_neg_integer()}.
status(Host) ->
    gen_server:call(name(Host), status).

%%% The process

init([Host, Options]) ->
    process_flag(trap_exit, true),
    Asking = mod_stanzagate_checks:table(),
    Guard = mod_stanzagate_guard:make(Host, Options, #{cache => mod_stanzagate_cache:new(), asking => Asking}),
    mod_stanzagate_release:settle_all(Guard, fun(_) -> crashed end),    % what an earlier process has left
    State = take_over(#state{guard = Guard, checks = mod_stanzagate_checks:new(Asking)}),
    {ok, find_streams(State)}.

take_over(#state{guard = #{host := Host}} = State) ->
    lists:foldl(fun begun/2, State, mod_stanzagate_sessions:present(Host)).

%% The streams of a component that was there before.
find_streams(#state{guard = #{component := Component}} = State) ->
    Backend = ejabberd_router:get_backend(),
    {ok, Routes} = Backend:find_routes(Component),
    lists:foldl(fun attach/2, State, [Stream || #route{pid = Stream} <- Routes, is_pid(Stream)]).

handle_call(status, _, #state{known = Known, checks = Checks, book = Book} = State) ->
    {reply, #{epoch => Known, checks => mod_stanzagate_checks:count(Checks),
              seq => mod_stanzagate_sessions:sequence(Book), sessions => mod_stanzagate_sessions:count(Book)}, State};
handle_call(Request, _, State) ->
    {Result, Next} = protected(fun() -> called(Request, State) end, State),
    {reply, Result, Next}.

handle_cast(Message, State) ->
    {_, Next} = protected(fun() -> told(Message, State) end, State),
    {noreply, Next}.

handle_info(Message, State) ->
    {_, Next} = protected(fun() -> noticed(Message, State) end, State),
    {noreply, Next}.

terminate(_, #state{guard = Guard}) ->
    mod_stanzagate_release:settle_all(Guard, fun(_) -> 'no-decision' end).

code_change(_, State, _) ->
    {ok, State}.

protected(Step, State) ->
    try
        {ok, Step()}
    catch
        Class:Reason:Stack -> {failed, recover({Class, Reason, Stack}, State)}
    end.

%% Nothing that was known before a failure is trusted; the sessions are, they are nobody's right.
recover(Failure, #state{guard = #{cache := Cache, asking := Marks} = Guard, streams = Streams} = State) ->
    mod_stanzagate_guard:failed(Guard, Failure),
    mod_stanzagate_cache:delete(Cache),
    _ = ets:info(Marks, id) =:= undefined orelse ets:delete(Marks),
    Asking = mod_stanzagate_checks:table(),
    Alive = maps:filter(fun(_, Stream) -> is_process_alive(Stream) end, Streams),
    Repaired = mod_stanzagate_guard:repair(Guard, #{cache => mod_stanzagate_cache:new(), asking => Asking,
                                                    streams => maps:values(Alive)}),
    mod_stanzagate_release:settle_all(Repaired, fun(_) -> crashed end),
    State#state{guard = Repaired, streams = Alive, checks = mod_stanzagate_checks:new(Asking)}.

called({flush, {Epoch, Requester, Device}}, #state{guard = #{cache := Cache}, known = Known} = State) ->
    mod_stanzagate_cache:flush(Cache, Epoch, Requester, Device),
    State#state{known = max(Known, Epoch)};
called({attached, Stream}, State) ->
    attach(Stream, State);
called({bypass, Minutes}, State) ->
    bypassing(Minutes, State);
called({reload, Options}, State) ->
    reloaded(Options, State).

told({waits, Pair}, State) ->
    advance(Pair, State);
told({ask, Pair, From, To}, #state{guard = Guard, checks = Checks} = State) ->
    case mod_stanzagate_checks:open(Pair, Checks) orelse not mod_stanzagate_guard:attached(Guard) of
        true -> State;
        false ->
            {_, Next} = mod_stanzagate_checks:start(Guard, Pair, From, To, Checks),
            State#state{checks = Next}
    end;
told({session, Session}, State) ->
    begun(Session, State);
told({sessions, IQ}, #state{book = Book} = State) ->
    ejabberd_router:route(xmpp:make_iq_result(IQ, mod_stanzagate_sessions:all(Book))),
    State;
told(look_after, #state{guard = Guard} = State) ->
    true = mod_stanzagate_guard:sound(Guard),
    State.

noticed({iq_reply, Answer, {Pair, Reference}}, State) ->
    for_check(Pair, Reference, fun(Parties) -> answered(Answer, Pair, Parties, State) end, State);
noticed({timeout, Timer, {check, Pair}}, State) ->
    for_check(Pair, Timer, fun(_) -> undecided(Pair, State) end, State);
noticed({timeout, Minute, minute}, #state{minute = Minute, bypass = Left} = State) ->
    bypassing(Left - 1, State);
noticed({'DOWN', Monitor, process, _, _}, #state{streams = Streams, book = Book} = State) ->
    case maps:take(Monitor, Streams) of
        {_, Others} -> detached(State#state{streams = Others});
        error -> send_event(mod_stanzagate_sessions:down(Monitor, Book), State)
    end;
noticed(_, State) ->
    State.

for_check(Pair, Reference, Step, #state{checks = Checks} = State) ->
    case mod_stanzagate_checks:find(Pair, Reference, Checks) of
        none -> State;    % it has been settled in another way
        Parties -> Step(Parties)
    end.

%%% Decisions

answered(Answer, Pair, {From, To}, #state{guard = #{component := Component} = Guard, known = Known} = State) ->
    case mod_stanzagate_policy:decision(Component, Answer) of
        {ok, #{epoch := Epoch} = Decision} when Epoch >= Known -> accept(Decision, Pair, From, To, State);
        none -> undecided(Pair, State);
        Disbelieved ->
            mod_stanzagate_guard:count(Guard, discarded),
            disbelieve(Disbelieved, Pair, State)
    end.

disbelieve(malformed, Pair, #state{guard = Guard} = State) ->
    mod_stanzagate_guard:warn(Guard, disbelieved, "the component sent a decision that is malformed", []),
    undecided(Pair, State);
disbelieve(_, Pair, #state{guard = Guard, checks = Checks} = State) ->
    case mod_stanzagate_checks:again(Guard, Pair, Checks) of
        {ok, Next} -> State#state{checks = Next};
        enough -> undecided(Pair, State)
    end.

accept(#{effect := Effect, epoch := Epoch, scope := Scope} = Decision, Pair, From, To, State) ->
    #state{guard = #{cache := Cache, cache_size := Limit} = Guard, checks = Checks} = State,
    mod_stanzagate_guard:count(Guard, case Effect of allow -> allowed; deny -> denied end),
    Evicted = mod_stanzagate_cache:store(Cache, Limit, From, To, Decision),
    mod_stanzagate_guard:count(Guard, evicted, Evicted),
    log_denial(Effect, From, To, Guard),
    mod_stanzagate_release:settle(covered(Scope, From, mod_stanzagate_release:of_pair(Guard, Pair)), fun(_) -> Effect end, Guard),
    advance(Pair, State#state{known = Epoch, checks = mod_stanzagate_checks:finish(Pair, Checks)}).

log_denial(deny, From, To, #{mode := 'log-only'} = Guard) ->
    mod_stanzagate_guard:warn(Guard, refused, "log-only: would refuse ~ts to ~ts: forbidden",
                              [jid:encode(From), jid:encode(To)]);
log_denial(_, _, _, _) ->
    ok.

%% Those at the head of the queue that a decision is about; what stands behind another resource keeps its place.
covered(bare, _, Rows) -> Rows;
covered(full, #jid{lresource = Resource}, Rows) ->
    lists:takewhile(fun(Row) ->
                            {#jid{lresource = Other}, _} = mod_stanzagate_waiting:addresses(Row),
                            Other =:= Resource
                    end, Rows).

%% There is no decision to be had: what is in the cache is used however old, as long as that is allowed.
undecided(Pair, #state{guard = Guard, checks = Checks} = State) ->
    mod_stanzagate_release:settle(mod_stanzagate_release:of_pair(Guard, Pair), fun(Row) -> mod_stanzagate_release:cached(Guard, Row, 'no-decision') end, Guard),
    State#state{checks = mod_stanzagate_checks:finish(Pair, Checks)}.

%%% What waits

%% Settle what can be settled from the head of a pair's queue, and ask about the first that cannot.
advance(Pair, #state{guard = Guard, checks = Checks} = State) ->
    case mod_stanzagate_checks:open(Pair, Checks) of
        true -> State;
        false -> advance(mod_stanzagate_release:of_pair(Guard, Pair), Pair, State)
    end.

advance([], _, State) ->
    State;
advance([Row | Rows], Pair, #state{guard = #{cache := Cache} = Guard, checks = Checks} = State) ->
    {From, To} = mod_stanzagate_waiting:addresses(Row),
    case {mod_stanzagate_guard:mode(Guard), mod_stanzagate_cache:find(Cache, From, To)} of
        {enforce, {Age, Effect}} when Age =/= stale ->
            mod_stanzagate_guard:count(Guard, hits),
            mod_stanzagate_release:settle([Row], fun(_) -> Effect end, Guard),
            advance(Rows, Pair, State);
        {enforce, _} ->
            case ask_about(Row, From, To, Pair, State) of
                {ok, Asked} -> State#state{checks = Asked};
                {no, Reason} ->
                    mod_stanzagate_release:settle([Row], fun(_) -> mod_stanzagate_release:cached(Guard, Row, Reason) end, Guard),
                    advance(Rows, Pair, State#state{checks = Checks})
            end;
        _ ->
            mod_stanzagate_release:settle([Row], fun(_) -> bypass end, Guard),
            advance(Rows, Pair, State)
    end.

ask_about(Row, From, To, Pair, #state{guard = #{component := Component} = Guard, checks = Checks}) ->
    Patient = mod_stanzagate_waiting:waited(Row) < ?PATIENCE,
    case mod_stanzagate_guard:attached(Guard) andalso ejabberd_router:is_my_route(Component) of
        false -> {no, 'not-attached'};
        true when not Patient -> {no, 'no-decision'};
        true ->
            case mod_stanzagate_checks:start(Guard, Pair, From, To, Checks) of
                {ok, Asked} -> {ok, Asked};
                {overload, _} -> {no, overload}
            end
    end.

%%% The component

attach(Stream, #state{streams = Streams, guard = #{cache := Cache} = Guard} = State) ->
    case lists:member(Stream, maps:values(Streams)) of
        true -> State;
        false ->
            mod_stanzagate_cache:clear(Cache),
            Monitored = Streams#{monitor(process, Stream) => Stream},
            Changed = mod_stanzagate_guard:change(Guard, #{streams => maps:values(Monitored)}),
            Attached = State#state{streams = Monitored, guard = Changed, known = 0},
            send(mod_stanzagate_sessions:all(Attached#state.book), Attached),
            ask_anew(Attached)
    end.

%% What was asked of an earlier stream is asked of this one.
ask_anew(#state{checks = Checks} = State) ->
    {Pairs, None} = mod_stanzagate_checks:finish_all(Checks),
    lists:foldl(fun advance/2, State#state{checks = None}, Pairs).

detached(#state{streams = Streams, guard = Guard} = State) ->
    Changed = mod_stanzagate_guard:change(Guard, #{streams => maps:values(Streams)}),
    case mod_stanzagate_guard:attached(Changed) of
        true -> ask_anew(State#state{guard = Changed});
        false ->
            {_, None} = mod_stanzagate_checks:finish_all(State#state.checks),
            Find = fun(Row) -> mod_stanzagate_release:cached(Changed, Row, 'not-attached') end,
            mod_stanzagate_release:settle_all(Changed, Find),
            State#state{guard = Changed, checks = None}
    end.

begun(Session, #state{book = Book} = State) ->
    send_event(mod_stanzagate_sessions:up(Session, Book), State).

send_event({none, Book}, State) ->
    State#state{book = Book};
send_event({Event, Book}, State) ->
    send(Event, State),
    State#state{book = Book}.

send(Element, #state{guard = #{host := Host, component := Component} = Guard}) ->
    case mod_stanzagate_guard:attached(Guard) of
        true ->
            ejabberd_router:route(#message{from = jid:make(Host), to = jid:make(Component), sub_els = [Element]});
        false -> ok    % it will be told of all when it comes
    end.

%%% The administrator

bypassing(Minutes, #state{guard = #{host := Host} = Guard, bypass = Before, minute = Timer} = State) ->
    _ = is_reference(Timer) andalso erlang:cancel_timer(Timer),
    Changed = mod_stanzagate_guard:change(Guard, #{bypass => Minutes > 0}),
    log_bypass(Host, Before, Minutes),
    Next = State#state{guard = Changed, bypass = Minutes, minute = undefined},
    case Minutes of
        0 -> Next;
        _ ->
            mod_stanzagate_release:settle_all(Changed, fun(_) -> bypass end),
            Next#state{minute = erlang:start_timer(?MINUTE, self(), minute)}
    end.

log_bypass(_, 0, 0) -> ok;
log_bypass(Host, _, 0) -> ?WARNING_MSG("~ts: the bypass has ended: the policy is enforced again", [Host]);
log_bypass(Host, 0, Minutes) ->
    ?WARNING_MSG("~ts: bypass: everybody may wake every device for ~B minutes", [Host, Minutes]);
log_bypass(Host, _, Minutes) ->
    ?WARNING_MSG("~ts: bypass: everybody may wake every device; ~B minutes are left", [Host, Minutes]).

reloaded(Options, #state{guard = #{component := Before, cache := Cache} = Guard} = State) ->
    Changed = mod_stanzagate_guard:change(Guard, {options, Options}),
    #{component := Component, cache_size := Limit} = Changed,
    mod_stanzagate_guard:count(Changed, evicted, mod_stanzagate_cache:shrink(Cache, Limit)),
    case mod_stanzagate_guard:mode(Changed) of
        enforce -> ok;
        _ -> mod_stanzagate_release:settle_all(Changed, fun(_) -> bypass end)
    end,
    case Component of
        Before -> State#state{guard = Changed};
        _ -> another_component(State#state{guard = Changed})
    end.

another_component(#state{streams = Streams, guard = #{cache := Cache}} = State) ->
    _ = [demonitor(Monitor, [flush]) || Monitor <- maps:keys(Streams)],
    mod_stanzagate_cache:clear(Cache),
    find_streams(detached(State#state{streams = #{}, known = 0})).
