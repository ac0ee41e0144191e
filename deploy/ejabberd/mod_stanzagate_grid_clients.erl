%%% The clients of a grid host, in their own processes: whose certificate is revoked does not get in, and the guard is
%%% told who has come.
-module(mod_stanzagate_grid_clients).

-export([authenticated/3, certificate/1, described/2, finish/2, opened/1, removed/2, resumed/1]).

-include("xmpp.hrl").

-define(PATIENCE, 3000).    % milliseconds in which a client's process must end by itself

%% @doc Somebody has authenticated, by whatever mechanism: the hook c2s_auth_result.
-spec authenticated(ejabberd_c2s:state(), true | {false, binary()}, binary()) ->
          ejabberd_c2s:state() | {stop, ejabberd_c2s:state()}.
authenticated(#{lserver := Host} = State, true, User) ->
    try
        remember_certificate(jid:nodeprep(User), State),
        Guard = mod_stanzagate_grid_guard:find(Host),
        case is_revoked(Guard, State) andalso mod_stanzagate_grid_guard:mode(Guard) of
            false -> mod_stanzagate_sessions:authenticated(State, true, User);
            enforce ->
                note(Guard, "Refused (revoked): ~ts@~ts", [User, Host]),
                mod_stanzagate_grid_guard:count(Guard, revoked),
                {stop, turned_away(State, 'not-authorized', xmpp:serr_not_authorized())};
            Lenient ->
                _ = Lenient =:= 'log-only' andalso note(Guard, "Would be refused (revoked): ~ts@~ts", [User, Host]),
                mod_stanzagate_grid_guard:count(Guard, bypassed),
                mod_stanzagate_sessions:authenticated(State, true, User)
        end
    catch
        _:_ -> {stop, turned_away(State, 'temporary-auth-failure', xmpp:serr_internal_server_error())}
    end;
authenticated(State, Result, User) ->
    mod_stanzagate_sessions:authenticated(State, Result, User).

note(Guard, Format, Arguments) ->
    mod_stanzagate_journal:note(Guard, warning, revoked, Format, Arguments).

is_revoked(#{host := Host}, #{socket := Socket}) ->
    case certificate_of(Socket) of
        {ok, Der} -> mod_stanzagate_grid_facts:revoked(Host, mod_stanzagate_sessions:fingerprint(Der));
        _ -> false
    end.

%% @doc The SHA-256 of the certificate by which this process's own client has come as that user; none when it has come
%% without one, or this is not the process of a client of that name: others speak for accounts, too.
-spec certificate(binary()) -> binary() | none.
certificate(User) ->
    case get(?MODULE) of
        {User, Digest} -> Digest;
        _ -> none
    end.

%% A process has one client and connection, as long as it lives: a stream that is resumed goes on in another one.
remember_certificate(User, #{socket := Socket}) ->
    put(?MODULE, {User, case certificate_of(Socket) of
                            {ok, Der} -> crypto:hash(sha256, Der);
                            _ -> none
                        end}).

%% A websocket has none.
certificate_of(Socket) ->
    try
        xmpp_socket:get_peer_certificate(Socket, der)
    catch
        _:_ -> none
    end.

turned_away(State, Reason, Error) ->
    xmpp_stream_in:send(xmpp_stream_in:send(State, #sasl_failure{reason = Reason}), Error).

%% @doc A resource has been bound: the hook c2s_session_opened. Whatever was said of a session of that name is not about
%% this one.
-spec opened(ejabberd_c2s:state()) -> ejabberd_c2s:state().
opened(#{lserver := Host, jid := Jid} = State) ->
    try
        #{quiet := Quiet} = Guard = mod_stanzagate_grid_guard:find(Host),
        mod_stanzagate_grid_quiet:forget(Quiet, Jid),
        resumed(State),
        case mod_stanzagate_grid_leaving:is_time() of
            true -> ejabberd_c2s:send(State, xmpp:serr_system_shutdown());
            false -> turned_out(is_revoked(Guard, State) andalso mod_stanzagate_grid_guard:mode(Guard), State)
        end
    catch
        _:_ -> ejabberd_c2s:send(State, xmpp:serr_internal_server_error())
    end.

%% A certificate may have been revoked since its owner authenticated.
turned_out(enforce, State) -> ejabberd_c2s:send(State, xmpp:serr_not_authorized());
turned_out(_, State) -> State.

%% @doc A session is there, perhaps one that goes on: the hook c2s_session_resumed.
-spec resumed(ejabberd_c2s:state()) -> ejabberd_c2s:state().
resumed(#{lserver := Host} = State) ->
    mod_stanzagate_grid_server:session(Host, mod_stanzagate_sessions:session(State)),
    State.

%% @doc The guard has found a session that was there before it: the hook c2s_handle_info.
-spec described(ejabberd_c2s:state(), term()) -> ejabberd_c2s:state() | {stop, ejabberd_c2s:state()}.
described(#{sid := _, jid := Jid} = State, {stanzagate, describe}) ->
    #jid{luser = User} = Jid,
    remember_certificate(User, State),
    {stop, resumed(State)};
described(State, {stanzagate, describe}) -> {stop, State};
described(State, _) -> State.

%% @doc An account has been removed: the hook remove_user.
-spec removed(binary(), binary()) -> ok.
removed(User, Host) ->
    mod_stanzagate_grid_server:removed(Host, jid:nodeprep(User)).

%% @doc End a session by an error of its stream; one whose client does not read is ended without.
-spec finish(mod_stanzagate_sessions:session(), stream_error()) -> ok.
finish(#{sid := {_, Process}}, Error) ->
    ejabberd_c2s:send(Process, Error),
    ejabberd_c2s:stop_async(Process),
    _ = timer:kill_after(?PATIENCE, Process),
    ok.
