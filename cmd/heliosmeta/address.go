package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/heliosdb/metadata/raftlog"
)

// checkBind refuses to listen to the world in plain text unless told to.
func (f *serveFlags) checkBind(flag, address string, secure bool, remedy string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return usage("--%s %q: write HOST:PORT", flag, address)
	}
	if secure || f.insecure || isLoopback(host) {
		return nil
	}
	return usage("--%s %s is reachable from other machines and has no TLS: give %s, or --insecure if the network is trusted", flag, address, remedy)
}

// isLoopback does not look names up: what they mean may change.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// isReachable tells an address that clients could dial from one to listen on.
func isReachable(address string) bool {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || port == "" || port == "0" {
		return false
	}
	ip := net.ParseIP(host)
	return ip == nil || !ip.IsUnspecified()
}

// parsePeers reads ID=HOST:PORT.
func parsePeers(texts []string) ([]raftlog.Peer, error) {
	peers := make([]raftlog.Peer, 0, len(texts))
	for _, text := range texts {
		id, address, _ := strings.Cut(strings.TrimSpace(text), "=")
		n, err := strconv.ParseUint(id, 10, 64)
		if err != nil || n == 0 {
			return nil, usage("--peers %q: write ID=HOST:PORT with an id above 0", text)
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			return nil, usage("--peers %q: write ID=HOST:PORT", text)
		}
		for _, other := range peers {
			if other.ID == n {
				return nil, usage("--peers %s: member %d is named twice", text, n)
			}
			if other.Addr == address {
				return nil, usage("--peers %s: member %d has this address too", text, other.ID)
			}
		}
		peers = append(peers, raftlog.Peer{ID: n, Addr: address})
	}
	return peers, nil
}

// settlePeers fills in what --peers and --raft-listen say about each other.
func (f *serveFlags) settlePeers() ([]raftlog.Peer, error) {
	peers, err := parsePeers(f.peers)
	if err != nil {
		return nil, err
	}
	if len(peers) == 0 {
		return []raftlog.Peer{{ID: f.nodeID, Addr: f.raftListen}}, nil
	}
	own := slices.IndexFunc(peers, func(p raftlog.Peer) bool { return p.ID == f.nodeID })
	if own < 0 {
		return nil, usage("--node-id %d is not among --peers %s; add %d=HOST:PORT", f.nodeID, strings.Join(f.peers, ","), f.nodeID)
	}
	if !f.raftListenSet {
		f.raftListen = peers[own].Addr
	}
	return peers, nil
}

// checkIdentity says in the words of the command line why a directory does not
// fit. It returns the peers to go on with: a member alone keeps its peers when
// its Raft address has changed, because nobody else knows that address.
func (f *serveFlags) checkIdentity(have *raftlog.Identity, peers []raftlog.Peer) ([]raftlog.Peer, error) {
	switch {
	case have == nil:
		return peers, nil
	case have.ClusterName != f.clusterName:
		return nil, fmt.Errorf("data directory %s belongs to cluster %q, not %q: give --cluster-name %s, or another directory with --data",
			f.data, have.ClusterName, f.clusterName, have.ClusterName)
	case have.Member != f.nodeID:
		return nil, fmt.Errorf("data directory %s belongs to node id %d, not %d: give --node-id %d, or another directory with --data",
			f.data, have.Member, f.nodeID, have.Member)
	case len(f.peers) == 0 && len(have.Peers) == 1:
		return have.Peers, nil
	}
	sorted := slices.SortedFunc(slices.Values(peers), func(a, b raftlog.Peer) int { return cmp.Compare(a.ID, b.ID) })
	if !slices.Equal(sorted, have.Peers) {
		return nil, fmt.Errorf("data directory %s belongs to the cluster of members %s, not %s: give these as --peers, or another directory with --data",
			f.data, showPeers(have.Peers), showPeers(sorted))
	}
	return peers, nil
}

func showPeers(peers []raftlog.Peer) string {
	texts := make([]string, len(peers))
	for i, p := range peers {
		texts[i] = fmt.Sprintf("%d=%s", p.ID, p.Addr)
	}
	return strings.Join(texts, ",")
}

// listen opens a port.
func listen(flag, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("--%s %s is in use by another process: stop it, or choose another port", flag, address)
	}
	if err != nil {
		return nil, fmt.Errorf("--%s %s: %w", flag, address, err)
	}
	return l, nil
}

// advertised is the address that members tell clients.
func (f *serveFlags) advertised(bound net.Addr) string {
	if f.advertise != "" {
		return f.advertise
	}
	host, _, _ := net.SplitHostPort(f.listen)
	_, port, _ := net.SplitHostPort(bound.String())
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		// Listening everywhere: this machine's name is the best guess.
		if name, err := os.Hostname(); err == nil {
			host = name
		}
	}
	return net.JoinHostPort(host, port)
}

// apiTLS is the configuration of the API port; nil for plain text.
func (f *serveFlags) apiTLS() (*tls.Config, error) {
	if f.api.cert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(f.api.cert, f.api.key)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert %s with --tls-key %s: %w", f.api.cert, f.api.key, err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if f.api.clientCA == "" {
		return config, nil
	}
	text, err := os.ReadFile(f.api.clientCA)
	if err != nil {
		return nil, fmt.Errorf("--tls-client-ca: %w", err)
	}
	config.ClientCAs = x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("--tls-client-ca: %s has no certificate in PEM form", f.api.clientCA)
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	return config, nil
}

// hosts are the names that requests to the API may be for, beside loopback's own;
// nil for any. Only what listens on loopback in plain text has to ask: elsewhere a
// certificate does, or whoever said --insecure.
func (f *serveFlags) hosts(bound net.Addr) []string {
	host, _, err := net.SplitHostPort(bound.String())
	if err != nil || f.api.cert != "" || !isLoopback(host) {
		return nil
	}
	return append([]string{f.listen, f.advertise}, f.allowedHosts...)
}
