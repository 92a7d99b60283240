package member

import (
	"fmt"
	"slices"
	"testing"
)

func TestAddressesAreThoseThatMembersAdvertise(t *testing.T) {
	c := newCluster(t, 3, func(config *Config) { config.Advertise = fmt.Sprintf("m%d.example:9000", config.ID) })
	c.start(1, 2, 3)
	all := []string{"m1.example:9000", "m2.example:9000", "m3.example:9000"}
	for id := range uint64(3) {
		c.eventually("all to be known", func() bool { return slices.Equal(c.up[id+1].Addresses(), all) })
	}
	c.kill(2)
	if got := c.up[1].Addresses(); !slices.Equal(got, all) {
		t.Errorf("with one member down: %q", got)
	}
}
