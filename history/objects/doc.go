// Package objects reads what happened to single objects: which changes of a stream are
// about a table, a node, a shard, a namespace or a consumer, what they made of it, how it
// was at a revision, and which of them last set each part of it.
//
// An [Index] finds the changes without folding and mostly without reading others: each
// change has tags, hashes of the names and ids of its objects, and for each segment of
// [SegmentRevisions] revisions the storage keeps the marks that lead from a tag to
// revisions. A [Log] answers from an index, because an event holds the whole object as it
// was afterwards.
//
// Index and Log are safe for concurrent use. They see what their source has when a call
// begins, and more changes at the next call. What the source does not have any more is
// HISTORY_TRIMMED, or what the source says of it.
//
// The package refuses to judge events: what they mean is said by the fold alone, and a
// test holds the two against each other.
package objects
