package raftlog

// Record is one history record: it says which committed entry of the log holds a part of
// the caller's dense sequence, and keeps opaque bytes beside that. The entry stays for as
// long as the record, so nothing that is in the log is stored a second time.
type Record struct {
	First, Last uint64 // of the sequence; First starts at 1
	Entry       uint64 // index of the entry that holds them
	Data        []byte
}

// Past is a record as it is read back, with its entry.
type Past struct {
	Record
	Term    uint64 // of the entry
	Content []byte // of the entry; the caller owns it
}
