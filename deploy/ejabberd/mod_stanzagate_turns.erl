%%% Things that wait for their turn: each turn is another one's, whoever has the most of them. No effects.
%%%
%%% Whoever has something that waits stands in a ring, once; a turn takes the first thing of the one at its head, who
%%% goes to the end if more is left. Trees and not queues, because what has waited too long is taken out of the middle.
-module(mod_stanzagate_turns).

-export([add/3, new/0, next/1, remove/3]).
-export_type([place/0, turns/0]).

-record(turns, {ring = gb_trees:empty() :: gb_trees:tree(place(), who()),
                lines = #{} :: #{who() => {place(), gb_trees:tree(place(), thing())}}}).    % places in ring and line

-opaque turns() :: #turns{}.
-opaque place() :: integer().
-type who() :: term().
-type thing() :: term().

-spec new() -> turns().
new() ->
    #turns{}.

%% @doc Something of somebody begins to wait; it has a place in that one's line.
-spec add(who(), thing(), turns()) -> {place(), turns()}.
add(Who, Thing, #turns{lines = Lines} = Turns) ->
    Place = last(),
    case Lines of
        #{Who := {Turn, Line}} ->
            {Place, Turns#turns{lines = Lines#{Who := {Turn, gb_trees:insert(Place, Thing, Line)}}}};
        _ ->
            {Place, join(Who, gb_trees:insert(Place, Thing, gb_trees:empty()), Turns)}
    end.

%% @doc What has its turn.
-spec next(turns()) -> {thing(), turns()} | none.
next(#turns{lines = Lines}) when map_size(Lines) =:= 0 ->
    none;
next(#turns{ring = Ring, lines = Lines} = Turns) ->
    {_, Who, Others} = gb_trees:take_smallest(Ring),
    {{_, Line}, OtherLines} = maps:take(Who, Lines),
    {_, Thing, Rest} = gb_trees:take_smallest(Line),
    {Thing, join(Who, Rest, Turns#turns{ring = Others, lines = OtherLines})}.

%% @doc Something waits no longer.
-spec remove(who(), place(), turns()) -> turns().
remove(Who, Place, #turns{ring = Ring, lines = Lines} = Turns) ->
    #{Who := {Turn, Line}} = Lines,
    Rest = gb_trees:delete(Place, Line),
    case gb_trees:is_empty(Rest) of
        true -> Turns#turns{ring = gb_trees:delete(Turn, Ring), lines = maps:remove(Who, Lines)};
        false -> Turns#turns{lines = Lines#{Who := {Turn, Rest}}}
    end.

%% At the end of the ring, with a line, if there is one.
join(Who, Line, #turns{ring = Ring, lines = Lines} = Turns) ->
    case gb_trees:is_empty(Line) of
        true -> Turns;
        false ->
            Turn = last(),
            Turns#turns{ring = gb_trees:insert(Turn, Who, Ring), lines = Lines#{Who => {Turn, Line}}}
    end.

last() ->
    erlang:unique_integer([monotonic]).
