package main

import "testing"

// Programs are told apart by their bytes.
func TestBuildID(t *testing.T) {
	if id := buildID(); len(id) < 12 || id != buildID() {
		t.Fatalf("the build id is %q", id)
	}
}
