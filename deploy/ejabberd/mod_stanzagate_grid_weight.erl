%%% Stanzas that grow when they are passed on.
%%%
%%% A client declares a prefix once and uses it in thousands of elements; the server that writes them into another stream
%%% declares the namespace at each of them. So a few kilobytes become hundreds of megabytes, which a component has to
%%% read. What is nested without end makes work in the same way.
-module(mod_stanzagate_grid_weight).

-export([is_heavy/1]).

-include("xmpp.hrl").

-define(MOST, 262144).    % bytes of declarations
-define(DEEPEST, 512).

%% @doc Whether a stanza is not to be passed on.
-spec is_heavy(stanza()) -> boolean().
is_heavy(Stanza) ->
    weigh(xmpp:get_els(Stanza), <<>>, ?MOST, 0) < 0.

%% What is left of so many bytes after the declarations in these elements; negative when there are too many.
weigh(_, _, Left, _) when Left < 0 -> Left;
weigh([#xmlel{attrs = Attributes, children = Children} | Others], Around, Left, Depth) when Depth =< ?DEEPEST ->
    {Namespace, Declared} = declared(Attributes, Around),
    weigh(Others, Around, weigh(Children, Namespace, Left - Declared, Depth + 1), Depth);
weigh([#xmlel{} | _], _, _, _) -> -1;
weigh([_ | Others], Around, Left, Depth) -> weigh(Others, Around, Left, Depth);
weigh([], _, Left, _) -> Left.

declared(Attributes, Around) ->
    lists:foldl(fun({<<"xmlns">>, Namespace}, {_, Size}) when Namespace =/= Around ->
                          {Namespace, Size + byte_size(Namespace)};
                   ({<<"xmlns:", _/binary>>, Namespace}, {Now, Size}) -> {Now, Size + byte_size(Namespace)};
                   (_, Found) -> Found
                end, {Around, 0}, Attributes).
