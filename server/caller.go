package server

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"connectrpc.com/connect"
)

// ActorHeader names who asks, where no client certificate does. It is believed:
// whoever reaches a port without mutual TLS can be anybody.
const ActorHeader = "Helios-Actor"

// ClusterHeader says which cluster a call is for, by its id: a member of another one refuses it
// with FOREIGN_CLUSTER, but for Status. Without it, every member carries it out.
const ClusterHeader = "Helios-Cluster"

// caller is what is known of who makes a call.
type caller struct {
	actor string
	peer  connect.Peer
	json  bool // the answer is sent as JSON
}

// binary is the caller of calls whose answers are binary whatever carries them.
func (c caller) binary() caller {
	c.json = false
	return c
}

type callerKey struct{}

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// identify names the caller: the subject of its verified certificate, else what
// it calls itself, else where it comes from.
func identify(state *tls.ConnectionState, peer connect.Peer, header http.Header) caller {
	c := caller{peer: peer, json: isJSON(peer, header)}
	if state != nil && len(state.VerifiedChains) > 0 && len(state.PeerCertificates) > 0 {
		c.actor = clean(state.PeerCertificates[0].Subject.String())
	}
	if c.actor == "" {
		c.actor = clean(header.Get(ActorHeader))
	}
	if c.actor == "" {
		c.actor = clean(host(peer.Addr))
	}
	return c
}

func isJSON(peer connect.Peer, header http.Header) bool {
	return strings.Contains(header.Get("Content-Type"), "json") || peer.Query.Get("encoding") == "json"
}

// host is an address without its port: the port differs with each connection.
func host(addr string) string {
	if h, _, err := net.SplitHostPort(addr); err == nil {
		return h
	}
	return addr
}

// clean makes a name fit for logs and for the history: printable, valid UTF-8,
// without blanks around it, of bounded length.
func clean(name string) string {
	name = strings.TrimSpace(name)
	if isClean(name) {
		return name // without memory of its own: nearly all of them, once for each call
	}
	var out strings.Builder
	for _, r := range name {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			r = '?'
		}
		if out.Len()+utf8.RuneLen(r) > maxActorBytes {
			break
		}
		out.WriteRune(r)
	}
	return out.String()
}

// isClean reports whether a name is fit as it is: short and printable ASCII.
func isClean(name string) bool {
	for i := range len(name) {
		if name[i] < ' ' || name[i] > '~' {
			return false
		}
	}
	return len(name) <= maxActorBytes
}
