package pebblestore

import "github.com/cockroachdb/errors/oserror"

// usedBytes adds up the files of the directory.
func (s *Store) usedBytes() (uint64, error) {
	var used uint64
	for _, dir := range []string{s.dir, s.dbDir, s.cpDir} {
		names, err := s.fs.List(dir)
		if err != nil {
			return 0, err
		}
		for _, name := range names {
			info, err := s.fs.Stat(s.fs.PathJoin(dir, name))
			if oserror.IsNotExist(err) {
				continue // deleted since
			}
			if err != nil {
				return 0, err
			}
			if !info.IsDir() {
				used += uint64(info.Size())
			}
		}
	}
	return used, nil
}
