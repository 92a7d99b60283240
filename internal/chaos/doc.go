// Package chaos runs a cluster of real processes under load while it breaks things, and
// judges what the clients saw.
//
// [Run] builds nothing: it is given the binary. It starts three members on fresh
// directories, each behind a door of a [Network] on its Raft port, so that each direction
// between two members can be held, delayed or broken by itself. Clients of package client
// load every part of the API and record what they did; probers measure for how long no
// write got through. A seeded schedule applies one fault after another. Then the faults
// end, the cluster has to converge, and the history goes through the checks of package
// consistency.
//
// The order of faults follows from the seed; what the processes make of them does not, so a
// seed gives the same run only roughly. Nothing outside the directory of the run is touched,
// and only processes that the run started are signalled. Faults of disks need root (mount,
// losetup, fsfreeze); without it they are left out and the report says so. Speed is not
// judged, but for the few bounds that the service promises.
package chaos
