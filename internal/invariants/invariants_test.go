package invariants

import "testing"

func TestAssertPanicsOnlyWhenEnabled(t *testing.T) {
	Assert(true, "never seen")
	defer func() {
		got := recover()
		if Enabled && got != "invariant broken: 1 is not 2" {
			t.Errorf("with checks on, a false condition gave %v", got)
		}
		if !Enabled && got != nil {
			t.Errorf("with checks off, a false condition panicked: %v", got)
		}
	}()
	Assert(false, "%d is not %d", 1, 2)
}
