package pebblestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/heliosdb/metadata/raftlog"
)

// The floor file has two slots of floorSlot bytes, written in turn, so that a torn
// write leaves the other one. A term or vote is in both of them before it leaves the
// member: whichever slot is lost, no vote that anybody counts on is lost with it. The
// last index may lag anyhow, and goes into one. A slot, all integers big endian:
//
//	magic "HMFL", format u32, number of the write u64, groups u8,
//	each: group u8, last durable index u64, term u64, vote u64
//	CRC-32C u32 of everything before
//
// The slot with the higher number that matches its checksum counts.
const (
	floorMagic  = "HMFL"
	floorFormat = 1
	floorSlot   = 8 << 10 // more than 255 groups need
	floorHead   = 4 + 4 + 8 + 1
	floorGroup  = 1 + 3*8

	writeCategory vfs.DiskWriteCategory = "heliosdb-raftlog"
)

// tornFloor is what a start makes of a file with one bad slot.
const tornFloor = "one of its two slots is bad: a start takes the other, which has all terms and votes, and writes the bad one anew; " +
	"of the log's last index it may have an older state"

// floor is the open floor file. It is not safe for concurrent use.
type floor struct {
	file     vfs.File
	path     string
	number   uint64
	promises map[raftlog.GroupID]raftlog.Promise
	// torn says that the other slot is not good: was it the newer one, then a higher
	// last index may have been promised.
	torn bool
	// uneven says that the slots do not hold the same terms and votes.
	uneven bool
}

// encodeFloor returns a slot without its padding.
func encodeFloor(number uint64, promises map[raftlog.GroupID]raftlog.Promise) []byte {
	b := binary.BigEndian.AppendUint32([]byte(floorMagic), floorFormat)
	b = binary.BigEndian.AppendUint64(b, number)
	b = append(b, byte(len(promises)))
	for _, g := range slices.Sorted(maps.Keys(promises)) {
		p := promises[g]
		b = append(append(b, byte(g)), words(p.Last, p.Term, p.Vote)...)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, raftlog.Castagnoli))
}

func decodeFloor(b []byte) (number uint64, promises map[raftlog.GroupID]raftlog.Promise, err error) {
	if len(b) < floorHead || string(b[:4]) != floorMagic {
		return 0, nil, errors.New("no floor slot")
	}
	if f := binary.BigEndian.Uint32(b[4:]); f != floorFormat {
		return 0, nil, &raftlog.FormatError{What: "floor", Have: f, Know: floorFormat}
	}
	n := floorHead + int(b[16])*floorGroup
	if len(b) < n+4 || crc32.Checksum(b[:n], raftlog.Castagnoli) != binary.BigEndian.Uint32(b[n:]) {
		return 0, nil, errors.New("floor slot does not match its checksum")
	}
	promises = map[raftlog.GroupID]raftlog.Promise{}
	for at := floorHead; at < n; at += floorGroup {
		var p raftlog.Promise
		if err := parseWords(b[at+1:at+floorGroup], &p.Last, &p.Term, &p.Vote); err != nil {
			return 0, nil, err
		}
		promises[raftlog.GroupID(b[at])] = p
	}
	return binary.BigEndian.Uint64(b[8:]), promises, nil
}

// readFloor reads the file's better slot; nil when there is no file. A file without
// a good slot is damaged.
func readFloor(fs vfs.FS, path string) (*floor, error) {
	f, err := fs.Open(path)
	if oserror.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("pebblestore: %w", err)
	}
	defer f.Close()
	all, err := io.ReadAll(io.LimitReader(f, 2*floorSlot))
	if err != nil {
		return nil, &raftlog.DamageError{Path: path, Detail: "it cannot be read", Err: err}
	}
	var best, other *floor
	var errs []error
	for slot := range 2 {
		number, promises, err := decodeFloor(all[min(slot*floorSlot, len(all)):min((slot+1)*floorSlot, len(all))])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		other = &floor{path: path, number: number, promises: promises}
		if best == nil || number > best.number {
			best, other = other, best
		}
	}
	if best == nil {
		return nil, &raftlog.DamageError{Path: path, Detail: "neither of its slots is good", Err: errors.Join(errs...)}
	}
	best.torn = len(errs) > 0
	best.uneven = best.torn || !sameVotes(best.promises, other.promises)
	return best, nil
}

// lived reports whether something was promised after genesis.
func (f *floor) lived() bool {
	if f == nil {
		return false
	}
	for _, p := range f.promises {
		if p != genesisPromise {
			return true
		}
	}
	return false
}

// createFloor makes a new file with both slots written. It appears under its name
// when it is durable, so that a file without a good slot is always a damaged one.
func createFloor(fs vfs.FS, path string, promises map[raftlog.GroupID]raftlog.Promise) (*floor, error) {
	temp := path + tempSuffix
	file, err := fs.Create(temp, writeCategory)
	if err != nil {
		return nil, err
	}
	f := &floor{file: file, path: path, uneven: true}
	err = errors.Join(f.write(promises), file.Close())
	if err == nil {
		err = fs.Rename(temp, path)
	}
	if err == nil {
		err = syncDir(fs, fs.PathDir(path))
	}
	if err != nil {
		return nil, fmt.Errorf("pebblestore: %s: %w", path, err)
	}
	return f, f.open(fs)
}

// open makes a floor that was read writable.
func (f *floor) open(fs vfs.FS) (err error) {
	f.file, err = fs.OpenReadWrite(f.path, writeCategory)
	return err
}

// write makes the promises durable: in the older slot, and in the other one too if
// terms or votes change. When it has ended both slots hold the same ones.
func (f *floor) write(promises map[raftlog.GroupID]raftlog.Promise) error {
	f.uneven = f.uneven || !sameVotes(f.promises, promises)
	if err := f.writeSlot(promises); err != nil || !f.uneven {
		return err
	}
	if err := f.writeSlot(promises); err != nil {
		return err
	}
	f.uneven = false
	return nil
}

// sameVotes compares what must never be forgotten.
func sameVotes(a, b map[raftlog.GroupID]raftlog.Promise) bool {
	return maps.EqualFunc(a, b, func(x, y raftlog.Promise) bool { return x.Term == y.Term && x.Vote == y.Vote })
}

// writeSlot replaces the older slot.
func (f *floor) writeSlot(promises map[raftlog.GroupID]raftlog.Promise) error {
	slot := make([]byte, floorSlot)
	copy(slot, encodeFloor(f.number+1, promises))
	if _, err := f.file.WriteAt(slot, int64((f.number+1)%2)*floorSlot); err != nil {
		return fmt.Errorf("pebblestore: write %s: %w", f.path, err)
	}
	if err := f.file.SyncData(); err != nil {
		return err
	}
	f.number++
	f.torn = false
	f.promises = maps.Clone(promises)
	return nil
}

func syncDir(fs vfs.FS, path string) error {
	d, err := fs.OpenDir(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
