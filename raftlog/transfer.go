package raftlog

// ChunkRequest asks a member for one chunk of a checkpoint.
type ChunkRequest struct {
	To    uint64
	Group GroupID
	Index uint64
	Chunk uint32
}
