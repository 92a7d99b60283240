// Package check verifies the directory of a stopped member from end to end: the files, each
// record's checksum, the log against the floor, the history's digest chain from its first
// change to its last, each checkpoint's bytes and the model in them (the archived ones' too,
// which only reads of the past need), and that folding the log
// leads to the digest that the history has.
//
// It changes nothing in the directory, holds its lock while it reads, and needs the
// memory of the models. It does not repair, and it cannot know what other members have.
package check

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/projections/service"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/pebblestore"
)

// Verdict is what became of a check.
type Verdict string

// The verdicts.
const (
	Sound      Verdict = "sound"
	Damaged    Verdict = "damaged"
	Quarantine Verdict = "quarantine" // it has to be rebuilt from other members first
	Blank      Verdict = "blank"      // nothing is stored there
)

// Report is what a check has found.
type Report struct {
	Directory   string  `json:"directory"`
	Verdict     Verdict `json:"verdict"`
	Why         string  `json:"why,omitempty"` // of damage, the first; of a quarantine, its reason
	ClusterName string  `json:"cluster_name,omitempty"`
	ClusterID   string  `json:"cluster_id,omitempty"`
	Member      uint64  `json:"member,omitempty"`
	Members     int     `json:"members,omitempty"` // of the cluster; 0: not known
	Parts       []Part  `json:"parts,omitempty"`
	NotCovered  string  `json:"not_covered,omitempty"` // what no check of one directory can tell
}

// notCovered is true of every directory.
const notCovered = "what was written in the last moment before an unclean stop (the floor follows after 100 ms), and whether other members count on more than is here"

// Part is one part of the directory.
type Part struct {
	Name    string `json:"part"`
	Stream  string `json:"stream,omitempty"`
	Holds   string `json:"holds,omitempty"`
	Problem string `json:"problem,omitempty"` // "": sound
	Warning string `json:"warning,omitempty"` // what cannot be told from damage, or keeps no member from starting
}

// Run checks a directory. The error says why it could not be looked at: a
// *raftlog.InUseError, a *raftlog.FormatError or one of the file system. Damage is no error.
func Run(dir string) (*Report, error) {
	c := &checker{report: Report{Directory: dir, Verdict: Sound}}
	s, err := pebblestore.OpenReadOnly(dir, pebblestore.Options{Logger: slog.New(slog.DiscardHandler), Name: StreamOf})
	if _, damaged := errors.AsType[*raftlog.DamageError](err); damaged {
		c.add("database", "", "", err)
		return &c.report, nil
	}
	if err != nil {
		return nil, err
	}
	err = c.run(s)
	return &c.report, errors.Join(err, s.Close())
}

// StreamOf says to which stream a group's files belong, as people call it.
func StreamOf(g raftlog.GroupID) string {
	return "the " + events.StreamName(metadatav1.Stream(g)) + " stream"
}

type checker struct{ report Report }

// add notes a part; an error makes the verdict.
func (c *checker) add(name, stream, holds string, err error) {
	p := Part{Name: name, Stream: stream, Holds: holds}
	if err != nil {
		p.Problem = oneLine(err)
		if c.report.Verdict == Sound {
			c.report.Verdict, c.report.Why = Damaged, p.Problem
		}
	}
	c.report.Parts = append(c.report.Parts, p)
}

// warn adds a warning to the part that was noted last.
func (c *checker) warn(text string) { c.report.Parts[len(c.report.Parts)-1].Warning = text }

func oneLine(err error) string { return strings.ReplaceAll(raftlog.Why(err), "\n", "; ") }

func (c *checker) run(s *pebblestore.Store) error {
	id, err := s.Identity()
	if err != nil {
		return err
	}
	if id != nil {
		c.report.ClusterName, c.report.Member, c.report.Members = id.ClusterName, id.Member, len(id.Peers)
		c.report.ClusterID = events.ClusterID(id.ClusterID).String()
	}
	if why := s.Condemned(); why != "" {
		c.report.Verdict, c.report.Why = Quarantine, why
	}
	for _, p := range s.Inspect() {
		c.add(p.Name, "", p.Holds, p.Err)
		c.warn(p.Warning)
	}
	switch {
	case c.report.Verdict == Quarantine:
		return nil
	case id == nil:
		if c.report.Verdict == Sound {
			c.report.Verdict, c.report.Parts = Blank, nil
		}
		return nil
	}
	c.report.NotCovered = notCovered
	cluster, epoch := events.ClusterID(id.ClusterID), id.RecoveryEpoch
	(&stream[schemaModel]{checker: c, store: s, genesis: projections.NewSchema(cluster, epoch)}).check()
	(&stream[*projections.TopologyModel]{checker: c, store: s, genesis: projections.NewTopology(cluster, epoch)}).check()
	(&stream[*service.Model]{checker: c, store: s, genesis: projections.NewService(cluster, epoch)}).check()
	return nil
}

// Summary is the outcome as a sentence.
func (r *Report) Summary() string {
	bad, warnings := 0, 0
	for _, p := range r.Parts {
		if p.Problem != "" {
			bad++
		}
		if p.Warning != "" {
			warnings++
		}
	}
	switch r.Verdict {
	case Sound:
		if warnings > 0 {
			return fmt.Sprintf("%s is sound as far as can be told (warnings: %d): what a start needs of its %d parts is what was written", r.Directory, warnings, len(r.Parts))
		}
		return fmt.Sprintf("%s is sound: what is read of its %d parts is what was written", r.Directory, len(r.Parts))
	case Blank:
		return fmt.Sprintf("%s is blank: no member has stored anything there", r.Directory)
	case Quarantine:
		return fmt.Sprintf("%s is in quarantine: %s; start the member while a majority of the others is up: it is rebuilt from them", r.Directory, r.Why)
	}
	return fmt.Sprintf("%s is damaged (%d of its parts): %s", r.Directory, bad, r.advice())
}

// What to do about damage. Some of it a start does not read: then the member goes on until it does.
const (
	withOthers = "start it while a majority of them is up, and it is rebuilt from them as soon as it reads what is damaged; never give it an older copy of its directory"
	alone      = "what is damaged is refused when it is read, at a start or later; go on from a backup of the whole directory, " +
		"without what was acknowledged since, or, without all its data, with an empty directory"
)

// advice is for a damaged directory.
func (r *Report) advice() string {
	switch {
	case r.Members > 1:
		return fmt.Sprintf("the cluster has %d members: ", r.Members) + withOthers
	case r.Members == 1:
		return "no other member has a copy: " + alone
	}
	return "a member of several has others: " + withOthers + "; of a lone member nobody else has a copy: " + alone
}
