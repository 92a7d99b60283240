package consistency

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// action is one operation for the search: a change of the log, or an answer that
// changed nothing.
type action struct {
	op     *Op            // nil: the service itself did it, or nobody knows who
	change *events.Change // nil: it changed nothing
	keys   []string       // of the objects that it is about
}

// checkLinearizable looks for an order of the operations on each group of objects
// that explains all answers by the rules. Objects are in one group if an operation
// or a change is about both. Changes that nobody asked for (a node went offline)
// take part as operations of nobody; writes whose client never heard take part if
// they are in the log, because then they took effect.
func checkLinearizable(c *trial) (found []Violation) {
	for _, s := range streams {
		for _, group := range c.groups(s) {
			found = append(found, c.search(s, group)...)
		}
	}
	return found
}

// actions returns everything that took part in a stream's order.
func (c *trial) actions(s metadatav1.Stream) (all []porcupine.Operation) {
	line := c.lines[s]
	makers := make(map[uint64]*Op)
	for _, w := range c.writes {
		if w.stream == s && w.change != nil {
			makers[w.revision()] = w.maker()
		}
	}
	for _, change := range line.changes {
		r := change.Revision()
		a := &action{op: makers[r], change: change, keys: keysOfChange(change)}
		client := nobody
		if a.op != nil {
			client = a.op.Client
			a.keys = append(a.keys, keysOfRequest(a.op.Request)...)
		}
		all = append(all, porcupine.Operation{ClientId: client, Input: a, Call: int64(min(line.earliest[r], line.latest[r])), Return: int64(line.latest[r])})
	}
	for _, o := range c.ops {
		if _, changed := o.changed(); streamOf(o.Request) != s || changed || !linearizable(o) || o.Reason == requestIDReused || o.Reason == invalidField {
			continue
		}
		if keys := keysOfRequest(o.Request); len(keys) > 0 {
			a := &action{op: o, keys: keys}
			all = append(all, porcupine.Operation{ClientId: o.Client, Input: a, Call: int64(o.Began), Return: int64(o.Ended)})
		}
	}
	return all
}

// nobody is the client of changes that no client asked for.
const nobody = 1_000_000

// maker returns the operation with whose command the change was made: the one that
// the change's hash names, if it has one; nil if that is not known.
func (w *write) maker() *Op {
	for _, o := range w.ops {
		_, changed := o.changed()
		if hash := w.change.CommandHash(); len(hash) > 0 && bytes.Equal(hash, hashOf(o.Request)) || len(hash) == 0 && changed {
			return o
		}
	}
	return nil
}

// groups parts a stream's actions by the objects that they are about.
func (c *trial) groups(s metadatav1.Stream) [][]porcupine.Operation {
	all := c.actions(s)
	union := make(unionFind)
	for _, o := range all {
		for _, key := range actionOf(o).keys {
			union.join(actionOf(o).keys[0], key)
		}
	}
	at := make(map[string]int)
	var groups [][]porcupine.Operation
	for _, o := range all {
		root := union.root(actionOf(o).keys[0])
		i, ok := at[root]
		if !ok {
			i = len(groups)
			at[root] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], o)
	}
	return groups
}

func actionOf(o porcupine.Operation) *action {
	a, _ := o.Input.(*action)
	return a
}

// search runs porcupine on one group.
func (c *trial) search(s metadatav1.Stream, group []porcupine.Operation) []Violation {
	model := c.model(s)
	result := porcupine.CheckOperationsTimeout(model, group, c.truth.Patience)
	if result == porcupine.Ok {
		return nil
	}
	keys := keysOfGroup(group)
	if result == porcupine.Unknown {
		return []Violation{broken(Undecided, nil, "no order of %d operations on %s was found or excluded in %v", len(group), keys, c.truth.Patience)}
	}
	_, info := porcupine.CheckOperationsVerbose(model, group, c.truth.Patience)
	v := broken(NotLinearizable, nil, "no order of %d operations on %s explains their answers", len(group), keys)
	v.Diagram = func(to io.Writer) error { return porcupine.Visualize(model, info, to) }
	longest := longestOf(info)
	after := c.replay(s, longest)
	v.Text += fmt.Sprintf("; the longest order that does has %d of them, and ends with %s", len(longest), after)
	v.Text += explain(group, longest, after)
	for _, o := range group {
		if a := actionOf(o); a.op != nil && !contains(longest, a) {
			v.Ops = append(v.Ops, a.op)
		}
	}
	return []Violation{v}
}

func contains(order []porcupine.Operation, a *action) bool {
	return slices.ContainsFunc(order, func(o porcupine.Operation) bool { return actionOf(o) == a })
}

// maxExplained is how many operations an explanation is about.
const maxExplained = 4

// explain says why the operations that would have to come next do not fit: those that
// began before any other that is left ended.
func explain(group, longest []porcupine.Operation, after state) string {
	var left []porcupine.Operation
	end := int64(never)
	for _, o := range group {
		if !contains(longest, actionOf(o)) {
			left = append(left, o)
			end = min(end, o.Return)
		}
	}
	var b strings.Builder
	n := 0
	for _, o := range left {
		if o.Call > end || n == maxExplained {
			continue
		}
		if _, misfit := step(after, actionOf(o)); misfit != "" {
			fmt.Fprintf(&b, "\n  next could come %v, but: %s", actionOf(o), misfit)
			n++
		}
	}
	return b.String()
}

func longestOf(info porcupine.LinearizationInfo) (longest []porcupine.Operation) {
	for _, partition := range info.PartialLinearizationsOperations() {
		for _, order := range partition {
			if len(order) > len(longest) {
				longest = order
			}
		}
	}
	return longest
}

// replay returns the state after an order of operations.
func (c *trial) replay(s metadatav1.Stream, order []porcupine.Operation) state {
	at := initial(s)
	for _, o := range order {
		at, _ = step(at, actionOf(o))
	}
	return at
}

func keysOfGroup(group []porcupine.Operation) string {
	var keys []string
	for _, o := range group {
		keys = append(keys, actionOf(o).keys...)
	}
	slices.Sort(keys)
	return strings.Join(slices.Compact(keys), ", ")
}

// model is the rules as porcupine takes them.
func (c *trial) model(s metadatav1.Stream) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return initial(s) },
		Step: func(at, input, _ any) (bool, any) {
			before, _ := at.(state)
			a, _ := input.(*action)
			after, misfit := step(before, a)
			return misfit == "", after
		},
		Equal: func(a, b any) bool {
			x, _ := a.(state)
			y, _ := b.(state)
			return x.same(y)
		},
		DescribeOperation: func(input, _ any) string {
			a, _ := input.(*action)
			return a.String()
		},
		DescribeState: func(at any) string { return fmt.Sprint(at) },
	}
}

// String describes an action in a diagram.
func (a *action) String() string {
	switch {
	case a.op == nil:
		return fmt.Sprintf("change %d by nobody: %v", a.change.Revision(), a.change.Message())
	case a.change != nil:
		return fmt.Sprintf("change %d: %v", a.change.Revision(), a.op)
	}
	return a.op.String()
}

// step says whether an action fits into a state, and what state follows.
func step(s state, a *action) (next state, misfit string) {
	if a.change == nil {
		if !fits(s, a.op) {
			return s, "the answer is not true"
		}
		return s, ""
	}
	if a.op != nil {
		if v := s.judge(a.op.Request); v.reason != accepted && !v.open {
			return s, "the command is refused: " + failure.Name(v.reason)
		}
	}
	return s.after(a.change)
}

// fits reports whether an answer that changed nothing is true in a state.
func fits(s state, o *Op) bool {
	switch r := o.Request.(type) {
	case *metadatav1.GetTableRequest:
		answer, _ := o.Response.(*metadatav1.GetTableResponse)
		return same(s.table(r.GetTable()), answer.GetTable())
	case *metadatav1.GetNodeRequest:
		answer, _ := o.Response.(*metadatav1.GetNodeResponse)
		return same(s.node(r.GetNodeId()), answer.GetNode())
	case *metadatav1.GetShardRequest:
		answer, _ := o.Response.(*metadatav1.GetShardResponse)
		if by, ok := r.GetShard().(*metadatav1.GetShardRequest_Key); ok {
			return same(s.shardAt(by.Key), answer.GetShard())
		}
		return same(s.shard(r.GetShardId()), answer.GetShard())
	case *metadatav1.HeartbeatRequest:
		return beatHolds(o, s.node(r.GetNodeId()))
	case *metadatav1.GetConsumerRequest:
		return same(s.consumer(r.GetName()), consumerOf(o.Response))
	}
	return s.judge(o.Request).allows(o)
}

// same compares an object of the state with the one that was answered. Both are
// known by the revision of their last change.
func same[M interface {
	comparable
	proto.Message
	GetUpdatedRevision() uint64
}](want, got M) bool {
	var none M
	if want == none || got == none {
		return want == got
	}
	return want.GetUpdatedRevision() == got.GetUpdatedRevision() && proto.Equal(want, got)
}

// unionFind joins keys into groups.
type unionFind map[string]string

func (u unionFind) root(key string) string {
	for u[key] != "" {
		key = u[key]
	}
	return key
}

func (u unionFind) join(a, b string) {
	if a, b = u.root(a), u.root(b); a != b {
		u[b] = a
	}
}
