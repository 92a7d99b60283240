package main

import (
	"fmt"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// snapshotLines has a line for each object of a part of a snapshot.
func snapshotLines(chunk *metadatav1.SnapshotChunk) []string {
	head := fmt.Sprintf("%s %d snapshot ", streamName(chunk.GetStream()), chunk.GetRevision())
	var lines []string
	for _, o := range chunk.GetNamespaces() {
		lines = append(lines, head+describeObject(o))
	}
	for _, o := range chunk.GetTables() {
		lines = append(lines, head+describeObject(o))
	}
	for _, o := range chunk.GetNodes() {
		lines = append(lines, head+describeObject(o))
	}
	for _, o := range chunk.GetShards() {
		lines = append(lines, head+describeObject(o))
	}
	return lines
}

// changeLines has a line for each event, with who and when.
func changeLines(changes *metadatav1.Changes) []string {
	var lines []string
	for _, c := range changes.GetChanges() {
		head := fmt.Sprintf("%s %d %s ", streamName(changes.GetStream()), c.GetRevision(), showTime(c.GetTime()))
		if c.GetActor() != "" {
			head += "by " + c.GetActor() + " "
		}
		for _, e := range c.GetEvents() {
			lines = append(lines, head+describeEvent(e))
		}
	}
	return lines
}
