package replica

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/cryptotest"

	"github.com/cockroachdb/datadriven"

	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// TestStories runs what testdata tells: clusters that live through something, with
// comments. After each command the answers that came since are printed.
//
//	cluster members=N [every=N trailing=N]  a new cluster; a checkpoint every N revisions
//	elect ID | transfer ID | drain ID | isolate ID | heal | crash ID | start ID
//	create NAME on=ID [id=REQUEST] [dry-run]
//	drop NAME on=ID [id=REQUEST]
//	read on=ID [at-least=REVISION] [leading]
//	store ID     the member's disk completes what it was given
//	deliver      the network delivers what is on its way, nothing is stored
//	settle       everything under way ends, no time passes
//	tick N       time passes, everything ends
//	status       one line a member
//	history ID   what the member's storage keeps
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		cryptotest.SetGlobalRandom(t, 1)
		s := &story{t: t}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.d, s.out = d, strings.Builder{}
			s.run()
			s.tell()
			if s.out.Len() == 0 {
				return "ok\n"
			}
			return s.out.String()
		})
	})
}

type story struct {
	*cluster
	t     *testing.T
	d     *datadriven.TestData
	out   strings.Builder
	asked []asked
}

// asked is a call that waits for its answer.
type asked struct {
	what string
	done func() (string, bool)
}

func (s *story) run() {
	switch s.d.Cmd {
	case "cluster":
		var members int
		var every, trailing uint64
		s.d.ScanArgs(s.t, "members", &members)
		s.d.MaybeScanArgs(s.t, "every", &every)
		s.d.MaybeScanArgs(s.t, "trailing", &trailing)
		s.cluster = newCluster(s.t, 1, members, func(c *Config[model]) { c.CheckpointRevisions, c.TrailingEntries = every, trailing })
	case "create", "drop", "read":
		s.ask()
	case "elect", "transfer", "drain", "isolate", "crash", "start", "store", "history":
		s.member(s.arg())
	case "heal":
		s.heal()
	case "deliver":
		for len(s.net) > 0 {
			s.deliver(0, false)
		}
	case "settle":
		s.settle()
	case "tick":
		s.tick(int(s.arg()))
	case "status":
		s.status()
	default:
		s.t.Fatalf("%s: unknown command %q", s.d.Pos, s.d.Cmd)
	}
}

// arg is the number that follows the command.
func (s *story) arg() uint64 {
	n, err := strconv.ParseUint(s.d.CmdArgs[0].Key, 10, 64)
	if err != nil {
		s.t.Fatalf("%s: %v", s.d.Pos, err)
	}
	return n
}

func (s *story) member(id uint64) {
	n := s.node(id)
	switch s.d.Cmd {
	case "elect":
		s.elect(id)
	case "transfer":
		s.leader().rep.TransferLeader(id)
		s.settle()
	case "drain":
		n.rep.Drain()
		n.pump()
	case "isolate":
		s.isolate(id)
	case "crash":
		n.crash(0)
	case "start":
		n.start()
	case "store":
		n.storeWrites(len(n.writes))
	case "history":
		for id, at := range n.history() {
			fmt.Fprintf(&s.out, "%s at %v\n", id, at)
		}
		lines := strings.SplitAfter(s.out.String(), "\n")
		slices.Sort(lines)
		s.out.Reset()
		s.out.WriteString(strings.Join(lines, ""))
	}
}

func (s *story) ask() {
	var on uint64
	var id string
	s.d.ScanArgs(s.t, "on", &on)
	s.d.MaybeScanArgs(s.t, "id", &id)
	n := s.node(on)
	what := fmt.Sprintf("%s %s on %d", s.d.Cmd, s.d.CmdArgs[0].Key, on)
	if s.d.Cmd == "read" {
		q := Read[model]{Leading: s.d.HasArg("leading")}
		s.d.MaybeScanArgs(s.t, "at-least", &q.AtLeast)
		o := n.read(q)
		s.asked = append(s.asked, asked{fmt.Sprintf("read on %d", on), func() (string, bool) {
			if !o.done || o.answer.Err != nil {
				return describeError(o.answer.Err), o.done
			}
			return fmt.Sprintf("revision %d, %d tables", o.answer.State.Head.Revision, o.answer.State.Model.TableCount()), true
		}})
		return
	}
	var o *outcome
	if s.d.Cmd == "create" {
		cmd := createTable(s.d.CmdArgs[0].Key, id)
		cmd.Write.DryRun = s.d.HasArg("dry-run")
		o = n.submit(cmd)
	} else {
		o = n.submit(dropTable(s.d.CmdArgs[0].Key, id))
	}
	s.asked = append(s.asked, asked{what, func() (string, bool) { return describeAnswer(o.answer), o.done }})
}

// tell prints the answers that came.
func (s *story) tell() {
	keep := s.asked[:0]
	for _, a := range s.asked {
		if text, done := a.done(); done {
			fmt.Fprintf(&s.out, "%s: %s\n", a.what, text)
		} else {
			keep = append(keep, a)
		}
	}
	s.asked = keep
}

func describeAnswer(a Answer) string {
	if a.Err != nil {
		return describeError(a.Err)
	}
	r, ok := a.Reply.(interface {
		GetResult() *metadatav1.WriteResult
	})
	if !ok {
		return "ok"
	}
	text := fmt.Sprintf("ok at revision %d", a.Revision)
	if at := r.GetResult().GetPosition().GetSchemaRevision(); at != a.Revision {
		text += fmt.Sprintf(", made at %d", at)
	}
	if r.GetResult().GetDeduplicated() {
		text += ", deduplicated"
	}
	if n := len(r.GetResult().GetEvents()); n > 0 {
		text += fmt.Sprintf(", would make %d event", n)
	}
	return text
}

func describeError(err error) string {
	if err == nil {
		return ""
	}
	f := failure.As(err)
	return strings.TrimPrefix(f.Reason.String(), "ERROR_REASON_") + ": " + f.Message
}

func (s *story) status() {
	for _, n := range s.nodes {
		if n.rep == nil {
			fmt.Fprintf(&s.out, "%d: down\n", n.id)
			continue
		}
		st := n.rep.Status()
		role := "follows"
		if st.Leading {
			role = "leads"
		}
		digest := st.Head.Digest
		fmt.Fprintf(&s.out, "%d: %s term=%d leader=%d revision=%d digest=%x log=%d-%d commit=%d checkpoint=%d fenced=%d installs=%d pending=%d waiting=%d\n",
			n.id, role, st.Term, st.Leader, st.Head.Revision, digest[:4], st.First, st.Last, st.Commit, st.Newest.Seq, st.Fenced, st.Installs, st.Pending, st.Waiting)
	}
}
