// Package diff says in what two states differ: two messages field by field, two models of
// a stream object by object.
//
// Results are those of the contract's FieldDiff and ObjectDiff. They depend on nothing but
// the two states, and come in the same order every time. What differs gives at least one
// difference, and what is equal none; fields that this build does not know are not compared.
// The functions are pure: they change nothing, and may be called at the same time.
package diff
