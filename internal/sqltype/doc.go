// Package sqltype says what a data type may look like, and translates between
// a type's text, such as "DECIMAL(15, 2)" or "MAP<STRING, VECTOR(3)>", and its
// message.
//
// Text that Format prints is canonical: Parse reads it back to an equal
// message, and printing that gives the same text. Parse also takes other case
// and spacing and the usual SQL synonyms (INTEGER, BIGINT, TEXT, NUMERIC ...).
//
// The grammar, with keywords in any case:
//
//	type   = name [ "(" number [ "," number ] ")" ]
//	       | "TIMESTAMP" ( "WITH" | "WITHOUT" ) "TIME" "ZONE"
//	       | "LIST" "<" type ">"
//	       | "MAP" "<" type "," type ">"
//	       | "STRUCT" "<" field { "," field } ">" .
//	field  = ( identifier | quoted ) type [ [ "NOT" ] "NULL" ] .
//	quoted = `"` { character | `""` } `"` .
//
// A field of a STRUCT may be NULL unless it says NOT NULL.
//
// All functions are pure and safe for concurrent use. The package refuses to
// drop what it cannot keep: VARCHAR(25) is an error, not a STRING.
package sqltype
