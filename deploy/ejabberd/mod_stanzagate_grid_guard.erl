%%% What every process knows of the guard on a grid host: how it is configured, where its tables are, what it counts.
%%%
%%% It lies in persistent_term, so that who sends a stanza reads it without a copy or a message; and so does the
%%% meaning of the domains that the guard cares for, because the hook filter_packet sees the stanzas of all hosts.
-module(mod_stanzagate_grid_guard).

-export([attached/1, change/2, component/2, count/2, find/1, forget/1, make/2, mode/1, place/1, settings/1, settle/1]).
-export_type([guard/0, mode/0, place/0]).

-include("xmpp.hrl").

-type mode() :: enforce | 'log-only' | bypass.
-type place() :: {host | broker | component, binary()} | elsewhere.    % what a domain is to which grid host
-type guard() :: #{host := binary(),
                   component := binary(),
                   broker := binary(),
                   mode := enforce | 'log-only',
                   bypass := boolean(),
                   streams := [pid()],    % of the component, the newest first
                   quiet := mod_stanzagate_grid_quiet:quiet(),
                   questions := mod_stanzagate_grid_questions:questions(),
                   counts := counters:counters_ref(),
                   journal := mod_stanzagate_journal:journal()}.

%% @doc Set up a guard. What waits, what is quiet and what was counted is taken over from one that failed.
-spec make(binary(), gen_mod:opts()) -> guard().
make(Host, Options) ->
    Lasting = case persistent_term:get({?MODULE, Host}, none) of
                  none ->
                      #{quiet => mod_stanzagate_grid_quiet:new(),
                        questions => mod_stanzagate_grid_questions:new(),
                        counts => mod_stanzagate_guard:counters(),
                        journal => mod_stanzagate_journal:new()};
                  Old ->
                      maps:with([quiet, questions, counts, journal], Old)
              end,
    change((maps:merge(Lasting, settings(Options)))#{host => Host, bypass => false, streams => []}, #{}).

%% @doc What the options of the module mean for it.
-spec settings(gen_mod:opts()) -> map().
settings(#{component := Component, broker := Broker, mode := Mode}) ->
    #{component => Component, broker => Broker, mode => Mode}.

%% @doc Say what the domains are that a host's options name; before this nothing is looked at.
-spec settle(guard() | map()) -> ok.
settle(#{host := Host, component := Component, broker := Broker}) ->
    [persistent_term:put({place, ?MODULE, Domain}, {What, Host})
     || {What, Domain} <- [{host, Host}, {broker, Broker}, {component, Component}]],
    ok.

unsettle(#{host := Host, component := Component, broker := Broker}) ->
    [persistent_term:erase({place, ?MODULE, Domain})
     || Domain <- [Host, Broker, Component], {_, Of} <- [place(Domain)], Of =:= Host],
    ok.

%% @doc What a domain is.
-spec place(binary()) -> place().
place(Domain) ->
    persistent_term:get({place, ?MODULE, Domain}, elsewhere).

%% @doc Change parts of it for everybody.
-spec change(guard(), map()) -> guard().
change(#{host := Host} = Guard, Changes) ->
    Changed = maps:merge(Guard, Changes),
    case maps:with([component, broker], Guard) =:= maps:with([component, broker], Changed) of
        true -> ok;
        false -> unsettle(Guard)
    end,
    settle(Changed),
    persistent_term:put({?MODULE, Host}, Changed),
    Changed.

%% @doc The guard of a host; it is an error when there is none.
-spec find(binary()) -> guard().
find(Host) ->
    persistent_term:get({?MODULE, Host}).

%% @doc There is no guard any more, if there ever was one.
-spec forget(binary()) -> ok.
forget(Host) ->
    _ = [persistent_term:erase(Key) || {{place, ?MODULE, _} = Key, {_, Of}} <- persistent_term:get(), Of =:= Host],
    case persistent_term:get({?MODULE, Host}, none) of
        none -> ok;
        #{quiet := Quiet, questions := Questions} ->
            persistent_term:erase({?MODULE, Host}),
            mod_stanzagate_grid_quiet:delete(Quiet),
            mod_stanzagate_grid_questions:delete(Questions)
    end.

-spec mode(guard()) -> mode().
mode(#{bypass := true}) -> bypass;
mode(#{mode := Mode}) -> Mode.

-spec attached(guard()) -> boolean().
attached(#{streams := Streams}) ->
    Streams =/= [].

%% @doc Whether a stanza comes from the component itself: from its domain, and in the process of its stream.
-spec component(guard(), jid()) -> boolean().
component(#{component := Component, streams := Streams}, #jid{lserver = Component}) ->
    lists:member(self(), Streams);
component(_, _) ->
    false.

%% @doc Count something, by kind or by the reason for which it was refused.
-spec count(guard(), atom()) -> ok.
count(Guard, What) ->
    mod_stanzagate_guard:count(Guard, What).
