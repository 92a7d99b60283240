// Package measure runs one operation again and again and says how long it took.
//
// A closed loop has a number of clients, each of which begins its next operation when
// the last one has ended: it finds how much a service can do. An open loop begins
// operations at a fixed rate whatever the service does, and counts their latency from
// the moment at which they should have been sent: a service that stalls pays for every
// operation that it kept from being sent ("coordinated omission" is the error of not
// counting them). Operations that could not be sent before the end are counted as
// unsent, with their age at the end as the least that they took.
//
// A run has a warm-up, of which nothing is kept, and a window. Percentiles are of the
// successful operations that were due in the window, however long they took; operations
// a second are those that ended in it. Failures are counted by kind.
//
// Run returns when all its goroutines have ended. A Recorder is safe for concurrent use.
// The package refuses to know what it measures: operations, and the kinds of their
// errors, come from outside. It does not measure itself away: recording costs some
// 0.1 microseconds an operation, so that what is faster is done several times for each
// measurement (Plan.Repeat).
package measure
