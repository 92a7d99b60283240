package failure

import (
	"fmt"
	"testing"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Every reason of the contract has a kind, so that none turns into "internal"
// by being forgotten.
func TestEveryReasonHasAKind(t *testing.T) {
	for n, name := range metadatav1.ErrorReason_name {
		if n == 0 {
			continue
		}
		if _, ok := kinds[metadatav1.ErrorReason(n)]; !ok {
			t.Errorf("%s has no kind", name)
		}
	}
}

func TestAsFindsAWrappedFailure(t *testing.T) {
	f := InvalidField("table.name", "%q is too long", "x").With("limit", "128")
	err := fmt.Errorf("creating: %w", f)
	if As(err) != f || !Is(err, metadatav1.ErrorReason_ERROR_REASON_INVALID_FIELD) {
		t.Fatalf("As(%v) = %v", err, As(err))
	}
	if As(fmt.Errorf("plain")) != nil {
		t.Fatal("a plain error is no failure")
	}
	if f.Kind() != Invalid || f.Error() != `table.name: "x" is too long` || f.Metadata["limit"] != "128" {
		t.Fatalf("got %+v", f)
	}
}

func TestNamesOfReasonsComeBack(t *testing.T) {
	if got := Name(metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND); got != "NOT_FOUND" {
		t.Fatalf("got %q", got)
	}
	for n, name := range metadatav1.ErrorReason_name {
		reason := metadatav1.ErrorReason(n)
		if ParseName(Name(reason)) != reason || ParseName(name) != reason {
			t.Errorf("%s does not come back", name)
		}
	}
	if got := ParseName("NO_SUCH_THING"); got != 0 {
		t.Fatalf("an unknown name is %v", got)
	}
}
