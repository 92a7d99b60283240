package member

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/replica"
)

// offerPatience is how long a leader may take to be confirmed before its answer to a
// member in quarantine is not waited for any more.
const offerPatience = 2 * time.Second

// firstWaitingLog is after how long the log says for the first time what a member in
// quarantine waits for.
const firstWaitingLog = 2 * time.Second

// quarantine says why this member is in quarantine and how far it is. It is immutable.
type quarantine struct {
	why     string
	source  uint64 // member it is rebuilt from; 0: none yet
	percent int
	waiting string
	stuck   bool
}

// describe is for people, on this member and on others.
func (i *quarantine) describe(member uint64) string {
	s := fmt.Sprintf("member %d is in quarantine: %s", member, i.why)
	switch {
	case i.source != 0:
		return s + fmt.Sprintf("; it rebuilds itself from member %d: %d %%", i.source, i.percent)
	case i.waiting != "":
		return s + "; it waits: " + i.waiting
	}
	return s
}

// condemnedError ends the streams of a member that found out that it has lost
// something others count on.
type condemnedError struct {
	why   string
	votes raftlog.Votes
}

func (e *condemnedError) Error() string { return "member: condemned: " + e.why }

// lost reports that a log cannot be used as it is, and that others can bring it back.
func lost(err error) bool {
	_, short := errors.AsType[*raftlog.ShortError](err)
	_, damaged := errors.AsType[*raftlog.DamageError](err)
	_, condemned := errors.AsType[*raftlog.CondemnedError](err)
	return short || damaged || condemned
}

// refuseAlone returns the error if there is no other member to be rebuilt from.
func (m *Member) refuseAlone(err error) error {
	if len(m.identity.Peers) > 1 {
		return nil
	}
	return err
}

// damaged turns the error of streams that could not be restored into a *condemnedError,
// if others can bring back what is damaged. What only a newer build can read is not.
func (m *Member) damaged(err error) error {
	if _, newer := errors.AsType[*events.UnsupportedError](err); newer || !lost(err) || m.refuseAlone(err) != nil {
		return err
	}
	return &condemnedError{raftlog.Why(err), raftlog.VotesKnown}
}

// wiped says why a blank directory is condemned.
func wiped(claims map[uint64]raftlog.PeerClaim) string {
	var lived []string
	for _, id := range slices.Sorted(maps.Keys(claims)) {
		if claims[id].State == raftlog.StateLived {
			lived = append(lived, fmt.Sprint(id))
		}
	}
	return "its directory is blank although the cluster has lived, as member " + strings.Join(lived, " and ") + " can tell"
}

// condemn stops the streams at once: something is wrong with what this member holds. Its
// floor knows its votes.
func (m *Member) condemn(r *running, why string) {
	m.condemnAs(r, &condemnedError{why, raftlog.VotesKnown})
}

// condemnAs is condemn by somebody who says what is known of the votes.
func (m *Member) condemnAs(r *running, c *condemnedError) {
	if m.refuseAlone(errStopped) != nil {
		m.fail(fmt.Errorf("member: %s", c.why))
		return
	}
	if r.condemned.add(c) {
		m.log.Error("this member goes into quarantine", "reason", c.why)
	}
	r.cancel(errCondemned)
}

// errCondemned ends streams that were condemned; why is in running.condemned.
var errCondemned = errors.New("member: condemned")

// condemnation is what a life of the streams was condemned for, by whoever found it out:
// the first reason, and of the votes the least that is known.
type condemnation struct {
	mu sync.Mutex
	is *condemnedError // immutable; nil: it was not
}

// add takes another one in, and reports whether it is the first.
func (c *condemnation) add(e *condemnedError) (first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.is == nil:
		c.is = e
		return true
	case e.votes == raftlog.VotesUnknown:
		c.is = &condemnedError{c.is.why, raftlog.VotesUnknown}
	}
	return false
}

func (c *condemnation) get() *condemnedError {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.is
}

// rebuild brings a condemned directory back from the other members, see
// raftlog.Rebuild. It returns nil when the streams may start.
func (m *Member) rebuild(ctx context.Context) error {
	quarantined := &quarantine{why: m.store.Condemned()}
	m.quarantine.Store(quarantined)
	m.changed.fire()
	if err := m.claim(raftlog.StateQuarantined); err != nil {
		return err
	}
	m.log.Error("this member is in quarantine: it neither votes nor acknowledges until it is rebuilt from the others", "reason", quarantined.why)
	began := time.Now()
	clear(m.loaded)
	re := &rebuilding{m: m, why: quarantined.why, inputs: newQueue[func()](), lastLog: began.Add(firstWaitingLog - waitingLog)}
	for _, id := range streamIDs {
		if err := re.add(id); err != nil {
			return err
		}
	}
	if err := re.run(ctx); err != nil {
		return err
	}
	if err := m.store.EndRebuild(); err != nil {
		return fmt.Errorf("ending the rebuild of the directory: %w", err)
	}
	m.hashes.Begin()
	for _, c := range re.groups {
		m.acknowledge[c.group] = c.Acknowledgement()
	}
	m.state, m.rebuilt = raftlog.StateLived, true
	m.quarantine.Store(nil)
	m.doubting.Store(false)
	m.changed.fire()
	m.log.Info("this member is out of quarantine", "after", time.Since(began).Round(time.Millisecond))
	return m.claim(m.state)
}

// rebuilding drives the Rebuild of each group. One goroutine owns it; calls to other
// members are made by others.
type rebuilding struct {
	m       *Member
	why     string
	groups  []*groupRebuild
	begun   bool // the directory is set aside
	inputs  *queue[func()]
	calls   sync.WaitGroup
	lastLog time.Time
}

type groupRebuild struct {
	*raftlog.Rebuild
	stream metadatav1.Stream
	group  raftlog.GroupID
	staged raftlog.CheckpointWriter
	// check reads a whole checkpoint that came from another member.
	check func(raftlog.Descriptor) error
}

func (re *rebuilding) add(id metadatav1.Stream) error {
	m, g := re.m, groupOf(id)
	promise, known := m.store.Promise(g)
	r, err := raftlog.NewRebuild(raftlog.RebuildConfig{
		Group: g, Member: m.identity.Member, Voters: m.initial(), Promise: promise, Known: known,
		Seed: m.config.Seed + uint64(time.Since(m.made)), MaxEntryBytes: replica.MaxEntryBytes,
	})
	if err != nil {
		return err
	}
	c := &groupRebuild{Rebuild: r, stream: id, group: g}
	switch epoch := m.identity.RecoveryEpoch; id {
	case metadatav1.Stream_STREAM_SCHEMA:
		c.check = checker(m.store, projections.NewSchema(m.cluster, epoch))
	case metadatav1.Stream_STREAM_TOPOLOGY:
		c.check = checker(m.store, projections.NewTopology(m.cluster, epoch))
	case metadatav1.Stream_STREAM_SERVICE:
		c.check = checker(m.store, projections.NewService(m.cluster, epoch))
	}
	re.groups = append(re.groups, c)
	return nil
}

func checker[D projections.Domain[D]](s raftlog.Storage, genesis *projections.State[D]) func(raftlog.Descriptor) error {
	return func(d raftlog.Descriptor) error {
		_, err := replica.ReadCheckpoint(s, d, genesis)
		return err
	}
}

// run works until all groups are done.
func (re *rebuilding) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer re.calls.Wait()
	defer cancel()
	ticker := time.NewTicker(re.m.config.Tick)
	defer ticker.Stop()
	var batch []func()
	for {
		done, found := true, !re.begun
		for _, c := range re.groups {
			if err := re.carryOut(ctx, c); err != nil {
				return err
			}
			done, found = done && c.Done(), found && c.Found()
		}
		re.report()
		if done {
			return nil
		}
		if found {
			if err := re.begin(); err != nil {
				return err
			}
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
			for _, c := range re.groups {
				c.Tick()
			}
		case <-re.inputs.ready:
			batch = re.inputs.take(batch)
			for _, input := range batch {
				input()
			}
		}
	}
}

// begin sets aside what the directory holds: leaders have offered all of it.
func (re *rebuilding) begin() error {
	m := re.m
	m.log.Warn("all streams have an offer: the directory is set aside and rebuilt")
	if err := m.store.BeginRebuild(m.identity, groups(), m.initial()); err != nil {
		return fmt.Errorf("beginning to rebuild the directory: %w", err)
	}
	re.begun = true
	for _, c := range re.groups {
		c.Begin()
	}
	return nil
}

// carryOut carries out what a machine wants.
func (re *rebuilding) carryOut(ctx context.Context, c *groupRebuild) error {
	for {
		out, more := c.Ready()
		if !more {
			return nil
		}
		for _, q := range out.Offers {
			re.calls.Go(func() { re.askOffer(ctx, c, q) })
		}
		for _, q := range out.Chunks {
			re.calls.Go(func() { re.askChunk(ctx, c, q) })
		}
		if q := out.Entries; q != nil {
			re.calls.Go(func() { re.askEntries(ctx, c, *q) })
		}
		if !out.Stores() {
			continue
		}
		err := re.stage(c, &out)
		if err != nil {
			re.m.log.Warn("checkpoint not taken over", "stream", events.StreamName(c.stream), "error", err)
		}
		if err == nil && out.Write != nil {
			if err := re.m.store.Write([]*raftlog.Write{out.Write}); err != nil {
				return fmt.Errorf("rebuilding the %s stream: %w", events.StreamName(c.stream), err)
			}
		}
		c.Stored(err)
	}
}

// stage carries out what concerns a staged checkpoint.
func (re *rebuilding) stage(c *groupRebuild, out *raftlog.RebuildOutput) (err error) {
	if out.Abort && c.staged != nil {
		if err := c.staged.Abort(); err != nil {
			return err
		}
		c.staged = nil
	}
	if d := out.Stage; d != nil {
		if err := re.checkOrigin(c, d); err != nil {
			return err
		}
		if c.staged, err = re.m.store.StageCheckpoint(c.group, *d); err != nil {
			return err
		}
	}
	for _, chunk := range out.Append {
		if c.staged == nil {
			return errors.New("there is no staged checkpoint")
		}
		if err := c.staged.WriteChunk(chunk); err != nil {
			return err
		}
	}
	if out.Commit && c.staged != nil {
		var d raftlog.Descriptor
		d, err = c.staged.Commit()
		c.staged = nil
		if err == nil {
			err = c.check(d)
		}
	}
	return err
}

// checkOrigin refuses a checkpoint of something else before a byte of it is pulled.
func (re *rebuilding) checkOrigin(c *groupRebuild, d *raftlog.Descriptor) error {
	head, err := projections.ReadHead(d.Meta)
	if err != nil {
		return err
	}
	if head.Stream != c.stream || head.Cluster != re.m.cluster || head.RecoveryEpoch != re.m.identity.RecoveryEpoch {
		return fmt.Errorf("the checkpoint at index %d belongs to stream %s of cluster %s, recovery epoch %d",
			d.Index, events.StreamName(head.Stream), head.Cluster, head.RecoveryEpoch)
	}
	return nil
}

// report tells status, and now and then the log, how far it is.
func (re *rebuilding) report() {
	now := &quarantine{why: re.why}
	for _, c := range re.groups {
		s := c.Status()
		now.percent += s.Percent / len(re.groups)
		now.stuck = now.stuck || s.Stuck
		if s.From != 0 && !c.Done() {
			now.source = s.From
		}
		if s.Waiting != "" {
			now.waiting = "the " + events.StreamName(c.stream) + " stream: " + s.Waiting
		}
	}
	if now.stuck {
		now.waiting += "; bring the data of one of them back (its disk, or a copy of its whole directory): it cannot be made up"
	}
	before := re.m.quarantine.Swap(now)
	if (now.source != before.source && now.source != 0) || time.Since(re.lastLog) > waitingLog {
		re.lastLog = time.Now()
		re.m.log.Warn(now.describe(re.m.identity.Member))
	}
}
