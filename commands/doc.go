// Package commands decides: it turns a command and the model it meets into the
// change that the command makes, or into a rejection.
//
// [Schema], [Topology] and [Service] are pure. They read no clock, no randomness and
// no map order: the time and the ids that they give come from Env and model, so that
// the same model, Env and command always give the same bytes. What they decide always
// folds. They never panic, whatever the message: a command may come from anywhere.
//
// A decision is made against the leader's pending model by the goroutine that
// owns it; folding a draft of a batch copies that model's maps, and only their
// owner may do so. Commands are read and never changed or kept; the messages of a
// decision are shared with its change and must not be changed.
//
// The package checks what a command means: names, types, ids, versions, limits
// and references. It refuses to do what a change cannot undo halfway: a command is
// carried out whole or rejected whole. It proposes nothing, waits for nothing and
// knows nothing of leadership.
//
// One file per aggregate: namespace.go, table.go and alter.go, node.go and
// liveness.go, shard.go and shardmap.go, consumer.go and history.go; batch.go carries
// out many as one. A new command gets its case in dispatch.go, its decision beside its
// aggregate, and its answer in reply.go.
package commands
