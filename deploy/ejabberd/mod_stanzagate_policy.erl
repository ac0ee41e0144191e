%%% What plugin and component say to each other, in the namespace urn:stanzagate:policy:1. No state, no effects.
-module(mod_stanzagate_policy).

-export([check/4, decision/2, flush/2, namespace/0, natural/1, well_formed/1]).
-export_type([decision/0]).

-include("xmpp.hrl").

-define(NS, <<"urn:stanzagate:policy:1">>).
-define(DIGITS, 15).    % longer numbers are not of this world

-type decision() :: #{effect := allow | deny, scope := bare | full, ttl := non_neg_integer(),
                      stale := non_neg_integer(), epoch := non_neg_integer()}.    % times in milliseconds

-spec namespace() -> binary().
namespace() ->
    ?NS.

%% @doc The question whether a requester may reach a device.
-spec check(binary(), binary(), jid(), jid()) -> iq().
check(Host, Component, Requester, Device) ->
    Attributes = [{<<"xmlns">>, ?NS},
                  {<<"requester">>, jid:encode(jid:tolower(Requester))},
                  {<<"device">>, jid:encode(jid:tolower(Device))}],
    #iq{type = get, from = jid:make(Host), to = jid:make(Component),
        sub_els = [#xmlel{name = <<"check">>, attrs = Attributes}]}.

%% @doc Read the answer to it.
-spec decision(binary(), iq() | timeout) -> {ok, decision()} | none | foreign | malformed.
decision(_, timeout) ->
    none;
decision(Component, #iq{type = Type, sub_els = Elements,
                        from = #jid{luser = <<>>, lserver = Component, lresource = <<>>}}) ->
    case {Type, Elements} of
        {error, _} -> none;
        {result, [#xmlel{name = <<"decision">>, attrs = Attributes}]} -> well_formed(fun() -> decided(Attributes) end);
        _ -> malformed
    end;
decision(_, #iq{}) ->
    foreign.

decided(Attributes) ->
    Value = fun(Name) -> fxml:get_attr_s(Name, Attributes) end,
    ?NS = Value(<<"xmlns">>),
    Ttl = milliseconds(Value(<<"ttl">>)),
    Stale = milliseconds(Value(<<"stale">>)),
    true = Ttl =< Stale,
    #{effect => effect(Value(<<"effect">>)), scope => scope(Value(<<"scope">>)), ttl => Ttl, stale => Stale,
      epoch => natural(Value(<<"epoch">>))}.

effect(<<"allow">>) -> allow;
effect(<<"deny">>) -> deny.

scope(<<"bare">>) -> bare;
scope(<<"full">>) -> full.

%% @doc Read an order to forget: the epoch, whom it is about ({user, domain}) and which device's user.
-spec flush(binary(), xmlel()) ->
          {ok, {non_neg_integer(), {binary(), binary()} | any, binary() | any | elsewhere}} | malformed.
flush(Host, #xmlel{attrs = Attributes}) ->
    well_formed(fun() ->
                        {natural(fxml:get_attr_s(<<"epoch">>, Attributes)),
                         bare(fxml:get_attr(<<"requester">>, Attributes)),
                         device(bare(fxml:get_attr(<<"device">>, Attributes)), Host)}
                end).

device({User, Host}, Host) -> User;
device(any, _) -> any;
device(_, _) -> elsewhere.

bare(false) -> any;
bare({value, Text}) ->
    #jid{luser = User, lserver = Server, lresource = <<>>} = jid:decode(Text),
    {User, Server}.

%% @doc What a reader returns, unless it does not find what it expects.
-spec well_formed(fun(() -> Read)) -> {ok, Read} | malformed.
well_formed(Read) ->
    try
        {ok, Read()}
    catch
        error:_ -> malformed
    end.

%% Seconds, perhaps with decimals.
milliseconds(Text) ->
    case binary:split(Text, <<".">>) of
        [Whole] -> 1000 * natural(Whole);
        [Whole, Decimals] ->
            _ = natural(Decimals),
            1000 * natural(Whole) + natural(binary:part(<<Decimals/binary, "00">>, 0, 3))
    end.

%% @doc A number as it is written: digits and nothing else, and not too many; anything else is an error.
-spec natural(binary()) -> non_neg_integer().
natural(Text) when byte_size(Text) > 0, byte_size(Text) =< ?DIGITS ->
    true = lists:all(fun(Digit) -> Digit >= $0 andalso Digit =< $9 end, binary_to_list(Text)),
    binary_to_integer(Text).
