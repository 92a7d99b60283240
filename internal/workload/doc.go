// Package workload is what `heliosmeta bench` does to the service: creating tables one by
// one and in batches, reading them with each consistency and from the client's cache,
// routing keys, heartbeats, subscriptions, and what it takes until a cluster goes on after
// a member was killed, paused or restarted.
//
// A Work is prepared, run (once or several times, one after the other) and cleaned up.
// It works in a namespace and on nodes of its own, whose names nobody else has, and
// leaves what it finds alone; what it cannot do without harm to others, such as killing
// members, it refuses on a cluster that is not its own. Operations of a run are
// concurrent; Prepare, Run and Clean of one Work are not.
//
// Calls are made by a Caller: the Go client, or a stock grpc-go connection. The package
// measures through internal/measure and knows no figures of its own.
package workload
