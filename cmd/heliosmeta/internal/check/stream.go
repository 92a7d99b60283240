package check

import (
	"errors"
	"fmt"
	"slices"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/projections/schema"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/replica"
	pb "go.etcd.io/raft/v3/raftpb"
)

type schemaModel = *schema.Model

// readBytes is how much of a history is read at a time.
const readBytes = 1 << 20

// stream checks one stream: its log, its history, its checkpoints and its model.
type stream[D projections.Domain[D]] struct {
	*checker
	store   raftlog.Storage
	genesis *projections.State[D]

	loaded  *raftlog.Loaded
	digests map[uint64]events.Digest // of the revisions that checkpoints have
	first   uint64                   // of the history
	last    uint64
	lastSum events.Digest
}

func (s *stream[D]) name() string           { return events.StreamName(s.genesis.Head.Stream) }
func (s *stream[D]) group() raftlog.GroupID { return raftlog.GroupID(s.genesis.Head.Stream) }
func (s *stream[D]) found(part, holds string, err error) {
	s.add(part, s.name(), holds, err)
}

func (s *stream[D]) check() {
	s.digests = map[uint64]events.Digest{}
	checkpoints, err := s.store.Checkpoints(s.group())
	if err != nil {
		s.found("checkpoints", "", err)
	}
	archived, err := s.store.Archived(s.group())
	if err != nil {
		s.found("archived checkpoints", "", err)
	}
	for _, d := range slices.Concat(archived, checkpoints) {
		s.digests[d.Seq] = events.Digest{}
	}
	holds, err := s.checkLog()
	s.found("log", holds, err)
	holds, err = s.checkHistory()
	s.found("history", holds, err)
	for _, d := range archived {
		s.checkArchived(d)
	}
	newest, from := s.checkCheckpoints(checkpoints)
	if s.loaded != nil && newest != nil {
		holds, err := s.checkModel(newest, from)
		s.found("model", holds, err)
	}
}

// checkArchived looks at a checkpoint that no start needs: damage is worth a warning.
func (s *stream[D]) checkArchived(d raftlog.Descriptor) {
	state, err := replica.ReadPast(s.store, d, s.genesis)
	if err == nil {
		err = s.fits(d, state)
	}
	s.found(fmt.Sprintf("archived checkpoint %d", d.Index), fmt.Sprintf("revision %d, %d bytes", d.Seq, d.Bytes), nil)
	if err != nil {
		s.warn(oneLine(err) + "; only reads of the past begin from it, and do without it from another one")
	}
}

// checkCheckpoints returns the model that a start begins from, nil if there is none. A start
// passes over damaged checkpoints while it can read another one that the log goes on from:
// then they are worth a warning.
func (s *stream[D]) checkCheckpoints(all []raftlog.Descriptor) (begins *projections.State[D], from raftlog.Descriptor) {
	states, errs := make([]*projections.State[D], len(all)), make([]error, len(all))
	for i, d := range all {
		states[i], errs[i] = s.checkCheckpoint(d)
		if errs[i] == nil && s.loaded != nil && d.Index >= s.loaded.Start.Index {
			begins, from = states[i], d
		}
	}
	for i, d := range all {
		if d.Index == raftlog.GenesisIndex {
			continue
		}
		err := errs[i]
		_, damaged := errors.AsType[*raftlog.DamageError](err)
		spare := damaged && begins != nil
		if spare {
			err = nil
		}
		s.found(fmt.Sprintf("checkpoint %d", d.Index), fmt.Sprintf("revision %d, %d bytes", d.Seq, d.Bytes), err)
		if spare {
			s.warn(fmt.Sprintf("%s; a start does not need it: it begins from %s, and later checkpoints replace both", oneLine(errs[i]), named(from)))
		}
	}
	return begins, from
}

func named(d raftlog.Descriptor) string {
	if d.Index == raftlog.GenesisIndex {
		return "the first entry of the log"
	}
	return fmt.Sprintf("checkpoint %d", d.Index)
}

// checkLog verifies the entries, the floor, and that the entries can be read.
func (s *stream[D]) checkLog() (string, error) {
	l, err := s.store.Load(s.group())
	if err != nil {
		return "", err
	}
	s.loaded = l
	for _, e := range l.Entries {
		if err := s.checkEntry(e); err != nil {
			return "", fmt.Errorf("entry %d: %w", e.GetIndex(), err)
		}
	}
	return fmt.Sprintf("entries %d to %d, term %d, committed %d", l.Start.Index+1, l.LastIndex(), l.HardState.Term, l.HardState.Commit), nil
}

func (s *stream[D]) checkEntry(e *pb.Entry) error {
	if e.GetType() != pb.EntryNormal || len(e.GetData()) == 0 {
		return nil
	}
	b, err := events.DecodeBatch(e.GetData())
	if err != nil {
		return err
	}
	return s.checkOwn(b)
}

// checkOwn checks that a batch is of this stream and cluster.
func (s *stream[D]) checkOwn(b *events.Batch) error {
	if head := s.genesis.Head; b.Stream != head.Stream || b.Cluster != head.Cluster || b.RecoveryEpoch != head.RecoveryEpoch {
		return fmt.Errorf("it belongs to stream %s of cluster %s, recovery epoch %d", events.StreamName(b.Stream), b.Cluster, b.RecoveryEpoch)
	}
	return nil
}

// checkHistory walks the digest chain through the entries that history names. Revisions that a member lacks because it joined by
// a checkpoint are said, and no damage; the chain goes on behind them.
func (s *stream[D]) checkHistory() (string, error) {
	var err error
	if s.first, s.last, err = s.store.HistoryBounds(s.group()); err != nil || s.last == 0 {
		return "nothing", err
	}
	digest, chained, lacks := s.genesis.Head.Digest, true, ""
	if s.first > 1 {
		chained, lacks = false, fmt.Sprintf(", lacks 1 to %d", s.first-1)
	}
	for next := s.first; next <= s.last; {
		past, err := s.store.ReadHistory(s.group(), next, readBytes)
		if _, gap := errors.AsType[*raftlog.GapError](err); gap {
			from := next
			if next, err = s.afterGap(next); err == nil {
				chained, lacks = false, fmt.Sprintf("%s, lacks %d to %d", lacks, from, next-1)
				continue
			}
		}
		if err != nil {
			return "", err
		}
		for i := range past {
			if digest, err = s.checkPast(&past[i], digest, chained); err != nil {
				return "", fmt.Errorf("revisions %d to %d: %w", past[i].First, past[i].Last, err)
			}
			chained, next = true, past[i].Last+1
		}
	}
	s.lastSum = digest
	return fmt.Sprintf("revisions %d to %d%s, digest %.16s", s.first, s.last, lacks, digest), nil
}

// afterGap finds the next revision that there is; they are dense again from there on.
func (s *stream[D]) afterGap(from uint64) (uint64, error) {
	for next := from + 1; next <= s.last; next++ {
		_, err := s.store.ReadHistory(s.group(), next, 1)
		if _, gap := errors.AsType[*raftlog.GapError](err); !gap {
			return next, err
		}
	}
	return 0, fmt.Errorf("revision %d is missing", from)
}

// checkPast returns the digest after an entry that history names. Without a chain before it,
// it takes the one that the entry was decided behind.
func (s *stream[D]) checkPast(p *raftlog.Past, before events.Digest, chained bool) (events.Digest, error) {
	past, err := replica.DecodePast(p)
	if err != nil {
		return before, err
	}
	if err := s.checkOwn(past.Batch); err != nil {
		return before, err
	}
	if chained && past.Previous != before {
		return before, fmt.Errorf("the chain leads to digest %s, log entry %d was decided behind %s", before, p.Entry, past.Previous)
	}
	digest := past.Previous
	for _, c := range past.Changes {
		digest = digest.Next(c.Raw())
		if _, wanted := s.digests[c.Revision()]; wanted {
			s.digests[c.Revision()] = digest
		}
	}
	if digest != past.Digest {
		return before, fmt.Errorf("the chain leads to digest %s, kept is %s", digest, past.Digest)
	}
	return digest, nil
}

// checkCheckpoint verifies the bytes, imports the model and compares its digest with
// the chain.
func (s *stream[D]) checkCheckpoint(d raftlog.Descriptor) (*projections.State[D], error) {
	if err := s.checkFile(d); err != nil {
		return nil, err
	}
	state, err := replica.ReadCheckpoint(s.store, d, s.genesis)
	if err != nil {
		return nil, err
	}
	return state, s.fits(d, state)
}

// fits compares the digest of a checkpoint's model with the chain's.
func (s *stream[D]) fits(d raftlog.Descriptor, state *projections.State[D]) error {
	if want := s.digests[d.Seq]; want != (events.Digest{}) && want != state.Head.Digest {
		return fmt.Errorf("its model has digest %s at revision %d, the history %s", state.Head.Digest, d.Seq, want)
	}
	return nil
}

// checkFile reads every chunk and computes the hash anew.
func (s *stream[D]) checkFile(d raftlog.Descriptor) (err error) {
	if d.Index == raftlog.GenesisIndex {
		return nil
	}
	r, err := s.store.OpenCheckpoint(d.Group, d.Index)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if have := r.Descriptor(); !have.Equal(d) {
		return &raftlog.DamageError{
			Path: fmt.Sprintf("checkpoint %d", d.Index), Detail: fmt.Sprintf("hash %x is recorded, it has %x", d.Hash, have.Hash),
		}
	}
	enc, err := raftlog.NewFileEncoder(d)
	if err != nil {
		return err
	}
	enc.Header()
	for i := range d.Chunks {
		chunk, err := r.ReadChunk(i)
		if err != nil {
			return err
		}
		if _, err := enc.Frame(chunk); err != nil {
			return err
		}
	}
	if _, have := enc.Trailer(); !have.Equal(d) {
		return fmt.Errorf("its bytes have hash %x, recorded is %x", have.Hash, d.Hash)
	}
	return nil
}

// checkModel folds what the log holds behind a checkpoint, as a start does, and compares
// where that leads with the history.
func (s *stream[D]) checkModel(state *projections.State[D], from raftlog.Descriptor) (_ string, err error) {
	defer func() {
		if p := recover(); p != nil {
			fault, ok := p.(*projections.FoldError)
			if !ok {
				panic(p)
			}
			err = fault
		}
	}()
	for _, e := range s.loaded.Entries {
		if e.GetIndex() <= from.Index || e.GetIndex() > s.loaded.HardState.Commit || e.GetType() != pb.EntryNormal || len(e.GetData()) == 0 {
			continue
		}
		b, err := events.DecodeBatch(e.GetData())
		if err != nil {
			return "", err
		}
		if b.Term != e.GetTerm() || b.Previous != state.Head.Digest {
			continue // the fence
		}
		digest := state.Head.Digest
		for _, c := range b.Changes {
			if digest = digest.Next(c.Raw()); c.Revision() == s.last && digest != s.lastSum {
				return "", fmt.Errorf("entry %d leads to digest %s at revision %d, the history has %s", e.GetIndex(), digest, s.last, s.lastSum)
			}
		}
		state = state.FoldAll(b.Changes)
	}
	if s.last > state.Head.Revision && slices.ContainsFunc(s.loaded.Entries, func(e *pb.Entry) bool { return e.GetIndex() > s.loaded.HardState.Commit }) {
		return fmt.Sprintf("revision %d, history %d: the log commits the rest at the next start", state.Head.Revision, s.last), nil
	}
	if s.last > state.Head.Revision {
		return "", fmt.Errorf("the log leads to revision %d, the history ends at %d", state.Head.Revision, s.last)
	}
	return fmt.Sprintf("revision %d, digest %.16s", state.Head.Revision, state.Head.Digest), nil
}
