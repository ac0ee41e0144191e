%%% The process of the guard on a grid host: it writes down what the controller says, knows who is connected, and answers
%%% those whom the controller does not.
%%%
%%% Whatever fails in here, the process goes on; the hooks read tables of their own, and refuse when those are gone.
-module(mod_stanzagate_grid_server).
-behaviour(gen_server).

-export([attached/2, bypass/2, look/1, obey/2, reload/2, removed/2, session/2, sessions/3, start/1, status/1, stop/1]).
-export([code_change/3, handle_call/3, handle_cast/2, handle_continue/2, handle_info/2, init/1, start_link/1,
         terminate/2]).
-export_type([figures/0]).

-include("xmpp.hrl").
-include("logger.hrl").
-include("ejabberd_router.hrl").

-define(MINUTE, 60000).
-define(SECOND, 1000).
-define(PAUSE, 2000).    % milliseconds before a process that has failed is started again

-type guard() :: mod_stanzagate_grid_guard:guard().
-type figures() :: #{sessions | seq | bypass_left := non_neg_integer()}.

-record(state, {guard :: guard(),
                streams = [] :: [{reference(), pid()}],    % of the component, the newest first, with their monitors
                book = mod_stanzagate_sessions:new() :: mod_stanzagate_sessions:book(),
                bypass = 0 :: non_neg_integer(),    % minutes that are left of it
                minute :: reference() | undefined}).

%%% For everybody

%% @doc Start the process. When this returns it is ready, unless it has failed; then it is started again.
-spec start(binary()) -> {ok, pid()} | {error, term()}.
start(Host) ->
    Child = #{id => name(Host), start => {?MODULE, start_link, [Host]}, restart => transient,
              shutdown => ?MINUTE, type => worker, modules => [?MODULE]},
    Started = supervisor:start_child(ejabberd_gen_mod_sup, Child),
    try
        #{} = status(Host)
    catch
        _:_ -> ok
    end,
    Started.

-spec start_link(binary()) -> {ok, pid()} | {error, term()}.
start_link(Host) ->
    gen_server:start_link({local, name(Host)}, ?MODULE, Host, []).

-spec stop(binary()) -> ok | {error, term()}.
stop(Host) ->
    gen_mod:stop_child(name(Host)).

name(Host) ->
    gen_mod:get_module_proc(Host, mod_stanzagate_grid).

%% @doc The component has attached by this stream. When this returns it can be asked and is believed; if there is no
%% process at the moment, the next one finds the stream.
-spec attached(binary(), pid()) -> ok | failed.
attached(Host, Stream) ->
    try
        gen_server:call(name(Host), {attached, Stream})
    catch
        exit:_ -> ok
    end.

%% @doc Obey an order of the controller. It is in force, and kept, when this returns.
-spec obey(guard(), mod_stanzagate_grid_orders:said()) -> ok | gap | failed.
obey(#{host := Host}, Order) ->
    gen_server:call(name(Host), {obey, Order}, ?MINUTE).

-spec session(binary(), mod_stanzagate_sessions:session()) -> ok.
session(Host, Session) ->
    gen_server:cast(name(Host), {session, Session}).

%% @doc Answer the component's question for all sessions, by the stream that it has asked by, in order with the events.
-spec sessions(guard(), pid(), iq()) -> ok.
sessions(#{host := Host}, Stream, IQ) ->
    gen_server:cast(name(Host), {sessions, Stream, IQ}).

%% @doc An account has been removed.
-spec removed(binary(), binary()) -> ok.
removed(Host, User) ->
    gen_server:cast(name(Host), {removed, User}).

%% @doc Somebody has asked a stream that may have ended before.
-spec look(guard()) -> ok.
look(#{host := Host}) ->
    gen_server:cast(name(Host), look).

-spec reload(binary(), gen_mod:opts()) -> ok | failed.
reload(Host, Options) ->
    gen_server:call(name(Host), {reload, Options}).

%% @doc Let everything through for so many minutes; 0 ends it.
-spec bypass(binary(), non_neg_integer()) -> ok | failed.
bypass(Host, Minutes) ->
    gen_server:call(name(Host), {bypass, Minutes}).

%% @doc What only this process knows: how many sessions and events there are, and minutes of bypass.
-spec status(binary()) -> figures().
status(Host) ->
    gen_server:call(name(Host), status).

%%% The process

init(Host) ->
    process_flag(trap_exit, true),
    {ok, Host, {continue, set_up}}.    % what fails there ends this process alone, after the pause of terminate/2

handle_continue(set_up, Host) ->
    Options = gen_mod:get_module_opts(Host, mod_stanzagate_grid),    % those of now, whenever it was started first
    State = #state{guard = mod_stanzagate_grid_guard:make(Host, Options)},
    Present = lists:foldl(fun begun/2, State, mod_stanzagate_sessions:present(Host)),
    erlang:send_after(?SECOND, self(), second),
    {noreply, mode_told(find_streams(Present))}.

handle_call(status, _, State) ->
    {reply, figures(State), State};
handle_call({obey, Order}, _, State) ->
    Obey = fun() -> {obeyed(Order, State), State} end,
    case protected(Obey, State) of
        {ok, {Result, Next}} -> {reply, Result, Next};
        {failed, Next} -> {reply, failed, Next}
    end;
handle_call(Request, _, State) ->
    {Result, Next} = protected(fun() -> called(Request, State) end, State),
    {reply, Result, Next}.

handle_cast(Message, State) ->
    {_, Next} = protected(fun() -> told(Message, State) end, State),
    {noreply, Next}.

handle_info(second, State) ->
    erlang:send_after(?SECOND, self(), second),
    {_, Next} = protected(fun() -> noticed(second, State) end, State),
    {noreply, Next};
handle_info(Message, State) ->
    {_, Next} = protected(fun() -> noticed(Message, State) end, State),
    {noreply, Next}.

%% One that fails time and again is not started so often that its supervisor, and ejabberd with it, gives up.
terminate(Reason, State) ->
    leave(State),
    case Reason of
        _ when Reason =:= normal; Reason =:= shutdown -> ok;
        {shutdown, _} -> ok;
        _ -> timer:sleep(?PAUSE)
    end.

leave(#state{guard = Guard} = State) ->
    protected(fun() -> mod_stanzagate_grid_front:give_up(Guard) end, State);
leave(_) ->
    ok.    % it was never set up

code_change(_, State, _) ->
    {ok, State}.

protected(Step, #state{guard = Guard} = State) ->
    try
        {ok, Step()}
    catch
        Class:Reason:Stack ->
            mod_stanzagate_journal:failed(Guard, {Class, Reason, Stack}),
            {failed, State}
    end.

called({attached, Stream}, State) ->
    attach(Stream, State);
called({bypass, Minutes}, State) ->
    bypassing(Minutes, State);
called({reload, Options}, State) ->
    reloaded(Options, State).

told({session, Session}, State) ->
    begun(Session, State);
told({sessions, Stream, IQ}, #state{book = Book} = State) ->
    Stream ! {route, xmpp:make_iq_result(IQ, mod_stanzagate_sessions:all(Book))},
    State;
told({removed, User}, #state{guard = #{host := Host}} = State) ->
    mod_stanzagate_grid_facts:forget_account(Host, User),
    State;
told(look, #state{guard = #{streams := []} = Guard} = State) ->
    mod_stanzagate_grid_front:give_up(Guard),
    State;
told(look, State) ->
    State.    % the end of a stream is noticed in a moment

noticed(second, #state{guard = Guard} = State) ->
    mod_stanzagate_grid_front:expire(Guard),
    State;
noticed({timeout, Minute, minute}, #state{minute = Minute, bypass = Left} = State) ->
    bypassing(Left - 1, State);
noticed({'DOWN', Monitor, process, _, _}, #state{streams = Streams} = State) ->
    case lists:keytake(Monitor, 1, Streams) of
        {value, _, Others} -> streams_are(Others, State);
        false -> ended(Monitor, State)
    end;
noticed(_, State) ->
    State.

figures(#state{book = Book, bypass = Left}) ->
    #{seq => mod_stanzagate_sessions:sequence(Book), sessions => mod_stanzagate_sessions:count(Book),
      bypass_left => Left}.

%%% Orders

obeyed({obey, Since, Orders, Epoch}, #state{guard = #{host := Host} = Guard} = State) ->
    case mod_stanzagate_grid_facts:obey(Host, Since, Orders, Epoch) of
        gap -> gap;
        Obeyed ->
            mod_stanzagate_guard:count(Guard, discarded, length(Orders) - length(Obeyed)),
            turn_out([Fingerprint || {{revoked, Fingerprint}, true, _} <- Obeyed], State)
    end;
obeyed({quiet, Jid, IsQuiet, Epoch}, #state{guard = #{quiet := Quiet} = Guard} = State) ->
    case is_online(Jid, State) andalso mod_stanzagate_grid_quiet:tell(Quiet, Jid, IsQuiet, Epoch) of
        discarded -> mod_stanzagate_grid_guard:count(Guard, discarded);
        _ -> ok
    end;
obeyed({disconnect, #jid{luser = User, lserver = Host, lresource = Resource}, Why},
       #state{guard = #{host := Host}, book = Book}) ->
    Error = xmpp:serr_policy_violation(Why, ejabberd_option:language(Host)),
    Meant = fun(#{jid := #jid{luser = Of, lresource = At}}) ->
                    Of =:= User andalso lists:member(Resource, [<<>>, At])
            end,
    lists:foreach(fun(Session) -> mod_stanzagate_grid_clients:finish(Session, Error) end,
                  mod_stanzagate_sessions:matching(Meant, Book));
obeyed({disconnect, _, _}, _) ->
    ok.

%% End the sessions of revoked certificates, unless nothing is refused at present.
turn_out([], _) ->
    ok;
turn_out(Fingerprints, #state{guard = Guard, book = Book}) ->
    Revoked = maps:from_keys(Fingerprints, []),
    Meant = fun(Session) -> is_map_key(mod_stanzagate_sessions:fingerprint(Session), Revoked) end,
    case mod_stanzagate_grid_guard:mode(Guard) of
        enforce ->
            lists:foreach(fun(Session) ->
                                  mod_stanzagate_grid_guard:count(Guard, revoked),
                                  mod_stanzagate_grid_clients:finish(Session, xmpp:serr_not_authorized())
                          end, mod_stanzagate_sessions:matching(Meant, Book));
        _ -> ok
    end.

%%% Clients

%% A certificate may have been revoked since its owner authenticated.
begun(Session, #state{guard = #{host := Host}, book = Book} = State) ->
    Next = send_event(mod_stanzagate_sessions:up(Session, Book), State),
    _ = is_revoked(Host, Session) andalso turn_out([mod_stanzagate_sessions:fingerprint(Session)], Next),
    Next.

is_revoked(Host, Session) ->
    Fingerprint = mod_stanzagate_sessions:fingerprint(Session),
    Fingerprint =/= none andalso mod_stanzagate_grid_facts:revoked(Host, Fingerprint).

ended(Monitor, #state{guard = #{quiet := Quiet}, book = Book} = State) ->
    Before = mod_stanzagate_sessions:find(Monitor, Book),
    Next = send_event(mod_stanzagate_sessions:down(Monitor, Book), State),
    _ = [mod_stanzagate_grid_quiet:forget(Quiet, Jid) || {ok, #{jid := Jid}} <- [Before], not is_online(Jid, Next)],
    Next.

is_online(#jid{luser = User, lresource = Resource, lserver = Host}, #state{guard = #{host := Host}, book = Book}) ->
    Same = fun(#{jid := #jid{luser = Of, lresource = At}}) -> Of =:= User andalso At =:= Resource end,
    mod_stanzagate_sessions:matching(Same, Book) =/= [];
is_online(_, _) ->
    false.

%%% The component

%% The streams of a component that was there before.
find_streams(#state{guard = #{component := Component}} = State) ->
    Backend = ejabberd_router:get_backend(),
    {ok, Routes} = Backend:find_routes(Component),
    lists:foldl(fun attach/2, State, [Stream || #route{pid = Stream} <- Routes, is_pid(Stream)]).

attach(Stream, #state{streams = Streams, book = Book} = State) ->
    case lists:keymember(Stream, 2, Streams) of
        true -> State;
        false ->
            Attached = streams_are([{monitor(process, Stream), Stream} | Streams], State),
            Stream ! {route, message(mod_stanzagate_sessions:all(Book), Attached)},
            Attached
    end.

streams_are(Streams, #state{guard = Guard} = State) ->
    Changed = mod_stanzagate_grid_guard:change(Guard, #{streams => [Stream || {_, Stream} <- Streams]}),
    _ = Streams =:= [] andalso mod_stanzagate_grid_front:give_up(Changed),
    State#state{streams = Streams, guard = Changed}.

send_event({none, Book}, State) ->
    State#state{book = Book};
send_event({Event, Book}, State) ->
    send(Event, State),
    State#state{book = Book}.

send(Element, #state{streams = Streams} = State) ->
    case Streams of
        [{_, Newest} | _] ->
            Newest ! {route, message(Element, State)},
            ok;
        [] -> ok    % it is told of all when it comes
    end.

message(Element, #state{guard = #{host := Host, component := Component}}) ->
    #message{from = jid:make(Host), to = jid:make(Component), sub_els = [Element]}.

%% Tell the component the mode as soon as it may have changed: a short bypass would be over before it asks. And end what
%% may be there no more when it is over.
mode_told(#state{guard = #{host := Host} = Guard, book = Book} = State) ->
    send(mod_stanzagate_grid_control:status_element(Guard, figures(State)), State),
    Present = mod_stanzagate_sessions:matching(fun(Session) -> is_revoked(Host, Session) end, Book),
    turn_out(lists:map(fun mod_stanzagate_sessions:fingerprint/1, Present), State),
    State.

%%% The administrator

bypassing(Minutes, #state{guard = #{host := Host} = Guard, bypass = Before, minute = Timer} = State) ->
    _ = is_reference(Timer) andalso erlang:cancel_timer(Timer),
    log_bypass(Host, Before, Minutes),
    Next = State#state{guard = mod_stanzagate_grid_guard:change(Guard, #{bypass => Minutes > 0}),
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
    ?WARNING_MSG("~ts: bypass: every account may do everything for ~B minutes", [Host, Minutes]);
log_bypass(Host, _, Minutes) ->
    ?WARNING_MSG("~ts: bypass: every account may do everything; ~B minutes are left", [Host, Minutes]).

reloaded(Options, #state{guard = #{component := Before} = Guard, streams = Streams} = State) ->
    Changed = State#state{guard = mod_stanzagate_grid_guard:change(Guard, mod_stanzagate_grid_guard:settings(Options))},
    case Changed#state.guard of
        #{component := Before} ->
            mode_told(Changed);
        _ ->
            _ = [demonitor(Monitor, [flush]) || {Monitor, _} <- Streams],
            mode_told(find_streams(streams_are([], Changed)))
    end.
