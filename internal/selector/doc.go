// Package selector chooses endpoints by their labels and attributes. The API,
// the commands, the dashboard and the rules of who may do what all use this one
// grammar:
//
//	selector = term { "," term }                 all terms must match: "," is and
//	term     = key "=" value                     has this value
//	         | key "!=" value                    has another value, or none
//	         | key "~" pattern                   has a value like this
//	         | key "!~" pattern                  has a value unlike this, or none
//	         | key "in" "(" value { "," value } ")"
//	         | key "notin" "(" value { "," value } ")"
//	         | label                             has the label
//	         | "!" label                         lacks the label
//	         | "seen" ( "<" | ">" ) duration     was seen less, or more, than this long ago
//	         | "drained" "=" ( "true" | "false" )
//	         | "drained" | "!" "drained"         the same, shorter
//	key      = label | "name" | "type" | "version"
//	label    = 1-63 of A-Z a-z 0-9 . _ / - , the first a letter or digit
//	value    = bare | quoted                     up to 255 bytes
//	pattern  = value with wildcards              up to 255 bytes
//	bare     = one or more letters, digits and . _ / - : @ + % of any script;
//	           in a pattern also * ? [ ] and, after [, !
//	quoted   = '"' printable characters '"'      with \" for a quote, \\ for a backslash
//	duration = whole numbers with the units d, h, m, s, in this order: 5m, 1h30m, 7d
//
// Spaces, tabs and line ends may stand between any two of these. Everything is
// case-sensitive.
//
// "or" over values is key in (a,b); "or" over terms is several selectors: a
// [Union].
//
// # Attributes
//
// Five keys are no labels, and no label can have their names. "name" is the
// endpoint's name. "type" has as many values as the endpoint has task types:
// type=a matches if one of them is a, type!=a if none is. "version" is the
// version of its manager. "seen" is the time since its last heartbeat: exactly 5
// minutes are neither seen<5m nor seen>5m, and an endpoint that was never seen
// matches seen>. "drained" is true while the endpoint takes no new tasks.
//
// # Negation
//
// "!=", "!~" and "notin" match endpoints without the label too, as in
// Kubernetes, and "type" and "version" where the endpoint has none. [Match]
// reports such a match, so that it can be counted and shown. To leave them out,
// ask for the label as well: role,role!=db.
//
// # Patterns
//
// A pattern matches the whole value. "*" stands for any characters or none, "?"
// for one, "[a-cx]" for one of a, b, c and x, "[!a-c]" for one other than these.
// "-" is itself at either end of the brackets, "!" except at their beginning,
// and "*", "?" and "[" in brackets are themselves. Quotes do not change what a
// wildcard means. There are no regular expressions. A match takes at most as
// many steps as the product of the lengths of pattern and value.
//
// # Every endpoint
//
// An empty text, "*" and "name~*" choose every endpoint. An empty text is what
// an unset variable leaves, so [Parse] returns [ErrAll] with such a selector;
// see there.
package selector
