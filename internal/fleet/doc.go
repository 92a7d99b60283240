// Package fleet runs members on this machine as child processes, and ends them again.
//
// A Cluster has fresh directories below one of its own, loopback addresses, and the
// binary's default settings. Its children die with this process (on Linux even if it is
// killed), and Close kills them and deletes the directories, whatever state they are in.
// They form process groups of their own, so that Ctrl-C in a terminal reaches this
// process only, which then ends them.
//
// Process alone serves for other programs too; Usage reads what the system knows of one.
// Methods of one Cluster are not for concurrent use, except that reading addresses is;
// those of a Process are safe. The package refuses to restart what ends by itself: it is
// reported by Lost.
package fleet
