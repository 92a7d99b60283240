// Package export writes histories into one file that says what it is and can be verified
// by itself, and reads such files. A [File] has a [history.Source] for each stream, so that
// whatever reads a member's history reads a file's: replay, audit, import.
//
// # The file
//
// Format 2, all integers big endian, checksums CRC-32C (Castagnoli), digests of the streams
// as package events has them:
//
//	header:   magic "HELIOSHX", format u32, length u32 of the text, text, checksum u32 of
//	          all before
//	bases:    of each stream whose first revision is not 1, before its blocks: the checkpoint of
//	          the model right before that, as projections.State.Chunks has it, in pieces of
//	          [BlockBytes], the last but one of which may have fewer, and the last one none (the
//	          only one where there is no base); head: "BASE", stream u32, offset of the first
//	          byte u64, bytes u32, bytes as stored u32, SHA-256 [32] of the checkpoint up to the
//	          end of the piece, so that the last piece has the model hash, checksum u32 of the
//	          stored bytes, checksum u32 of the head before it; then the stored bytes: one zstd
//	          frame, or nothing
//	blocks:   head: "BLCK", stream u32, first revision u64, number of changes u32, their
//	          bytes u32, bytes as stored u32, digest behind the last change [32], checksum
//	          u32 of the stored bytes, checksum u32 of the head before it;
//	          then the stored bytes: one zstd frame of the changes, each as length u32 and
//	          bytes as logged
//	trailer:  "TAIL", length u32 of the text, text, checksum u32 of the three before,
//	          SHA-256 [32] of all before
//
// The texts are JSON. The header's:
//
//	{"clusterId": 32 hexadecimal digits, "recoveryEpoch": number, "clusterName": text,
//	 "time": RFC 3339, "build": text, "streams": [{"stream": "schema", "first": revision,
//	 "last": revision, "previous": hexadecimal digest before first}]}
//
// and the trailer's:
//
//	{"streams": [{"stream": "schema", "blocks": number, "changes": number, "bytes": of the
//	 changes, "digest": hexadecimal digest behind the last change}], "signedHeads":
//	 [base64 of an encoded SignedHead]}
//
// The blocks are in order of the header's streams and of revisions, without gaps. A stream
// without changes has last = first-1 and no block. A block is full before its changes would
// be more than [BlockBytes], so the same changes make the same blocks however they were
// read. Format 1 has no bases; files that cannot have one are still written so. The frame
// of the header stays the same in all formats. A file may be read with the usual tools for
// JSON, zstd and SHA-256 alone.
//
// # What is noticed
//
// [Open] reads everything but changes and bases: a damaged header, head of a block or piece,
// or trailer, one that is missing or in another's place, a file that is cut short or has
// something behind its end. Reading changes or a base notices damage in them, [File.Verify]
// any damage anywhere. A [DamagedError] says where. A base has to have the digest that the
// chain of its stream begins with. Whoever changes a file on purpose can make all sums fit
// again: against that there are signed heads, see package audit. They do not cover what a
// base holds: that it is true shows when it is folded to the models that members have.
//
// Damaged and hostile files cost no more memory than the limits in limits.go say, beside
// the index, which is smaller than the file.
//
// # Concurrency
//
// Sources of a file can be used at the same time. Changes hold on to the block that they
// came in.
//
// Only disk.go knows the file system, and nothing here a clock: the time of an export is
// handed in. What is written for machines, see [WriteJSON], cannot be opened.
package export
