%%% The connection request of TR-069 Annex K: where a stanza carries one, and its normal form.
%%%
%%% A payload is any element that a device might take for a connection request: every element named connectionRequest,
%%% whatever its namespace, and every element of the namespace, at any depth. p1_xml has turned prefixes that a stanza
%%% declares into default namespaces; one that only the sender's stream header declares is kept, without a meaning.
-module(mod_stanzagate_payload).

-export([prepared/1, read/1]).
-export_type([form/0]).

-include("xmpp.hrl").

-define(NS, <<"urn:broadband-forum-org:cwmp:xmppConnReq-1-0">>).
-define(NAME, <<"connectionRequest">>).
-define(LONGEST, 256).    % characters, as the data model has it

%% An element's children that are at most one short text: what a field of the normal form holds.
-define(FIELD(Children),
        (Children =:= []
         orelse tl(Children) =:= [] andalso element(1, hd(Children)) =:= xmlcdata
                andalso byte_size(element(2, hd(Children))) =< ?LONGEST)).
-define(PREPARED(Jid),
        (Jid#jid.user =:= Jid#jid.luser andalso Jid#jid.server =:= Jid#jid.lserver
         andalso Jid#jid.resource =:= Jid#jid.lresource)).

-type form() :: none | answer | malformed | {request, iq()}.
%% none: no payload. answer: one in a result or error. malformed: one that must not be delivered.
%% request: as it may be delivered, in normal form.

%% @doc What a stanza carries. A request in normal form comes back as it is, without a copy.
-spec read(stanza()) -> form().
read(#iq{type = get,
         sub_els = [#xmlel{name = ?NAME, attrs = [{<<"xmlns">>, ?NS}],
                           children = [#xmlel{name = <<"username">>, attrs = [], children = Username},
                                       #xmlel{name = <<"password">>, attrs = [], children = Password}]}]} = IQ)
  when ?FIELD(Username), ?FIELD(Password) ->
    {request, addressed(IQ)};
read(Stanza) ->
    case lists:any(fun carries/1, xmpp:get_els(Stanza)) of
        false -> none;
        true -> shape(xmpp:get_type(Stanza), Stanza)
    end.

shape(error, _) -> answer;
shape(result, #iq{}) -> answer;
shape(get, #iq{sub_els = [#xmlel{} = Element]} = IQ) ->
    try
        {request, addressed(IQ#iq{sub_els = [normal(Element)]})}
    catch
        throw:malformed -> malformed
    end;
shape(_, _) -> malformed.

%% Both addresses prepared, and no xml:lang, which the server itself adds to what its clients send.
addressed(#iq{lang = <<>>, from = From, to = To} = IQ) when ?PREPARED(From), ?PREPARED(To) -> IQ;
addressed(#iq{from = From, to = To} = IQ) -> IQ#iq{lang = <<>>, from = prepared(From), to = prepared(To)}.

%% @doc The same address in the spelling that comparison uses.
-spec prepared(jid()) -> jid().
prepared(Jid) when ?PREPARED(Jid) -> Jid;
prepared(#jid{luser = User, lserver = Server, lresource = Resource} = Jid) ->
    Jid#jid{user = User, server = Server, resource = Resource}.

carries(#xmlel{} = Element) -> carries(Element, <<>>);
carries(Record) -> carries(xmpp:encode(Record, ?NS_CLIENT), <<>>).    % of the server's own making

carries(#xmlel{name = Name, attrs = Attributes, children = Children}, Inherited) ->
    Namespace = namespace(Attributes, Inherited),
    Namespace =:= ?NS orelse named(Name) orelse carried(Children, Namespace).

carried([#xmlel{} = Child | Children], Namespace) -> carries(Child, Namespace) orelse carried(Children, Namespace);
carried([_ | Children], Namespace) -> carried(Children, Namespace);
carried([], _) -> false.

%% Whether the name, without a prefix, is that of a request.
named(?NAME) -> true;
named(Name) when byte_size(Name) > byte_size(?NAME) -> lists:last(binary:split(Name, <<":">>)) =:= ?NAME;
named(_) -> false.

namespace([], Inherited) -> Inherited;
namespace(Attributes, Inherited) ->
    case lists:keyfind(<<"xmlns">>, 1, Attributes) of
        {_, Namespace} -> Namespace;
        false -> Inherited
    end.

normal(#xmlel{name = ?NAME, attrs = Attributes, children = Children}) ->
    case {namespace(Attributes, <<>>), [Child || Child <- Children, not blank(Child)]} of
        {?NS, [#xmlel{name = <<"username">>} = Username, #xmlel{name = <<"password">>} = Password]} ->
            normal(Username, Password);
        {?NS, [#xmlel{name = <<"password">>} = Password, #xmlel{name = <<"username">>} = Username]} ->
            normal(Username, Password);
        _ ->
            throw(malformed)
    end;
normal(_) ->
    throw(malformed).

normal(Username, Password) ->
    #xmlel{name = ?NAME, attrs = [{<<"xmlns">>, ?NS}], children = [field(Username), field(Password)]}.

field(#xmlel{name = Name, attrs = Attributes, children = Children}) ->
    Text = iolist_to_binary([text(Child) || Child <- Children]),
    case namespace(Attributes, ?NS) =:= ?NS andalso short(Text) of
        true when Text =:= <<>> -> #xmlel{name = Name};
        true -> #xmlel{name = Name, children = [{xmlcdata, Text}]};
        false -> throw(malformed)
    end.

text({xmlcdata, Text}) -> Text;
text(_) -> throw(malformed).

short(Text) ->
    byte_size(Text) =< ?LONGEST
        orelse byte_size(Text) =< 4 * ?LONGEST andalso length(unicode:characters_to_list(Text)) =< ?LONGEST.

blank({xmlcdata, Text}) -> string:trim(Text, leading, " \t\r\n") =:= <<>>;
blank(_) -> false.
