%%% What the guard's process does about decisions: has them made, believes them or not, and settles what waits for them.
-module(mod_stanzagate_decisions).

-export([answer/4, ask/4, change/2, connected/2, disconnected/2, figures/1, flush/4, guard/1, new/2, overdue/3,
         repaired/2, waits/2]).
-export_type([decisions/0]).

-include("xmpp.hrl").

-define(PATIENCE, 10000).    % milliseconds: nobody waits longer, however many others of the pair are asked about first

-type guard() :: mod_stanzagate_guard:guard().
-type pair() :: mod_stanzagate_waiting:pair().

-record(decisions, {guard :: guard(),
                    known = 0 :: non_neg_integer(),    % the highest epoch that the component has named
                    checks :: mod_stanzagate_checks:checks()}).
-opaque decisions() :: #decisions{}.

%% @doc Set up the guard of a host. What an earlier process has left waiting is answered.
-spec new(binary(), gen_mod:opts()) -> decisions().
new(Host, Options) ->
    Asking = mod_stanzagate_checks:asking(),
    Guard = mod_stanzagate_guard:make(Host, Options, #{cache => mod_stanzagate_cache:new(), asking => Asking}),
    mod_stanzagate_release:settle_all(Guard, fun(_) -> crashed end),
    #decisions{guard = Guard, checks = mod_stanzagate_checks:new(Asking)}.

-spec guard(decisions()) -> guard().
guard(#decisions{guard = Guard}) ->
    Guard.

%% @doc Change what everybody knows of the guard. In a mode that holds nothing, what waits goes.
-spec change(map(), decisions()) -> decisions().
change(Changes, #decisions{guard = Guard} = Decisions) ->
    #{cache := Cache, cache_size := Limit} = Changed = mod_stanzagate_guard:change(Guard, Changes),
    mod_stanzagate_guard:count(Changed, evicted, mod_stanzagate_cache:shrink(Cache, Limit)),
    case mod_stanzagate_guard:mode(Changed) of
        enforce -> ok;
        _ -> mod_stanzagate_release:settle_all(Changed, fun(_) -> bypass end)
    end,
    Decisions#decisions{guard = Changed}.

%% @doc The highest epoch, and how many questions are open.
-spec figures(decisions()) -> #{epoch | checks := non_neg_integer()}.
figures(#decisions{known = Known, checks = Checks}) ->
    #{epoch => Known, checks => mod_stanzagate_checks:count(Checks)}.

%% @doc The component has come, or come again: nothing from before is good any more.
-spec connected([pid()], decisions()) -> decisions().
connected(Streams, #decisions{guard = #{cache := Cache} = Guard} = Decisions) ->
    Changed = mod_stanzagate_guard:change(Guard, #{streams => Streams}),    % first: who finds nothing can ask
    mod_stanzagate_cache:clear(Cache),
    ask_anew(Decisions#decisions{guard = Changed, known = 0}).

%% @doc A stream of the component has gone; when it was the last one, nobody waits any longer.
-spec disconnected([pid()], decisions()) -> decisions().
disconnected(Streams, #decisions{guard = Guard, checks = Checks} = Decisions) ->
    Changed = mod_stanzagate_guard:change(Guard, #{streams => Streams}),
    case mod_stanzagate_guard:attached(Changed) of
        true ->
            ask_anew(Decisions#decisions{guard = Changed});
        false ->
            {_, None} = mod_stanzagate_checks:finish_all(Checks),
            mod_stanzagate_release:settle_all(Changed, otherwise(Changed, 'not-attached')),
            Decisions#decisions{guard = Changed, checks = None}
    end.

%% What was asked by a stream that has gone is asked again.
ask_anew(#decisions{checks = Checks} = Decisions) ->
    {Pairs, None} = mod_stanzagate_checks:finish_all(Checks),
    lists:foldl(fun waits/2, Decisions#decisions{checks = None}, Pairs).

%% @doc Go on after a failure: everybody is answered, and no decision of before is trusted.
-spec repaired([pid()], decisions()) -> decisions().
repaired(Streams, #decisions{guard = #{cache := Cache, asking := Unsound} = Guard} = Decisions) ->
    mod_stanzagate_cache:delete(Cache),
    mod_stanzagate_checks:delete(Unsound),
    Asking = mod_stanzagate_checks:asking(),
    Tables = #{cache => mod_stanzagate_cache:new(), asking => Asking},
    Repaired = mod_stanzagate_guard:repair(Guard, Tables#{streams => Streams}),
    mod_stanzagate_release:settle_all(Repaired, fun(_) -> crashed end),
    Decisions#decisions{guard = Repaired, checks = mod_stanzagate_checks:new(Asking)}.

%% @doc Forget decisions that are older than an epoch; none of them is believed from now on.
-spec flush(non_neg_integer(), {binary(), binary()} | any, binary() | any | elsewhere, decisions()) -> decisions().
flush(Epoch, Requester, Device, #decisions{guard = #{cache := Cache}, known = Known} = Decisions) ->
    mod_stanzagate_cache:flush(Cache, Epoch, Requester, Device),
    Decisions#decisions{known = max(Known, Epoch)}.

%% @doc Ask about a pair for which nobody waits, if there is somebody to ask and it is not being done.
-spec ask(pair(), jid(), jid(), decisions()) -> decisions().
ask(Pair, From, To, #decisions{guard = #{asking := Asking} = Guard, checks = Checks} = Decisions) ->
    case {mod_stanzagate_checks:open(Pair, Checks), mod_stanzagate_guard:attached(Guard)} of
        {true, _} ->
            Decisions;
        {false, true} ->
            {_, Asked} = mod_stanzagate_checks:start(Guard, Pair, From, To, Checks),
            Decisions#decisions{checks = Asked};
        {false, false} ->
            mod_stanzagate_checks:release(Asking, Pair),
            Decisions
    end.

%% @doc An answer has come, from whomever.
-spec answer(pair(), reference(), iq() | timeout, decisions()) -> decisions().
answer(Pair, Reference, Answer, #decisions{guard = #{component := Component} = Guard, known = Known} = Decisions) ->
    case mod_stanzagate_checks:find(Pair, Reference, Decisions#decisions.checks) of
        none ->
            Decisions;    % it has been settled in another way
        Parties ->
            case mod_stanzagate_policy:decision(Component, Answer) of
                {ok, #{epoch := Epoch} = Decision} when Epoch >= Known -> accept(Decision, Pair, Parties, Decisions);
                none -> undecided(Pair, Decisions);
                Disbelieved ->
                    mod_stanzagate_guard:count(Guard, discarded),
                    disbelieve(Disbelieved, Answer, Pair, Decisions)
            end
    end.

%% @doc No answer has come in time.
-spec overdue(pair(), reference(), decisions()) -> decisions().
overdue(Pair, Timer, #decisions{checks = Checks} = Decisions) ->
    case mod_stanzagate_checks:find(Pair, Timer, Checks) of
        none -> Decisions;
        _ -> undecided(Pair, Decisions)
    end.

disbelieve(malformed, _, Pair, #decisions{guard = Guard} = Decisions) ->
    mod_stanzagate_journal:note(Guard, warning, disbelieved, "A malformed decision counts as none", []),
    undecided(Pair, Decisions);
disbelieve(foreign, #iq{from = From}, Pair, #decisions{guard = Guard} = Decisions) ->
    mod_stanzagate_journal:note(Guard, warning, disbelieved,
                                "~ts answers a check, but it is not the component: ignored", [From]),
    again(Pair, Decisions);
disbelieve({ok, _}, _, Pair, Decisions) ->    % taken before a change that is known already
    again(Pair, Decisions).

again(Pair, #decisions{guard = Guard, checks = Checks} = Decisions) ->
    case mod_stanzagate_checks:again(Guard, Pair, Checks) of
        {ok, Asked} -> Decisions#decisions{checks = Asked};
        enough -> undecided(Pair, Decisions)
    end.

accept(#{effect := Effect, epoch := Epoch, scope := Scope} = Decision, Pair, {From, To}, Decisions) ->
    #decisions{guard = #{cache := Cache, cache_size := Limit} = Guard, checks = Checks} = Decisions,
    mod_stanzagate_guard:count(Guard, case Effect of allow -> allowed; deny -> denied end),
    Evicted = mod_stanzagate_cache:store(Cache, Limit, From, To, Decision),
    mod_stanzagate_guard:count(Guard, evicted, Evicted),
    log_denial(Effect, From, To, Guard),
    Covered = covered(Scope, From, mod_stanzagate_release:of_pair(Guard, Pair)),
    mod_stanzagate_release:settle(Guard, Covered, fun(_) -> Effect end),
    waits(Pair, Decisions#decisions{known = Epoch, checks = mod_stanzagate_checks:finish(Guard, Pair, Checks)}).

log_denial(deny, From, To, #{mode := 'log-only'} = Guard) ->
    mod_stanzagate_filter:note_leniency(Guard, forbidden, From, To, request);
log_denial(_, _, _, _) ->
    ok.

%% Those at the head of the queue that a decision is about; what stands behind another resource keeps its place.
covered(bare, _, Rows) -> Rows;
covered(full, #jid{lresource = Resource}, Rows) ->
    lists:takewhile(fun(Row) ->
                            {#jid{lresource = Other}, _} = mod_stanzagate_waiting:addresses(Row),
                            Other =:= Resource
                    end, Rows).

undecided(Pair, #decisions{guard = Guard, checks = Checks} = Decisions) ->
    Rows = mod_stanzagate_release:of_pair(Guard, Pair),
    mod_stanzagate_release:settle(Guard, Rows, otherwise(Guard, 'no-decision')),
    Decisions#decisions{checks = mod_stanzagate_checks:finish(Guard, Pair, Checks)}.

%% There is no decision to be had: what is in the cache is used, however old it is, as long as it is usable.
otherwise(#{cache := Cache}, Reason) ->
    fun(Row) ->
            {From, To} = mod_stanzagate_waiting:addresses(Row),
            case mod_stanzagate_cache:find(Cache, From, To) of
                {_, Effect} -> Effect;
                none -> Reason
            end
    end.

%% @doc Something of a pair waits: settle what can be from the head of its queue, and ask about the first that cannot.
-spec waits(pair(), decisions()) -> decisions().
waits(Pair, #decisions{guard = Guard, checks = Checks} = Decisions) ->
    case mod_stanzagate_checks:open(Pair, Checks) of
        true -> Decisions;
        false -> advance(mod_stanzagate_release:of_pair(Guard, Pair), Pair, Decisions)
    end.

advance([], Pair, #decisions{guard = #{asking := Asking}} = Decisions) ->
    mod_stanzagate_checks:release(Asking, Pair),
    Decisions;
advance([Row | Rows], Pair, #decisions{guard = #{cache := Cache} = Guard} = Decisions) ->
    {From, To} = mod_stanzagate_waiting:addresses(Row),
    case {mod_stanzagate_guard:mode(Guard), mod_stanzagate_cache:find(Cache, From, To)} of
        {enforce, {Age, Effect}} when Age =/= stale ->
            mod_stanzagate_guard:count(Guard, hits),
            mod_stanzagate_release:settle(Guard, [Row], fun(_) -> Effect end),
            advance(Rows, Pair, Decisions);
        {enforce, _} ->
            ask_about([Row | Rows], Pair, From, To, Decisions);
        _ ->
            mod_stanzagate_release:settle(Guard, [Row], fun(_) -> bypass end),
            advance(Rows, Pair, Decisions)
    end.

ask_about([Row | Rows], Pair, From, To, #decisions{guard = Guard, checks = Checks} = Decisions) ->
    case askable(Guard, Row) andalso mod_stanzagate_checks:start(Guard, Pair, From, To, Checks) of
        {ok, Asked} ->
            Decisions#decisions{checks = Asked};
        Otherwise ->
            Reason = case Otherwise of
                         false -> reason(Guard);
                         {overload, _} -> overload
                     end,
            mod_stanzagate_release:settle(Guard, [Row], otherwise(Guard, Reason)),
            advance(Rows, Pair, Decisions)
    end.

askable(Guard, Row) ->
    mod_stanzagate_checks:reachable(Guard) andalso mod_stanzagate_waiting:waited(Row) < ?PATIENCE.

reason(Guard) ->
    case mod_stanzagate_checks:reachable(Guard) of
        true -> 'no-decision';
        false -> 'not-attached'
    end.
