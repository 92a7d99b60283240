package pebblestore_test

import (
	"math/rand/v2"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/pebblestore"
	"github.com/heliosdb/metadata/raftlog/storagetest"
)

// largeTables returns the names of the tables that hold more than a few records, the larger ones
// first: of entries, then of history.
func largeTables(t *testing.T, d *disk) (tables []string) {
	t.Helper()
	names, err := d.fs.List(path.Join(dir, "db"))
	storagetest.Must(t, err)
	for _, name := range names {
		if info, err := d.fs.Stat(path.Join(dir, "db", name)); err == nil && strings.HasSuffix(name, ".sst") && info.Size() > 10_000 {
			tables = append(tables, path.Join("db", name))
		}
	}
	slices.SortFunc(tables, func(a, b string) int {
		return len(readFile(t, d.fs, path.Join(dir, b))) - len(readFile(t, d.fs, path.Join(dir, a)))
	})
	return tables
}

// readAll reads the whole history in small parts, and skips what is damaged.
func readAll(t *testing.T, s raftlog.Storage) (all []raftlog.Past) {
	t.Helper()
	_, last, err := s.HistoryBounds(storagetest.A)
	storagetest.Must(t, err)
	for seq := uint64(1); seq <= last; {
		past, err := s.ReadHistory(storagetest.A, seq, 10_000)
		if err == nil {
			all, seq = append(all, past...), past[len(past)-1].Last+1
			continue
		}
		known, lookErr := s.HistoryDamage(storagetest.A)
		storagetest.Must(t, lookErr)
		if seq = raftlog.SpanOf(known, seq).Last + 1; seq == 1 {
			t.Fatalf("%d are read, then %v, but nothing is known to be damaged", len(all), err)
		}
	}
	return all
}

// TestDamagedTables flips bits in the tables of Pebble where history and its entries are, so
// that whole blocks cannot be read: the rest can, and what is filled in takes their place for good.
func TestDamagedTables(t *testing.T) {
	d := newDisk(t)
	s := joined(t, d)
	past := pastBefore(2000, 1000)
	rng := rand.NewChaCha8([32]byte{1}) // what does not compress
	for i := range past {
		past[i].Content, past[i].Data = make([]byte, 100), make([]byte, 32)
		_, _ = rng.Read(past[i].Content) // it never fails
		_, _ = rng.Read(past[i].Data)
	}
	storagetest.Must(t, s.FillHistory(storagetest.A, past))
	behind := storagetest.Record(2001, 2001, 1002)
	storagetest.Must(t, s.Write([]*raftlog.Write{storagetest.Append(storagetest.A, 1002, 1), {Group: storagetest.A, History: []raftlog.Record{behind}}}))
	want := slices.Concat(past, []raftlog.Past{storagetest.Past(behind, 1)})
	storagetest.Must(t, pebblestore.Compact(d.store))
	d.close()
	d.Open(t) // deletes what was rewritten
	d.close()
	tables := largeTables(t, d)
	if len(tables) != 2 {
		t.Fatalf("entries and history are in the tables %v", tables)
	}
	for i, at := range []float64{0.5, 0.01} { // Pebble takes its time over a damaged block
		damaged := &disk{fs: d.fs.CrashClone(vfs.CrashCloneCfg{}), ticks: d.ticks}
		flipInFile(t, damaged.fs, path.Dir(tables[i]), path.Base(tables[i]), at)
		mendTable(t, damaged, past, want)
		damaged.close()
	}
}

// mendTable reads past a damaged block, and fills in what was in it.
func mendTable(t *testing.T, d *disk, past, want []raftlog.Past) {
	t.Helper()
	s := d.Open(t)
	left := readAll(t, s)
	known, err := s.HistoryDamage(storagetest.A)
	storagetest.Must(t, err)
	if len(known) != 1 || len(left) < len(want)/2 || len(left) == len(want) {
		t.Fatalf("%d of %d records are left, damaged are %v", len(left), len(want), known)
	}
	begin := (known[0].First - 1) / 2
	for last := known[0].Last / 2; last > begin; { // in parts, the newest first
		first := max(begin, last-min(last, 30))
		storagetest.Must(t, s.FillHistory(storagetest.A, past[first:last]))
		last = first
	}
	for range 2 {
		if got := readAll(t, s); !reflect.DeepEqual(got, want) {
			again, err := s.HistoryDamage(storagetest.A)
			t.Fatalf("with %v filled in, %d of %d records are there, damaged are %v (%v)", known, len(got), len(want), again, err)
		}
		storagetest.Must(t, s.Close())
		s = d.Open(t)
	}
}
