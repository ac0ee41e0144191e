%%% The front of the broker: what of the stanzas to the pubsub host reaches the server's own pubsub service.
%%%
%%%     a plain publish              passes; the server's pubsub knows the publishers; what that refuses is put to the
%%%                                  controller as well, because its own words would tell which topics there are
%%%     any other request            is put to the controller, wrapped as in XEP-0355; its answer is sent from the
%%%                                  pubsub host as if that had made it
%%%     the controller's own         pass
%%%     everything else              is dropped
%%%
%%% The pubsub host has no accounts, so there is no hook of its own: it stands in filter_packet.
-module(mod_stanzagate_grid_front).

-export([answering/2, arriving/2, expire/1, give_up/1, is_publish/1, publishes/1, topics/1]).

-include("xmpp.hrl").

-type guard() :: mod_stanzagate_grid_guard:guard().

%% @doc A stanza to the broker: what goes on to the server's pubsub service.
-spec arriving(guard(), stanza()) -> stanza() | drop.
arriving(Guard, Packet) ->
    case {mod_stanzagate_grid_guard:component(Guard, xmpp:get_from(Packet)), Packet} of
        {true, #iq{type = Type}} when Type =:= result; Type =:= error -> answered(Guard, Packet);
        {true, _} -> Packet;
        {false, _} -> from_others(Guard, Packet)
    end.

from_others(Guard, #iq{type = Type, to = #jid{luser = <<>>, lresource = <<>>}} = IQ) when Type =:= get; Type =:= set ->
    case {is_publish(IQ), mod_stanzagate_grid_leaving:is_time()} of
        {true, false} ->
            mod_stanzagate_grid_guard:count(Guard, passed),
            xmpp:put_meta(IQ, stanzagate_publish, IQ);    % comes back with the answer, wherever that is made
        {true, true} ->
            drop;    % has no answer, so it is published again
        {false, _} ->
            ask(Guard, IQ),
            drop
    end;
from_others(Guard, #iq{type = Type} = IQ) when Type =:= get; Type =:= set ->
    mod_stanzagate_grid_filter:refuse(Guard, absent, IQ),
    drop;
from_others(Guard, _) ->
    mod_stanzagate_grid_guard:count(Guard, discarded),
    drop.

%% @doc What the server's pubsub service says to somebody: what of it goes on.
-spec answering(guard(), iq()) -> iq() | drop.
answering(Guard, #iq{type = Type, meta = #{stanzagate_publish := Asked}} = Answer) ->
    case Type of
        error ->
            ask(Guard, Asked),
            drop;
        _ -> mod_stanzagate_grid_stored:answering(Guard, xmpp:del_meta(Answer, stanzagate_publish))
    end;
answering(Guard, Answer) ->
    mod_stanzagate_grid_stored:answering(Guard, Answer).

%%% What the controller answers

%% What this process has read of the guard may be old: the controller may just have attached or gone.
ask(#{questions := Questions} = Guard, IQ) ->
    case Guard of
        #{streams := []} -> mod_stanzagate_grid_filter:refuse(Guard, 'not-attached', IQ);
        #{streams := [Newest | _]} ->
            case mod_stanzagate_grid_questions:add(Questions, IQ) of
                overload -> mod_stanzagate_grid_filter:refuse(Guard, overload, IQ);
                {ok, Id} ->
                    mod_stanzagate_grid_guard:count(Guard, delegated),
                    Newest ! {route, question(Guard, Id, IQ)},
                    is_process_alive(Newest) orelse mod_stanzagate_grid_server:look(Guard)
            end
    end.

%% Straight into the newest stream: the router might choose an old one, which may be half open.
question(#{broker := Broker, component := Component}, Id, IQ) ->
    #xmlel{attrs = Attributes} = Request = xmpp:encode(IQ#iq{meta = #{}}, ?NS_CLIENT),
    Inner = Request#xmlel{attrs = lists:keystore(<<"xmlns">>, 1, Attributes, {<<"xmlns">>, ?NS_CLIENT})},
    Forwarded = #xmlel{name = <<"forwarded">>, attrs = [{<<"xmlns">>, ?NS_FORWARD}], children = [Inner]},
    #iq{type = set, id = Id, from = jid:make(Broker), to = jid:make(Component),
        sub_els = [#xmlel{name = <<"delegation">>, attrs = [{<<"xmlns">>, ?NS_DELEGATION}], children = [Forwarded]}]}.

%% An answer is believed once. One that we did not ask for is the controller's own affair with the server.
answered(#{questions := Questions} = Guard, #iq{id = Id} = Answer) ->
    case mod_stanzagate_grid_questions:take(Questions, Id) of
        {ok, Asked} ->
            answer(Guard, Asked, Answer),
            drop;
        none ->
            mod_stanzagate_grid_guard:count(Guard, discarded),
            Answer
    end.

inner(#iq{type = result, sub_els = [Element]}) ->
    {<<"delegation">>, ?NS_DELEGATION, [Forwarded]} = named(encoded(Element)),
    {<<"forwarded">>, ?NS_FORWARD, [Inner]} = named(Forwarded),
    {<<"iq">>, ?NS_CLIENT, _} = named(Inner),
    Inner.

named(#xmlel{name = Name, children = Children} = Element) ->
    {Name, namespace(Element), elements(Children)}.

%% The answer decides what is said, and nothing about whom it goes to.
answer(Guard, Asked, Answer) ->
    try
        #xmlel{attrs = Attributes, children = Children} = inner(Answer),
        Type = case fxml:get_attr_s(<<"type">>, Attributes) of
                   <<"result">> -> result;
                   <<"error">> -> error
               end,
        Reply = (xmpp:make_iq_result(Asked))#iq{type = Type, sub_els = [plain(Child) || Child <- elements(Children)]},
        ejabberd_router:route(xmpp:put_meta(Reply, stanzagate_grid, answer))
    catch
        _:_ ->
            mod_stanzagate_grid_filter:refuse(Guard, crashed, Asked)
    end.

%% An element that stood in jabber:client must not say so in another stream.
plain(#xmlel{attrs = Attributes} = Element) ->
    Element#xmlel{attrs = Attributes -- [{<<"xmlns">>, ?NS_CLIENT}]}.

%% @doc Those that were asked and not answered in time get an error.
-spec expire(guard()) -> ok.
expire(#{questions := Questions} = Guard) ->
    given_up(Guard, mod_stanzagate_grid_questions:overdue(Questions)).

%% @doc The controller has gone: nobody will answer.
-spec give_up(guard()) -> ok.
give_up(#{questions := Questions} = Guard) ->
    given_up(Guard, mod_stanzagate_grid_questions:take_all(Questions)).

given_up(Guard, Asked) ->
    lists:foreach(fun(IQ) -> mod_stanzagate_grid_filter:refuse(Guard, 'not-attached', IQ) end, Asked).

%%% What a stanza is

%% @doc Whether a request does nothing but publish an item to a pubsub node. ejabberd would refuse several at once.
-spec is_publish(stanza()) -> boolean().
is_publish(#iq{type = set, sub_els = [Element]}) ->
    case encoded(Element) of
        #xmlel{name = <<"pubsub">>, children = Children} = Pubsub ->
            namespace(Pubsub) =:= ?NS_PUBSUB andalso plainly(elements(Children));
        _ -> false
    end;
is_publish(_) ->
    false.

plainly([#xmlel{name = <<"publish">>, children = Items} = Publish]) ->
    lists:member(namespace(Publish), [<<>>, ?NS_PUBSUB]) andalso fxml:get_tag_attr_s(<<"node">>, Publish) =/= <<>>
        andalso case elements(Items) of
                    [#xmlel{name = <<"item">>} = Item] -> lists:member(namespace(Item), [<<>>, ?NS_PUBSUB]);
                    _ -> false
                end;
plainly(_) ->
    false.

%% @doc Whether a request is to change what the account's own pubsub service has (PEP), which tells others of it.
-spec publishes(stanza()) -> boolean().
publishes(#iq{type = set, sub_els = Elements}) ->
    lists:any(fun(Element) ->
                      lists:member(namespace(encoded(Element)), [?NS_PUBSUB, ?NS_PUBSUB_OWNER])
              end, Elements);
publishes(_) ->
    false.

%% @doc The pubsub nodes that a message has items of, or retractions; other notices tell nothing of their content.
-spec topics(message()) -> [binary()].
topics(Message) ->
    lists:usort([Node || Element <- xmpp:get_els(Message),
                         #xmlel{name = <<"event">>, children = Children} <- [encoded(Element)],
                         #xmlel{name = <<"items">>} = Child <- Children,
                         {value, Node} <- [fxml:get_tag_attr(<<"node">>, Child)]]).

encoded(#xmlel{} = Element) -> Element;
encoded(Record) -> xmpp:encode(Record, ?NS_CLIENT).

elements(Children) ->
    [Child || #xmlel{} = Child <- Children].

namespace(Element) ->
    fxml:get_tag_attr_s(<<"xmlns">>, Element).
