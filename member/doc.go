// Package member runs one member of the cluster: its streams, what it has of their past, their shared
// storage, the connections to the other members and the leases of nodes.
//
// Everything that decides is elsewhere, in step machines (replica, feed, leases,
// raftlog's transfers); this package gives them goroutines, sockets and clocks.
// Each stream has one goroutine that owns its replica; one more stores the
// writes of all, so that they share synced batches; others come and go with
// calls, checkpoints and transfers, index the past and sign heads. They talk through queues and never hold a lock
// while they wait for another goroutine.
//
// A Member is created by New, which opens the storage and refuses what must not
// start (another member's directory; alone, a damaged one), and lives in Run. Its
// methods may be called from any goroutine at any time: before the streams run
// they answer NO_LEADER and say what is being waited for.
//
// A member that has lost something others count on (its directory, entries, a
// vote), or whose checkpoints differ from a majority's, is in quarantine: its
// streams do not run, calls answer QUARANTINED, and Run rebuilds it from the others
// and starts the streams again.
//
// It refuses to carry on after a failed write or an event that it cannot fold: Run
// returns why.
package member
