%%% Which clients are connected to a guarded host: numbered events and the list of all, as the component is told.
%%%
%%% A client's own process reports that it has bound a resource; its end is seen by a monitor, which a killed one does
%%% not escape. The name of a session is ejabberd's own, so it lasts as long as the session, whatever becomes of us.
-module(mod_stanzagate_sessions).

-export([all/1, authenticated/3, count/1, described/2, down/2, find/2, fingerprint/1, matching/2, new/0, opened/1,
         present/1, sequence/1, session/1, up/2]).
-export_type([book/0, session/0]).

-include("xmpp.hrl").
-include("ejabberd_sm.hrl").

-record(book, {sequence = 0, sessions = #{}, monitors = #{}}).

-opaque book() :: #book{}.
-type session() :: #{sid := sid(), jid := jid(), mechanism => binary(), certificate => binary()}.

%%% In the client's process

%% @doc Remember the SASL mechanism: ejabberd forgets it. The hook c2s_auth_result.
-spec authenticated(ejabberd_c2s:state(), true | {false, binary()}, binary()) -> ejabberd_c2s:state().
authenticated(#{sasl_mech := Mechanism} = State, true, _) -> State#{stanzagate_mechanism => Mechanism};
authenticated(State, _, _) -> State.

%% @doc A resource has been bound, or a session resumed: the hooks c2s_session_opened and c2s_session_resumed.
-spec opened(ejabberd_c2s:state()) -> ejabberd_c2s:state().
opened(#{lserver := Host} = State) ->
    mod_stanzagate_server:session(Host, session(State)),
    State.

%% @doc The guard has found a session that was there before it: the hook c2s_handle_info.
-spec described(ejabberd_c2s:state(), term()) -> ejabberd_c2s:state() | {stop, ejabberd_c2s:state()}.
described(#{sid := _, jid := _} = State, {stanzagate, describe}) -> {stop, opened(State)};
described(State, {stanzagate, describe}) -> {stop, State};
described(State, _) -> State.

%% @doc What is told of a session, read in its own process.
-spec session(ejabberd_c2s:state()) -> session().
session(#{sid := Sid, jid := Jid, socket := Socket} = State) ->
    Session = #{sid => Sid, jid => mod_stanzagate_payload:prepared(Jid)},
    maps:merge(Session, maps:merge(mechanism(State), certificate(Socket))).

mechanism(#{stanzagate_mechanism := Mechanism}) -> #{mechanism => Mechanism};
mechanism(_) -> #{}.

certificate(Socket) ->
    try xmpp_socket:get_peer_certificate(Socket, der) of
        {ok, Certificate} -> #{certificate => Certificate};
        _ -> #{}
    catch
        _:_ -> #{}    % a websocket, or a connection that has just been lost
    end.

%%% In the guard's process

-spec new() -> book().
new() ->
    #book{}.

-spec count(book()) -> non_neg_integer().
count(#book{sessions = Sessions}) ->
    map_size(Sessions).

%% @doc The sessions that ejabberd knows on a host. Each is asked to tell the rest of it.
-spec present(binary()) -> [session()].
present(Host) ->
    [begin
         Process ! {stanzagate, describe},
         #{sid => Sid, jid => jid:make(Name)}
     end || #session{sid = {_, Process} = Sid, usr = {_, Domain, _} = Name} <- ejabberd_sm:dirty_get_my_sessions_list(),
            Domain =:= Host].

%% @doc A session has begun, or more is known of it; the event to send, if it is news.
-spec up(session(), book()) -> {xmlel() | none, book()}.
up(#{sid := Sid} = Session, #book{sessions = Sessions} = Book) ->
    case Sessions of
        #{Sid := Session} -> {none, Book};
        #{Sid := _} -> event(<<"up">>, Session, Book#book{sessions = Sessions#{Sid := Session}});
        _ ->
            {_, Process} = Sid,
            Monitors = Book#book.monitors,
            event(<<"up">>, Session, Book#book{sessions = Sessions#{Sid => Session},
                                               monitors = Monitors#{monitor(process, Process) => Sid}})
    end.

%% @doc The session that a monitor is for.
-spec find(reference(), book()) -> {ok, session()} | error.
find(Monitor, #book{monitors = Monitors, sessions = Sessions}) ->
    case Monitors of
        #{Monitor := Sid} -> maps:find(Sid, Sessions);
        _ -> error
    end.

%% @doc A process that was monitored has ended; the event to send, if it was a session's.
-spec down(reference(), book()) -> {xmlel() | none, book()}.
down(Monitor, #book{monitors = Monitors, sessions = Sessions} = Book) ->
    case maps:take(Monitor, Monitors) of
        {Sid, Others} ->
            {#{jid := Jid}, Left} = maps:take(Sid, Sessions),
            event(<<"down">>, #{sid => Sid, jid => Jid}, Book#book{monitors = Others, sessions = Left});
        error ->
            {none, Book}
    end.

event(Event, Session, #book{sequence = Last} = Book) ->
    Next = Last + 1,
    Numbered = [{<<"xmlns">>, mod_stanzagate_policy:namespace()}, {<<"seq">>, integer_to_binary(Next)}],
    {element(Event, Session, Numbered), Book#book{sequence = Next}}.

%% @doc The sessions that are as somebody wants them.
-spec matching(fun((session()) -> boolean()), book()) -> [session()].
matching(Wanted, #book{sessions = Sessions}) ->
    lists:filter(Wanted, maps:values(Sessions)).

%% @doc The number of the last event.
-spec sequence(book()) -> non_neg_integer().
sequence(#book{sequence = Last}) ->
    Last.

%% @doc All sessions, with the number of the last event that they include.
-spec all(book()) -> xmlel().
all(#book{sequence = Last, sessions = Sessions}) ->
    #xmlel{name = <<"sessions">>,
           attrs = [{<<"xmlns">>, mod_stanzagate_policy:namespace()}, {<<"seq">>, integer_to_binary(Last)}],
           children = [element(<<"up">>, Session, []) || Session <- maps:values(Sessions)]}.

element(Event, #{sid := Sid, jid := Jid} = Session, More) ->
    Certificates = [Der || {certificate, Der} <- maps:to_list(Session)],
    #xmlel{name = <<"session">>,
           attrs = More ++ [{<<"sid">>, name(Sid)}, {<<"jid">>, jid:encode(Jid)}, {<<"event">>, Event}]
               ++ [{<<"mechanism">>, Mechanism} || {mechanism, Mechanism} <- maps:to_list(Session)]
               ++ [{<<"since">>, since(Sid)} || Event =:= <<"up">>]
               ++ [{<<"fingerprint">>, fingerprint(Der)} || Der <- Certificates],
           children = [chain(Der) || Der <- Certificates]}.

name({{Mega, Seconds, Unique}, Process}) ->
    Number = integer_to_list((Mega * 1000000 + Seconds) * 1000000 + Unique),
    iolist_to_binary([Number, $-, string:trim(pid_to_list(Process), both, "<>")]).

since({{Mega, Seconds, _}, _}) ->
    integer_to_binary(Mega * 1000000 + Seconds).

%% @doc The SHA-256 of a session's client certificate in hex; of a certificate likewise.
-spec fingerprint(session() | binary()) -> binary() | none.
fingerprint(#{certificate := Der}) -> fingerprint(Der);
fingerprint(#{}) -> none;
fingerprint(Der) ->
    string:lowercase(binary:encode_hex(crypto:hash(sha256, Der))).

chain(Der) ->
    #xmlel{name = <<"certificateChain">>,
           children = [#xmlel{name = <<"certificate">>, children = [{xmlcdata, base64:encode(Der)}]}]}.
