%%% What every process knows of the guard on a host: how it is configured, where its tables are, what it has counted.
%%%
%%% It lies in persistent_term, so that who sends to a device reads it without a copy or a message.
-module(mod_stanzagate_guard).

-export([attached/1, change/2, count/2, count/3, counted/2, counters/0, find/1, forget/1, make/3, mode/1, reasons/0,
         repair/2, settings/1, sound/1]).
-export_type([guard/0, mode/0, reason/0]).

-type mode() :: enforce | 'log-only' | bypass.
-type reason() :: forbidden | 'bad-request' | 'not-attached' | 'no-decision' | overload | crashed | answer.
-type guard() :: #{host := binary(),
                   component := binary(),
                   mode := enforce | 'log-only',
                   bypass := boolean(),
                   watch := 'connection-requests' | everything,
                   cache_size := pos_integer(),
                   streams := [pid()],    % of the component: it is attached when there is one
                   cache := mod_stanzagate_cache:cache(),
                   asking := mod_stanzagate_checks:asking(),    % the pairs that are being asked about
                   waiting := mod_stanzagate_waiting:waiting(),
                   counts := counters:counters_ref(),
                   journal := mod_stanzagate_journal:journal()}.

-define(REASONS, [forbidden, 'bad-request', 'not-attached', 'no-decision', overload, crashed, answer]).
-define(COUNTED, #{hits => 1, asked => 2, allowed => 3, denied => 4, passed => 5, bypassed => 6, evicted => 7,
                   discarded => 8, forbidden => 9, 'bad-request' => 10, 'not-attached' => 11, 'no-decision' => 12,
                   overload => 13, crashed => 14, answer => 15, quiet => 16, revoked => 17, lost => 18,
                   delegated => 19, heavy => 20}).    % what comes after answer happens on grid hosts only

%% @doc Set up a guard. What waits, and what was counted, is taken over from one that failed.
-spec make(binary(), gen_mod:opts(), map()) -> guard().
make(Host, Options, Tables) ->
    Lasting = case persistent_term:get({?MODULE, Host}, none) of
                  none ->
                      #{waiting => mod_stanzagate_waiting:new(),
                        counts => counters(),
                        journal => mod_stanzagate_journal:new()};
                  #{waiting := Waiting} = Old ->
                      (maps:with([counts, journal], Old))#{waiting => repaired(Waiting)}
              end,
    Fresh = (maps:merge(Lasting, settings(Options)))#{host => Host, bypass => false, streams => []},
    change(maps:merge(Fresh, Tables), #{}).

repaired(Waiting) ->
    case mod_stanzagate_waiting:sound(Waiting) of
        true -> Waiting;
        false ->
            mod_stanzagate_waiting:delete(Waiting),
            mod_stanzagate_waiting:new()
    end.

%% @doc Go on after a failure, with new tables in place of those that are not trusted any more.
-spec repair(guard(), map()) -> guard().
repair(#{waiting := Waiting} = Guard, Tables) ->
    change(Guard, Tables#{waiting => repaired(Waiting)}).

%% @doc Whether all tables are there.
-spec sound(guard()) -> boolean().
sound(#{cache := Cache, asking := Asking, waiting := Waiting}) ->
    mod_stanzagate_cache:sound(Cache) andalso mod_stanzagate_waiting:sound(Waiting)
        andalso mod_stanzagate_checks:sound(Asking).

%% @doc What the options of the module mean for it.
-spec settings(gen_mod:opts()) -> map().
settings(#{component := Component, mode := Mode, guard := Watch, cache_size := Size}) ->
    #{component => Component, mode => Mode, watch => Watch, cache_size => Size}.

%% @doc Change parts of it for everybody.
-spec change(guard(), map()) -> guard().
change(#{host := Host} = Guard, Changes) ->
    Changed = maps:merge(Guard, Changes),
    persistent_term:put({?MODULE, Host}, Changed),
    Changed.

%% @doc The guard of a host; it is an error when there is none.
-spec find(binary()) -> guard().
find(Host) ->
    persistent_term:get({?MODULE, Host}).

%% @doc There is no guard any more, if there ever was one.
-spec forget(binary()) -> ok.
forget(Host) ->
    case persistent_term:get({?MODULE, Host}, none) of
        none -> ok;
        #{waiting := Waiting} ->
            persistent_term:erase({?MODULE, Host}),
            mod_stanzagate_waiting:delete(Waiting)
    end.

-spec mode(guard()) -> mode().
mode(#{bypass := true}) -> bypass;
mode(#{mode := Mode}) -> Mode.

-spec attached(guard()) -> boolean().
attached(#{streams := Streams}) ->
    Streams =/= [].

-spec reasons() -> [reason()].
reasons() ->
    ?REASONS.

%% @doc Counters of everything that is counted, at 0.
-spec counters() -> counters:counters_ref().
counters() ->
    counters:new(map_size(?COUNTED), [write_concurrency]).

%% @doc Count a stanza or a decision, by kind or by the reason for which it was refused.
-spec count(#{counts := counters:counters_ref(), _ => _}, atom()) -> ok.
count(Guard, What) ->
    count(Guard, What, 1).

-spec count(#{counts := counters:counters_ref(), _ => _}, atom(), non_neg_integer()) -> ok.
count(#{counts := Counts}, What, Number) ->
    counters:add(Counts, maps:get(What, ?COUNTED), Number).

-spec counted(#{counts := counters:counters_ref(), _ => _}, atom()) -> non_neg_integer().
counted(#{counts := Counts}, What) ->
    counters:get(Counts, maps:get(What, ?COUNTED)).
