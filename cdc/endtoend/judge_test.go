package endtoend

import (
	"fmt"
	"strings"
	"testing"
)

// run is what one process has delivered.
type run struct {
	acknowledged map[string]int // by stream, when it was started
	ids          []string       // in the order of delivery
}

// judge returns what is wrong with the deliveries of processes that followed one another,
// each of which but the last was killed. Each process delivers the changes of a stream one
// by one, in order. It begins behind what was acknowledged, and so again with no more than
// what the process before it had not acknowledged. In the end all is there.
func judge(h history, runs []run) error {
	done := make(map[string]int) // by stream
	for n, r := range runs {
		last := make(map[string]int) // of this process
		for _, id := range r.ids {
			stream, revision, err := h.parse(id)
			if err != nil {
				return fmt.Errorf("run %d: %w", n, err)
			}
			before, again := last[stream]
			switch {
			case again && revision != before+1:
				return fmt.Errorf("run %d: %s came behind revision %d", n, id, before)
			case !again && revision > done[stream]+1:
				return fmt.Errorf("run %d began with %s, and %d was delivered before it", n, id, done[stream])
			case !again && revision <= r.acknowledged[stream]:
				return fmt.Errorf("run %d began with %s, though %d was acknowledged", n, id, r.acknowledged[stream])
			}
			last[stream], done[stream] = revision, max(done[stream], revision)
		}
	}
	for stream, last := range h.last {
		if done[stream] < last {
			return fmt.Errorf("of the %s stream %d of %d were delivered", stream, done[stream], last)
		}
	}
	return nil
}

// parse returns the stream and revision of an id of the history.
func (h history) parse(id string) (stream string, revision int, err error) {
	for stream := range h.last {
		var revision int
		if prefix := fmt.Sprintf("%s/%d/%s/", h.cluster, h.epoch, stream); strings.HasPrefix(id, prefix) {
			_, err := fmt.Sscan(strings.TrimPrefix(id, prefix), &revision)
			return stream, revision, err
		}
	}
	return "", 0, fmt.Errorf("id %q is none of the history's", id)
}

func TestJudge(t *testing.T) {
	h := history{"c", 0, map[string]int{"schema": 4, "topology": 2}}
	first := "s1 t1 s2 s3"
	for _, c := range []struct {
		what, second string
		want         string // "": nothing is wrong
	}{
		{"it goes on", "s4 t2", ""},
		{"more than is asked for", "s4 t2 t3", ""},
		{"what was not acknowledged comes again", "t1 s2 t2 s3 s4", ""},
		{"one is lost", "t2", "3 of 4"},
		{"a stream is lost", "s4", "1 of 2"},
		{"one is left out", "s2 s4 t2", "schema/4 came behind revision 2"},
		{"one is left out between the runs", "s5 t2", "began with c/0/schema/5"},
		{"one comes twice", "s4 s4 t2", "schema/4 came behind revision 4"},
		{"they come out of order", "s3 s2 s4 t2", "schema/2 came behind revision 3"},
		{"one comes again that was acknowledged", "s1 s2 s3 s4 t2", "though 1 was acknowledged"},
		{"an id of another cluster", "x4", `"x4"`},
	} {
		err := judge(h, []run{{nil, ids(first)}, {map[string]int{"schema": 1}, ids(c.second)}})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// ids are the ids that are meant by, say, "s1 t2".
func ids(text string) []string {
	return strings.Fields(strings.NewReplacer("s", "c/0/schema/", "t", "c/0/topology/").Replace(text))
}
