%%% Log lines that somebody else can cause: so many a minute of each kind and no more, and never with credentials.
-module(mod_stanzagate_journal).

-export([failed/2, new/0, note/5]).
-export_type([journal/0]).

-include("xmpp.hrl").
-include("logger.hrl").

-define(LINES, 10).    % a minute
%% Each kind has the minute of its last line, and behind it the number of lines in that minute.
-define(KINDS, #{forbidden => 1, 'bad-request' => 3, 'not-attached' => 5, 'no-decision' => 7, overload => 9,
                 crashed => 11, answer => 13, disbelieved => 15, failed => 17, quiet => 19, revoked => 21, lost => 23,
                 heavy => 25}).

-opaque journal() :: atomics:atomics_ref().
-type guard() :: #{host := binary(), journal := journal(), _ => _}.    % of devices or of a grid host
-type level() :: info | warning | error.
-type kind() :: mod_stanzagate_guard:reason() | mod_stanzagate_grid_filter:reason() | disbelieved | failed.

-spec new() -> journal().
new() ->
    atomics:new(2 * map_size(?KINDS), []).

%% @doc Log a line, unless there was enough of its kind. Addresses among the arguments are written when they are needed.
-spec note(guard(), level(), kind(), string(), [term()]) -> ok.
note(#{host := Host, journal := Journal}, Level, Kind, Format, Arguments) ->
    Slot = maps:get(Kind, ?KINDS),
    Minute = erlang:monotonic_time(second) div 60,
    Last = atomics:get(Journal, Slot),
    _ = Last =/= Minute andalso atomics:compare_exchange(Journal, Slot, Last, Minute) =:= ok
        andalso left_out(Host, Level, Kind, atomics:exchange(Journal, Slot + 1, 0) - ?LINES),
    case atomics:add_get(Journal, Slot + 1, 1) of
        Number when Number =< ?LINES -> log(Level, "~ts: " ++ Format, [Host | lists:map(fun written/1, Arguments)]);
        _ -> ok
    end.

left_out(Host, Level, Kind, Number) when Number > 0 ->
    log(Level, "~ts: (~B more like this: ~s)", [Host, Number, Kind]);
left_out(_, _, _, _) ->
    ok.

log(info, Format, Arguments) -> ?INFO_MSG(Format, Arguments);
log(warning, Format, Arguments) -> ?WARNING_MSG(Format, Arguments);
log(error, Format, Arguments) -> ?ERROR_MSG(Format, Arguments).

written(#jid{} = Jid) -> jid:encode(Jid);
written(Argument) -> Argument.

%% @doc Log where and how something failed, without any of the data: that may hold credentials.
-spec failed(guard(), {atom(), term(), list()}) -> ok.
failed(Guard, {Class, Reason, Stack}) ->
    Places = [io_lib:format("~s:~s/~b line ~b", [Module, Function, arity(Arity), proplists:get_value(line, Info, 0)])
              || {Module, Function, Arity, Info} <- lists:sublist(Stack, 5)],
    note(Guard, error, failed, "the guard failed: ~s ~s in ~s", [Class, named(Reason), lists:join(" < ", Places)]).

named(Reason) when is_atom(Reason) -> atom_to_list(Reason);
named(Reason) when is_tuple(Reason), is_atom(element(1, Reason)) -> atom_to_list(element(1, Reason));
named(_) -> "failure".

arity(Arguments) when is_list(Arguments) -> length(Arguments);
arity(Arity) -> Arity.
