// Package feed hands changes to subscribers. A Log holds the recent changes of
// one stream, as the replica committed them; a Subscription is a set of cursors
// on the Logs of a Feed, one for each stream that its filter can match.
//
// # Promises to a subscriber
//
// Ordered: a stream's revisions only grow. Unique: no change comes twice.
// Reliable: no change that matches the filter is left out. Atomic: a change is
// never split over two frames, and is marked partial if the filter left events
// out. Resumable: from any position, with exactly what follows it. Bookmarked:
// a bookmark names a position up to which everything was sent, and no bookmark
// runs backwards. Filtered alike: snapshots by the same filter as changes.
// Committed: nothing is sent that the replica has not appended. Nothing is
// promised about the order of two streams.
//
// Where a promise cannot be kept, because the history behind a position was
// trimmed or because the position is not of this cluster's past, the subscriber
// is told by a reset and given a snapshot, or by an error if it asked for that.
// A member that merely lacks a part of the history ends the subscription with
// HISTORY_GAP, so that the subscriber turns to another member.
//
// # Cost and concurrency
//
// A Log is read without locks: appending publishes an immutable view, so neither
// the number nor the pace of subscribers slows the replica down. A subscriber
// that does not read costs its cursors, and the snapshot that it is in the midst
// of. Log's writing methods are called by one goroutine at a time, the one that
// owns the replica; reading methods by any. A Subscription belongs to one
// goroutine.
//
// Serve wakes the subscribers of a change a few at a time, so that those who carry the
// next change find a processor; under load it finds them further behind, and each frame
// has more.
//
// Subscription.Next is a step function: it reads no clock and never waits (but
// for the History and the Snapshots that it is given). Serve is the loop around
// it that does.
//
// The package refuses to buffer per subscriber, to know what an object is, and
// to decide who may read what.
package feed
