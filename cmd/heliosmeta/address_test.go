package main

import (
	"net"
	"slices"
	"testing"
)

func TestHostsOfTheAPI(t *testing.T) {
	loopback, world := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9000}, &net.TCPAddr{IP: net.IPv4zero, Port: 9000}
	f := &serveFlags{listen: "my-laptop:9000", advertise: "meta.example:9000", allowedHosts: []string{"proxy.example"}}
	if got := f.hosts(loopback); !slices.Equal(got, []string{"my-laptop:9000", "meta.example:9000", "proxy.example"}) {
		t.Errorf("on loopback: %q", got)
	}
	if got := f.hosts(world); got != nil {
		t.Errorf("for the world: %q", got)
	}
	f.api.cert = "api.pem"
	if got := f.hosts(loopback); got != nil {
		t.Errorf("with TLS: %q", got)
	}
	if got := new(serveFlags).hosts(loopback); got == nil {
		t.Error("on loopback, by default: any")
	}
}
