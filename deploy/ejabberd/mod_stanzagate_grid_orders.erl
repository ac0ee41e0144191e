%%% What the controller may say to the guard on a grid host, in the namespace urn:stanzagate:policy:1. No state, no
%%% effects.
-module(mod_stanzagate_grid_orders).

-export([read/1]).
-export_type([said/0]).

-include("xmpp.hrl").

-type said() :: {obey, reset | non_neg_integer(), [mod_stanzagate_grid_facts:order()], non_neg_integer()}
              | {quiet, jid(), boolean(), non_neg_integer()}
              | {disconnect, jid(), binary()}
              | flush.
%% obey: whether everything is forgotten before, or else up to which epoch the guard must know everything; the orders;
%% the epoch that it is up to date to then.

%% @doc Read an order.
-spec read(xmlel()) -> {ok, said()} | malformed.
read(Element) ->
    mod_stanzagate_policy:well_formed(fun() -> said(Element) end).

said(#xmlel{name = <<"changes">>, children = Children} = Element) ->
    Since = case fxml:get_tag_attr(<<"since">>, Element) of
                {value, Text} -> mod_stanzagate_policy:natural(Text);
                false -> 0
            end,
    Mode = case flag(<<"reset">>, Element) of
               true -> reset;
               false -> Since
           end,
    {obey, Mode, lists:flatmap(fun inner/1, [Child || #xmlel{} = Child <- Children]), epoch(Element)};
said(#xmlel{name = <<"quiet">>} = Element) ->
    #jid{lresource = <<_, _/binary>>} = Jid = jid(Element),
    {quiet, Jid, not flag(<<"lifted">>, Element), epoch(Element)};
said(#xmlel{name = <<"disconnect">>} = Element) ->
    {disconnect, jid(Element), value(<<"reason">>, Element)};
said(#xmlel{name = <<"flush">>}) ->
    flush;
said(Element) ->
    {obey, 0, order(Element), epoch(Element)}.

inner(Element) ->
    ours(Element),
    order(Element).

order(#xmlel{name = <<"node">>} = Element) ->
    State = state(value(<<"state">>, Element)),
    [{{account, bare(Element)}, bound(State, certificates(Element)), epoch(Element)}];
order(#xmlel{name = <<"revoked">>} = Element) ->
    {Fingerprint, _} = fingerprint(Element),
    [{{revoked, Fingerprint}, not flag(<<"reinstated">>, Element), epoch(Element)}];
order(#xmlel{name = <<"lost">>} = Element) ->
    Node = value(<<"node">>, Element),
    true = Node =/= <<>>,
    [{{lost, bare(Element), Node}, not flag(<<"regained">>, Element), epoch(Element)}].

bound(active, [_ | _] = Certificates) -> {active, iolist_to_binary(Certificates)};
bound(State, _) -> State.

certificates(#xmlel{children = Children}) ->
    [begin
         <<"certificate">> = Child#xmlel.name,
         ours(Child),
         {_, Digest} = fingerprint(Child),
         Digest
     end || #xmlel{} = Child <- Children].

%% In small letters, and as it is.
fingerprint(Element) ->
    Fingerprint = string:lowercase(value(<<"fingerprint">>, Element)),
    64 = byte_size(Fingerprint),
    {Fingerprint, binary:decode_hex(Fingerprint)}.

ours(Element) ->
    true = lists:member(value(<<"xmlns">>, Element), [<<>>, mod_stanzagate_policy:namespace()]).

state(<<"active">>) -> active;
state(<<"disabled">>) -> disabled;
state(<<"unknown">>) -> unknown.

bare(Element) ->
    #jid{luser = <<_, _/binary>> = User, lserver = Server, lresource = <<>>} = jid(Element),
    {User, Server}.

jid(Element) ->
    jid:decode(value(<<"jid">>, Element)).

epoch(Element) ->
    mod_stanzagate_policy:natural(value(<<"epoch">>, Element)).

flag(Name, Element) ->
    case value(Name, Element) of
        <<"true">> -> true;
        Other when Other =:= <<>>; Other =:= <<"false">> -> false
    end.

value(Name, #xmlel{attrs = Attributes}) ->
    fxml:get_attr_s(Name, Attributes).
