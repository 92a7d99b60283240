package pebblestore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/storagetest"
)

// TestNewerCheckpoint checks that a checkpoint of a newer build, in the store or as a
// file, is refused and not taken for damage: a downgrade condemns nothing.
func TestNewerCheckpoint(t *testing.T) {
	const index = 2
	key := indexKey(storagetest.A, kindCheckpoint, index)
	for what, upgrade := range map[string]func(*Store, raftlog.Descriptor){
		"record": func(s *Store, d raftlog.Descriptor) {
			content, err := d.MarshalBinary()
			storagetest.Must(t, err)
			content[7]++ // the format's last byte
			storagetest.Must(t, s.db.Set(key, seal(key, append(content, "and more"...)), pebble.Sync))
		},
		"file": func(s *Store, _ raftlog.Descriptor) {
			f, err := s.fs.OpenReadWrite(s.checkpointPath(storagetest.A, index), vfs.WriteCategoryUnspecified)
			storagetest.Must(t, err)
			b, err := io.ReadAll(f)
			storagetest.Must(t, err)
			head := bytes.Clone(b[8 : 8+binary.BigEndian.Uint32(b[4:])-4])
			head[7]++
			head = binary.BigEndian.AppendUint32(head, crc32.Checksum(head, raftlog.Castagnoli))
			_, err = f.WriteAt(head, 8)
			storagetest.Must(t, errors.Join(err, f.Close()))
		},
	} {
		t.Run(what, func(t *testing.T) {
			opts := Options{FS: vfs.NewMem(), Quarantine: true, ReserveBytes: 1}
			s, err := Open("/data", opts)
			storagetest.Must(t, err)
			storagetest.Must(t, s.Bootstrap(storagetest.Identity(), []raftlog.GroupID{storagetest.A}, storagetest.Voters))
			storagetest.Must(t, s.Write([]*raftlog.Write{storagetest.Append(storagetest.A, index, 1)}))
			w, err := s.CreateCheckpoint(storagetest.A, storagetest.Descriptor(storagetest.A, index, 1))
			d := storagetest.WriteCheckpoint(t, w, err, []byte("some bytes"))
			storagetest.Must(t, s.Write([]*raftlog.Write{{Group: storagetest.A, Checkpoint: &d, Sync: true}}))
			upgrade(s, d)
			storagetest.Must(t, s.Close())

			s, err = Open("/data", opts)
			if err == nil {
				_, err = s.Load(storagetest.A)
				defer s.Close()
			}
			newer, isNewer := errors.AsType[*raftlog.FormatError](err)
			_, damaged := errors.AsType[*raftlog.DamageError](err)
			if !isNewer || damaged || newer.What != "checkpoint" || newer.Have != raftlog.DescriptorFormat+1 {
				t.Fatalf("it is opened with: %v", err)
			}
			if _, err := opts.FS.Stat("/data/" + markName); err == nil {
				t.Fatal("the directory was condemned")
			}
		})
	}
}

// TestOlderDirectory checks that a directory of an earlier format is refused, with what can be
// done, and neither changed nor condemned.
func TestOlderDirectory(t *testing.T) {
	fs := vfs.NewMem()
	opts := Options{FS: fs, Quarantine: true, ReserveBytes: 1}
	s, err := Open("/data", opts)
	storagetest.Must(t, err)
	storagetest.Must(t, s.Bootstrap(storagetest.Identity(), []raftlog.GroupID{storagetest.A}, storagetest.Voters))
	content, ok, err := s.get(memberKey(kindIdentity))
	if err != nil || !ok {
		t.Fatalf("no identity: %v", err)
	}
	content[7] = byte(raftlog.IdentityFormat - 1)
	content = binary.BigEndian.AppendUint32(content[:len(content)-4], crc32.Checksum(content[:len(content)-4], raftlog.Castagnoli))
	storagetest.Must(t, s.db.Set(memberKey(kindIdentity), seal(memberKey(kindIdentity), content), pebble.Sync))
	storagetest.Must(t, s.Close())
	for what, open := range map[string]func(string, Options) (*Store, error){"open": Open, "open to be read": OpenReadOnly} {
		before := names(t, fs)
		_, err := open("/data", opts)
		older, ok := errors.AsType[*raftlog.FormatError](err)
		if !ok || older.What != "directory" || older.Have != raftlog.IdentityFormat-1 || older.Know != raftlog.IdentityFormat {
			t.Errorf("%s: %v", what, err)
		}
		if after := names(t, fs); !slices.Equal(before, after) {
			t.Errorf("%s has made %q of %q", what, after, before)
		}
	}
}

// names returns what lies in a directory and in its database.
func names(t *testing.T, fs vfs.FS) []string {
	t.Helper()
	top, err := fs.List("/data")
	storagetest.Must(t, err)
	db, err := fs.List("/data/db")
	storagetest.Must(t, err)
	return slices.Sorted(slices.Values(slices.Concat(top, db)))
}
